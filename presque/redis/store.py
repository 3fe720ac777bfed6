"""Redis as the rest of presque sees it: a Store runs scripts, by name, with the keys of a queue or a partition."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredList, fail, inlineCallbacks

from presque.errors import Overloaded, StoreError, StoreUnavailable
from presque.redis import keys
from presque.redis.connection import bulk, word_of
from presque.redis.connection import gather as gather  # so that the rest of presque imports only the store
from presque.redis.topology import OneRedis

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
    from twisted.python.failure import Failure

    from presque.redis.connection import Connection, Reply
    from presque.redis.scripts import Script, Scripts
    from presque.redis.url import RedisURL

BEAT = 0.5  # seconds between checks of each connection
MOST_WAITING = 10_000  # unanswered commands on one connection
TOGETHER = 256  # partitions asked at a time
NO_LIMIT = b"9007199254740991"  # epoch ms, a time that never comes


class Store:
    """Redis as the rest of presque sees it: runs scripts, and tells whether it `is_up`.

    A method that runs a script fires with the reply of Redis. It fails with StoreUnavailable (nothing was done),
    OutcomeUnknown (it may have been done) or StoreFull (nothing was done). With `until=NO_LIMIT` the script runs
    however late it arrives.
    """

    def __init__(
        self,
        clock: IReactorTime,
        url: RedisURL,
        endpoint: IStreamClientEndpoint,
        partitions: int,
        scripts: Scripts,
    ) -> None:
        self.clock = clock
        self.partitions = partitions
        self.is_nearly_full = False  # insertions are refused, see presque.redis.memory
        self._scripts = scripts
        self.checks: list[Callable[[Connection], Deferred[None]]] = []
        self.topology = OneRedis(clock, url, endpoint, scripts, self._check)
        self._queue_calls = lru_cache(maxsize=16384)(self._queue_call)
        self._partition_calls = lru_cache(maxsize=1024)(self._partition_call)

    @inlineCallbacks
    def _check(self, connection: Connection) -> Generator[Deferred[None], None, None]:
        for check in self.checks:
            yield check(connection)

    def start(self) -> None:
        """Connect, and reconnect whenever a connection is lost."""
        self.topology.start()

    def stop(self) -> Deferred[list[Any]]:
        """Close all connections. Fires when they are closed."""
        return self.topology.stop()

    @property
    def is_up(self) -> bool:
        """Whether a command can be sent now."""
        return bool(self.topology.connections)

    def now(self) -> float:
        """The time (epoch seconds) by the Redis clock, as last measured; by our own clock while disconnected."""
        return self.topology.now()

    async def beat(self) -> int:
        """Check that each connection still answers; to be called every BEAT. Returns 0."""
        self.topology.beat()
        return 0

    async def info(self) -> dict[str, str]:
        """What Redis says of itself in INFO, by name; nothing if its user may not ask. Raises StoreUnavailable."""
        connection = next(iter(self.topology.connections), None)
        if connection is None:
            raise StoreUnavailable
        try:
            told: bytes = await connection.execute_command("INFO")
        except Exception as wrong:
            if word_of(wrong) == "NOPERM":
                return {}
            raise StoreUnavailable(str(wrong)) from wrong
        lines = [line.partition(":") for line in told.decode(errors="replace").splitlines()]
        return {name: value for name, colon, value in lines if colon}

    def on_queue(
        self, verb: str, queue: str, *args: bytes, until: bytes | None = None, key: bytes = b""
    ) -> Deferred[Reply]:
        """Run a script with the keys of `queue`; ARGV[2] is its name, `args` follow. Raises InvalidName.

        `key` is a Redis key of this call alone, which the script must name last.
        """
        partition, script, names, but_last, name = self._queue_calls(verb, queue)
        return self._run(partition, script, but_last + bulk(key) if key else names, 1, name, args, until)

    def _queue_call(self, verb: str, queue: str) -> tuple[int, Script, bytes, bytes, bytes]:
        """What all calls of a script for one queue share: partition, script, all keys, all keys but the last (which a
        call may replace), and the name of the queue. Raises InvalidName.
        """
        keys.check_name(queue)
        script = self._scripts[verb]
        names, but_last = (keys.queue_keys(some, queue, self.partitions) for some in (script.keys, script.keys[:-1]))
        return keys.partition_of(queue, self.partitions), script, names, but_last, bulk(queue.encode())

    def in_partition(self, verb: str, partition: int, *args: bytes) -> Deferred[Reply]:
        """Run a script with the keys of a partition."""
        script, names = self._partition_calls(verb, partition)
        return self._run(partition, script, names, 0, b"", args, None)

    def _partition_call(self, verb: str, partition: int) -> tuple[Script, bytes]:
        script = self._scripts[verb]
        return script, keys.partition_keys(script.keys, partition)

    @inlineCallbacks
    def everywhere(self, verb: str, *args: bytes) -> Generator[Deferred[Any], Any, list[Reply]]:
        """Run a script in every partition. Fires with all replies, in the order of the partitions."""
        replies: list[Reply] = []
        for some in self._bounded():
            replies += yield gather(self.in_partition(verb, partition, *args) for partition in some)
        return replies

    @inlineCallbacks
    def where_there_is_an_answer(
        self, verb: str, *args: bytes
    ) -> Generator[Deferred[Any], Any, tuple[dict[int, Reply], list[int]]]:
        """Run a script in every partition. Fires with the replies by partition, and the partitions that did not answer.
        Fails, with the error of one of them, when none answered.
        """
        replies: dict[int, Reply] = {}
        failures: dict[int, Failure] = {}
        for some in self._bounded():
            asked = [self.in_partition(verb, partition, *args) for partition in some]
            answers = yield DeferredList(asked, consumeErrors=True)
            for partition, (is_answer, answer) in zip(some, answers, strict=True):
                (replies if is_answer else failures)[partition] = answer
                if not is_answer and not answer.check(StoreError):
                    answer.raiseException()
        if failures and not replies:
            next(iter(failures.values())).raiseException()
        return replies, sorted(failures)

    def _bounded(self) -> list[range]:
        """All partitions in groups, because a connection accepts up to MOST_WAITING unanswered commands."""
        whole = range(self.partitions)
        return [whole[first : first + TOGETHER] for first in whole[::TOGETHER]]

    def _run(
        self,
        partition: int,
        script: Script,
        names: bytes,
        count: int,
        first: bytes,
        args: Sequence[bytes],
        until: bytes | None,
    ) -> Deferred[Reply]:
        """Run a script with encoded keys `names`; `first` has its first `count` arguments, encoded; `args` follow."""
        connection = self.topology.connection(partition)
        if connection is None:
            return fail(StoreUnavailable())
        if connection.owed >= MOST_WAITING:
            return fail(Overloaded("commands"))
        encoded = first + b"".join([b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args])
        return connection.run(script, names, len(script.keys) + count + len(args), encoded, until)
