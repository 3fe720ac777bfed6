"""What the rest of presque knows of Redis: a Store runs scripts, by name, with the keys of a queue or a partition."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any

from twisted.application.internet import ClientService
from twisted.internet import task
from twisted.internet.defer import Deferred, fail, gatherResults, inlineCallbacks
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from presque import keys
from presque.errors import StoreUnavailable
from presque.redis.connection import Connection, ConnectionFactory, ListenerFactory, bulk
from presque.redis.scripts import SCRIPTS, Script

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from twisted.internet.interfaces import IAddress, IReactorTime

    from presque.redis.connection import Reply
    from presque.redis.url import RedisURL

BEAT = 0.5  # seconds between two looks at each connection
MOST_WAITING = 10_000  # commands sent on one connection and not answered yet
NO_LIMIT = b"9007199254740991"  # a moment (epoch ms) that never comes


class _Trial(Factory):
    """Makes a connection that shakes hands as those of the pool do, and does not join it."""

    noisy = False

    def __init__(self, pool: ConnectionFactory) -> None:
        self._pool = pool

    def buildProtocol(self, addr: IAddress | None) -> Connection:
        """A Connection on its own."""
        connection = Connection(charset=None, convertNumbers=False)
        connection.factory = self._pool
        return connection


@implementer(IStreamClientEndpoint)
class _Patient:
    """An endpoint that tries until Redis lets us in. Twisted counts a connection that was made as a success, tries
    again without delay when it is dropped, and logs each time; so a first connection shakes hands on trial.
    """

    def __init__(self, endpoint: IStreamClientEndpoint, pool: ConnectionFactory) -> None:
        self._endpoint = endpoint
        self._pool = pool

    @inlineCallbacks
    def connect(self, protocolFactory: Any) -> Generator[Deferred[Any], Any, Any]:
        """Fires with the protocol once there is a connection."""
        attempt = 0
        while True:
            try:
                trial = yield self._endpoint.connect(_Trial(self._pool))
                welcome = yield trial.greeting
                trial.transport.loseConnection()
                if welcome:
                    protocol = yield self._endpoint.connect(protocolFactory)
                    return protocol
            except ConnectError:
                self._pool.refused(Failure())
            attempt += 1
            yield task.deferLater(self._pool.clock, self._pool.retryDelay(attempt))


def gather(asked: Iterable[Deferred[Any]]) -> Deferred[list[Any]]:
    """All results, in order; or, once all have ended, the first failure as it is."""

    def first(failure: Any) -> Failure:
        cause: Failure = failure.value.subFailure
        return cause

    return gatherResults(list(asked), consumeErrors=True).addErrback(first)


class Store:
    """What the rest of presque knows of Redis: run a script, whether it `is_up`, and how to hear publications.

    What runs a script fires with Redis' reply. It fails with StoreUnavailable (nothing was done), OutcomeUnknown
    (perhaps it was done) or StoreFull (nothing was done). With `until=NO_LIMIT` it runs however late it gets there.
    """

    def __init__(
        self, clock: IReactorTime, url: RedisURL, endpoint: IStreamClientEndpoint, partitions: int, size: int = 1
    ) -> None:
        self.partitions = partitions
        self.checks: list[Callable[[Connection], Deferred[None]]] = []
        self.pool = ConnectionFactory(clock, url, size, self._check)
        self.listener = ListenerFactory(clock, url)
        self._endpoint = _Patient(endpoint, self.pool)
        self._listening = ClientService(self._endpoint, self.listener, retryPolicy=self.pool.retryDelay)
        self._beat = task.LoopingCall(self._beat_all)
        self._beat.clock = clock

    @inlineCallbacks
    def _check(self, connection: Connection) -> Generator[Deferred[None], None, None]:
        for check in self.checks:
            yield check(connection)

    def start(self) -> None:
        """Begin to connect, and keep connected."""
        self.pool.startConnecting(self._endpoint)
        self._listening.startService()
        self._beat.start(BEAT, now=False)

    @inlineCallbacks
    def stop(self) -> Generator[Deferred[Any], None, None]:
        """Close all connections. Fires when they are closed."""
        if self._beat.running:
            self._beat.stop()
        yield self._listening.stopService()
        yield self.pool.disconnect()

    @property
    def is_up(self) -> bool:
        """Whether a command could be sent now."""
        return bool(self.pool.pool)

    def now(self) -> float:
        """The time (epoch seconds) by Redis' clock, as it was last told; by ours while no connection is there."""
        connection = next(iter(self.pool.pool), None)
        return time() if connection is None else self.pool.clock.seconds() + connection.offset

    def _beat_all(self) -> None:
        for connection in list(self.pool.pool):
            connection.beat()

    def on_queue(
        self, verb: str, queue: str, *args: bytes, until: bytes | None = None, key: bytes = b""
    ) -> Deferred[Reply]:
        """Run a script with the keys of `queue`; ARGV[2] is its name, `args` follow. Raises InvalidName.

        `key` is one that only this call knows; the script has to name it last.
        """
        keys.check_name(queue)
        script = SCRIPTS[verb]
        known = script.keys[:-1] if key else script.keys
        names = keys.queue_keys(known, queue, self.partitions) + (bulk(key) if key else b"")
        return self._run(script, names, (queue.encode(), *args), until)

    def in_partition(self, verb: str, partition: int, *args: bytes) -> Deferred[Reply]:
        """Run a script with the keys of a partition."""
        script = SCRIPTS[verb]
        return self._run(script, keys.partition_keys(script.keys, partition), args, None)

    def everywhere(self, verb: str, *args: bytes) -> Deferred[list[Reply]]:
        """Run a script in every partition; fires with all replies."""
        return gather(self.in_partition(verb, partition, *args) for partition in range(self.partitions))

    def _run(self, script: Script, names: bytes, args: Iterable[bytes], until: bytes | None) -> Deferred[Reply]:
        connection = min(self.pool.pool, key=_owed, default=None)
        if connection is None or _owed(connection) >= MOST_WAITING:
            return fail(StoreUnavailable())
        return connection.run(script, names, args, until)  # type: ignore[no-any-return]  # txredisapi


def _owed(connection: Connection) -> int:
    return len(connection.replyQueue.waiting)
