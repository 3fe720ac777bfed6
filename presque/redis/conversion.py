"""The conversion of a store of data model 2 to this one: see presque.redis.keys and `convert_queue.lua`.

It is a check of each connection, so nothing else is sent before it has ended. It runs bounded scripts one after
another. Each leaves the store in a state from which the next can start, so it may be interrupted at any time, and
several daemons may run it at once. While the record of the store has the field `converting`, no daemon uses the store.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.logger import Logger

from presque.errors import InvalidName, StoreFull, StoreUnavailable
from presque.redis import keys
from presque.redis.connection import bulk, gather, word_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from twisted.internet.interfaces import IReactorTime

    from presque.redis.connection import Connection, Reply

PARTITIONS_AT_ONCE = 256
QUEUES_AT_ONCE = 16
PAGE = 1000  # names read at a time
TELL = 5.0  # seconds between log lines

FULL = "it is full; the conversion to another data model goes on when there is space"
_BEGUN = b"2"  # what `converting` says: the data model that is converted
_KEPT_FROM_OTHERS = b"fenced"  # the same, once no daemon of an earlier release is connected any more


@inlineCallbacks
def begin(connection: Connection, recorded: bytes) -> Generator[Deferred[Any], Any, None]:
    """Record that the store is being converted, unless its record no longer has the data model `recorded` (b"" for
    none). Fails with StoreUnavailable when the store is full.
    """
    script = connection.factory.scripts["convert_store"]
    names = keys.partition_keys(script.keys, 0)
    try:
        yield connection.run(script, names, len(script.keys) + 1, bulk(recorded), None)
    except StoreFull:
        raise StoreUnavailable(FULL) from None


class Conversion:
    """The conversion of one store with `partitions` partitions."""

    _log = Logger()

    def __init__(self, partitions: int, clock: IReactorTime) -> None:
        self.partitions = partitions
        self._clock = clock
        self._queues = self._jobs = 0  # converted by this daemon
        self._began = self._told = 0.0  # when it began, 0 while nothing is converted; when it was logged last

    @inlineCallbacks
    def check(self, connection: Connection) -> Generator[Deferred[Any], Any, None]:
        """Convert the store if its record says that this is under way. A check for `Store.checks`. Fails with
        StoreUnavailable when the store is full.
        """
        state = yield connection.execute_command("HGET", keys.STORE, "converting")
        if state is None:
            return
        if not self._began:
            self._began = self._told = self._clock.seconds()
            self._log.info("converting this store from data model 2 to {model}", model=keys.MODEL)
        try:
            if state != _KEPT_FROM_OTHERS:
                yield self._disconnect_others(connection)
            for first in range(0, self.partitions, PARTITIONS_AT_ONCE):
                some = range(first, min(first + PARTITIONS_AT_ONCE, self.partitions))
                yield self._convert_partitions(connection, some)
            yield connection.execute_command("HDEL", keys.STORE, "converting")
        except Exception as refusal:
            if isinstance(refusal, StoreFull) or word_of(refusal) == "OOM":
                raise StoreUnavailable(FULL) from None
            raise
        took, self._began = self._clock.seconds() - self._began, 0.0
        done = "converted this store to data model {model}: {queues} queues, {jobs} jobs, {took:.1f} s"
        self._log.info(done, model=keys.MODEL, queues=self._queues, jobs=self._jobs, took=took)
        self._queues = self._jobs = 0

    @inlineCallbacks
    def _disconnect_others(self, connection: Connection) -> Generator[Deferred[Any], Any, None]:
        """Make daemons of an earlier release that still run connect again: then they read the record, and exit."""
        yield connection.execute_command("HSET", keys.STORE, "converting", _BEGUN)  # a full Redis refuses it
        try:
            yield connection.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        except Exception as refusal:
            if not connection.connected:
                raise
            what = "could not disconnect daemons of earlier releases, which must not run any more ({refusal})"
            self._log.info(what, refusal=str(refusal))
        yield connection.execute_command("HSET", keys.STORE, "converting", _KEPT_FROM_OTHERS)

    @inlineCallbacks
    def _convert_partitions(self, connection: Connection, some: range) -> Generator[Deferred[Any], Any, None]:
        found: list[list[str]] = yield gather(self._names(connection, partition) for partition in some)
        names = list(chain.from_iterable(found))
        for first in range(0, len(names), QUEUES_AT_ONCE):
            yield gather(self._convert_queue(connection, name) for name in names[first : first + QUEUES_AT_ONCE])
        yield gather(self._run(connection, "convert_partition", partition) for partition in some)

    @inlineCallbacks
    def _convert_queue(self, connection: Connection, queue: str) -> Generator[Deferred[Any], Any, None]:
        cursor, has_more = b"0", True
        while has_more:
            partition = keys.partition_of(queue, self.partitions)
            count, cursor, has_more = yield self._run(connection, "convert_queue", partition, queue, cursor)
            self._jobs += count
            if self._clock.seconds() - self._told >= TELL:
                self._told = self._clock.seconds()
                so_far = "converting this store: {queues} queues and {jobs} jobs so far"
                self._log.info(so_far, queues=self._queues, jobs=self._jobs)
        self._queues += 1

    def _run(self, connection: Connection, verb: str, partition: int, queue: str = "", *args: bytes) -> Deferred[Reply]:
        connection.wait_longer()
        script = connection.factory.scripts[verb]
        if queue:
            names, args = keys.queue_keys(script.keys, queue, self.partitions), (queue.encode(), *args)
        else:
            names = keys.partition_keys(script.keys, partition)
        return connection.run(script, names, len(script.keys) + len(args), b"".join(map(bulk, args)), None)

    @inlineCallbacks
    def _names(self, connection: Connection, partition: int) -> Generator[Deferred[Any], Any, list[str]]:
        """The names of a partition's queues: those that are listed, and others of which something may be left."""
        found: set[bytes] = set()
        for command, key in (("ZSCAN", "queues"), ("SSCAN", "old_paused"), ("ZSCAN", "due")):
            kind = yield connection.execute_command("TYPE", keys.partition_key(key, partition))
            cursor = b"0" if kind == (b"set" if command == "SSCAN" else b"zset") else None
            while cursor is not None:
                connection.wait_longer()
                name = keys.partition_key(key, partition)
                following, members = yield connection.execute_command(command, name, cursor, "COUNT", PAGE)
                found.update(members if command == "SSCAN" else members[::2])
                cursor = following if following != b"0" else None
        return sorted(name.decode() for name in found if _is_name(name))


def _is_name(name: bytes) -> bool:
    try:
        keys.check_name(name.decode())
    except (InvalidName, UnicodeDecodeError):
        return False
    return True
