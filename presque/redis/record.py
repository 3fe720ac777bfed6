"""The record of a store, `presque:store`: its number of partitions, its data model, and its id.

It is created when a store is first used and compared at each connection. When it disappears under a running daemon, as
after a FLUSHALL, it is created again with the same id: otherwise the next daemon would take the store for a new one,
and with another number of partitions it would not find the jobs inserted since.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.logger import Logger

from presque.errors import StoreUnfit
from presque.redis import conversion, keys
from presque.redis.connection import gather

if TYPE_CHECKING:
    from collections.abc import Generator

    from presque.redis.connection import Connection
    from presque.redis.store import Store

CONVERTIBLE = b"2"  # the data model of the stores that are converted
NEW_WORKERS = b"2"  # the form in which workers are stored since silent ones are forgotten
LOOK_EVERY = 1.0  # seconds between checks that the record exists


def _other_model(model: str) -> str:
    older = model.isdigit() and int(model) < keys.MODEL
    remedy = "drain it with the earlier presque" if older else "run the later presque that made it"
    return f"this store has data model {model}, this presque reads and writes {keys.MODEL}: {remedy}"


class Record:
    """The record of a store that this daemon uses with `partitions` partitions."""

    _log = Logger()

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.id = b""  # once it is known
        self.has_new_workers = False  # whether all worker data is known to be in the new form

    @inlineCallbacks
    def check(self, connection: Connection) -> Generator[Deferred[Any], Any, None]:
        """Create what is missing; raise StoreUnfit when the rest does not match. A check for `Store.checks`."""
        asked = self._recorded(connection)
        kind = yield connection.execute_command("TYPE", keys.STORE)
        if kind not in (b"none", b"hash"):
            asked.addErrback(lambda wrong_type: None)
            raise StoreUnfit(f"{keys.STORE.decode()} in this Redis is a {kind.decode()}: this is not a presque store")
        partitions, model, store_id, workers, _ = yield asked
        found = model or (yield self._unrecorded_model(connection))
        if found == CONVERTIBLE and partitions in (None, b"%d" % self.partitions):
            yield conversion.begin(connection, model or b"")
            partitions, found, store_id, workers, _ = yield self._recorded(connection)
        model = found
        expected = {"partitions": b"%d" % self.partitions, "model": b"%d" % keys.MODEL}
        expected["id"] = self.id or os.urandom(8).hex().encode()
        if partitions is None and model is None:  # a new store has nothing to convert
            expected["workers"] = NEW_WORKERS
        if None in (partitions, model, store_id) and model in (None, expected["model"]):
            partitions, model, store_id, workers, _ = yield self._make(connection, expected)
        if partitions not in (None, expected["partitions"]):
            raise StoreUnfit(
                f"--partitions is {self.partitions}, but this store was made with "
                f"{partitions.decode(errors='replace')}: start presque with that number"
            )
        if model not in (None, expected["model"]):
            raise StoreUnfit(_other_model(model.decode(errors="replace")))
        self.id = store_id or expected["id"]
        self.has_new_workers = workers == NEW_WORKERS

    @inlineCallbacks
    def _make(
        self, connection: Connection, expected: dict[str, bytes]
    ) -> Generator[Deferred[Any], Any, list[bytes | None]]:
        """Record what is not recorded yet. Fires with the record; a full store accepts it later, see `keep`."""
        made = [connection.execute_command("HSETNX", keys.STORE, name, value) for name, value in expected.items()]
        recorded = self._recorded(connection)
        for each in made:
            try:
                yield each
            except Exception as refusal:
                if not str(refusal).startswith("OOM"):
                    raise
        found: list[bytes | None] = yield recorded
        return found

    @inlineCallbacks
    def _unrecorded_model(self, connection: Connection) -> Generator[Deferred[Any], Any, bytes | None]:
        """The data model of a store without a recorded one, by keys that only it has; None if there are none. In the
        first the names of queues were a SET, in the second numbers were counted by partition.
        """
        partitions = range(self.partitions)
        names = [keys.partition_key("queues", partition) for partition in partitions]
        there = yield connection.execute_command("EXISTS", *names)  # usually none in a new store
        kinds = yield gather(connection.execute_command("TYPE", name) for name in (names if there else ()))
        if b"set" in kinds:
            return b"1"
        old = ("old_last_id", "old_paused", "old_processed", "old_failed")
        there = yield connection.execute_command("EXISTS", *[keys.partition_key(o, p) for o in old for p in partitions])
        return CONVERTIBLE if there else None

    async def note_new_workers(self, store: Store) -> None:
        """Record that the data of workers has been converted."""
        self.has_new_workers = True  # for this daemon, even if it cannot be recorded
        for connection in store.topology.connections[:1]:
            try:
                await connection.execute_command("HSET", keys.STORE, "workers", NEW_WORKERS)
            except Exception as refusal:  # the store is full or away: the next start checks again
                self._log.info("could not record the conversion of the store ({refusal})", refusal=str(refusal))

    async def keep(self, store: Store) -> int:
        """Create the record again when it is gone. Returns 1 if it was, else 0. The calling loop logs exceptions.

        If it is the record of another data model, or of a store that is being converted, connect again, because a
        connection begins with a check.
        """
        connection = next(iter(store.topology.connections), None)
        if connection is None:
            return 0
        try:
            recorded = await self._recorded(connection)
            if recorded[1] not in (None, b"%d" % keys.MODEL) or recorded[4] is not None:
                connection.transport.abortConnection()
                return 0
            if None not in recorded[:3]:
                return 0
            await self.check(connection)
            if None in (await self._recorded(connection))[:3]:
                return 0  # the store is full
        except Exception:
            if connection.connected:
                raise
            return 0  # Redis is away; the next connection begins with a check
        made = "the record of the store was gone, as after a FLUSHALL: created it again (id {id})"
        self._log.warn(made, id=self.id.decode(errors="replace"))
        return 1

    @staticmethod
    def _recorded(connection: Connection) -> Deferred[list[bytes | None]]:
        asked: Deferred[list[bytes | None]] = connection.execute_command(
            "HMGET", keys.STORE, "partitions", "model", "id", "workers", "converting"
        )
        return asked
