"""What the rest of presque knows of Redis: a Store runs scripts, by name, with the keys of a queue or a partition."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredList, fail, inlineCallbacks

from presque.errors import StoreError, StoreUnavailable
from presque.redis import keys
from presque.redis.connection import Connection, ConnectionFactory, ListenerFactory, bulk
from presque.redis.connection import gather as gather  # the rest of presque knows the store alone
from presque.redis.reconnecting import Reconnecting

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
    from twisted.python.failure import Failure

    from presque.redis.connection import Reply
    from presque.redis.scripts import Script, Scripts
    from presque.redis.url import RedisURL

BEAT = 0.5  # seconds between two looks at each connection
MOST_WAITING = 10_000  # commands sent on one connection and not answered yet
TOGETHER = 256  # partitions asked at a time
NO_LIMIT = b"9007199254740991"  # a moment (epoch ms) that never comes


class Store:
    """What the rest of presque knows of Redis: run a script, whether it `is_up`, and how to hear publications.

    What runs a script fires with Redis' reply. It fails with StoreUnavailable (nothing was done), OutcomeUnknown
    (perhaps it was done) or StoreFull (nothing was done). With `until=NO_LIMIT` it runs however late it gets there.
    """

    def __init__(
        self,
        clock: IReactorTime,
        url: RedisURL,
        endpoint: IStreamClientEndpoint,
        partitions: int,
        scripts: Scripts,
        size: int = 1,
    ) -> None:
        self.partitions = partitions
        self._scripts = scripts
        self.checks: list[Callable[[Connection], Deferred[None]]] = []
        self.pool = ConnectionFactory(clock, url, scripts, size, self._check)
        self.listener = ListenerFactory(clock, url)

        def keep(factory: Any) -> Reconnecting:
            return Reconnecting(endpoint, factory, clock, self.pool.retryDelay, self.pool.refused)

        self._kept = [*(keep(self.pool) for _ in range(size)), keep(self.listener)]

    @inlineCallbacks
    def _check(self, connection: Connection) -> Generator[Deferred[None], None, None]:
        for check in self.checks:
            yield check(connection)

    def start(self) -> None:
        """Begin to connect, and keep connected."""
        for each in self._kept:
            each.startService()

    @inlineCallbacks
    def stop(self) -> Generator[Deferred[Any], None, None]:
        """Close all connections. Fires when they are closed."""
        yield gather(each.stopService() for each in self._kept if each.running)

    @property
    def is_up(self) -> bool:
        """Whether a command could be sent now."""
        return bool(self.pool.pool)

    def now(self) -> float:
        """The time (epoch seconds) by Redis' clock, as it was last told; by ours while no connection is there."""
        connection = next(iter(self.pool.pool), None)
        return time() if connection is None else self.pool.clock.seconds() + (connection.offset or 0.0)

    async def beat(self) -> int:
        """Look at each connection whether it still serves; to be called each BEAT."""
        for connection in [*self.pool.pool, *([self.listener.listener] if self.listener.listener else [])]:
            connection.beat()
        return 0

    def on_queue(
        self, verb: str, queue: str, *args: bytes, until: bytes | None = None, key: bytes = b""
    ) -> Deferred[Reply]:
        """Run a script with the keys of `queue`; ARGV[2] is its name, `args` follow. Raises InvalidName.

        `key` is one that only this call knows; the script has to name it last.
        """
        keys.check_name(queue)
        script = self._scripts[verb]
        known = script.keys[:-1] if key else script.keys
        names = keys.queue_keys(known, queue, self.partitions) + (bulk(key) if key else b"")
        return self._run(script, names, (queue.encode(), *args), until)

    def in_partition(self, verb: str, partition: int, *args: bytes) -> Deferred[Reply]:
        """Run a script with the keys of a partition."""
        script = self._scripts[verb]
        return self._run(script, keys.partition_keys(script.keys, partition), args, None)

    @inlineCallbacks
    def everywhere(self, verb: str, *args: bytes) -> Generator[Deferred[Any], Any, list[Reply]]:
        """Run a script in every partition; fires with all replies."""
        replies: list[Reply] = []
        for some in self._bounded():
            replies += yield gather(self.in_partition(verb, partition, *args) for partition in some)
        return replies

    @inlineCallbacks
    def where_there_is_an_answer(
        self, verb: str, *args: bytes
    ) -> Generator[Deferred[Any], Any, tuple[dict[int, Reply], list[int]]]:
        """Run a script in every partition. Fires with the replies by partition, and which partitions gave none. Fails
        as one of them when none did.
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
        """All partitions, some at a time: a connection takes no more than MOST_WAITING commands at once."""
        whole = range(self.partitions)
        return [whole[first : first + TOGETHER] for first in whole[::TOGETHER]]

    def _run(self, script: Script, names: bytes, args: Iterable[bytes], until: bytes | None) -> Deferred[Reply]:
        connection = min(self.pool.pool, key=_owed, default=None)
        if connection is None or _owed(connection) >= MOST_WAITING:
            return fail(StoreUnavailable())
        return connection.run(script, names, args, until)  # type: ignore[no-any-return]  # txredisapi


def _owed(connection: Connection) -> int:
    return len(connection.replyQueue.waiting)
