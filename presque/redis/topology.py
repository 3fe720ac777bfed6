"""Which Redis has which partition. So far there is one Redis, which has them all."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any

from presque.redis.connection import Connection, ConnectionFactory, gather
from presque.redis.listener import ListenerFactory
from presque.redis.reconnecting import Reconnecting

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

    from presque.redis.scripts import Scripts
    from presque.redis.url import RedisURL


class OneRedis:
    """One Redis: a connection for scripts, and one that receives publications. Both reconnect when they are lost."""

    def __init__(
        self,
        clock: IReactorTime,
        url: RedisURL,
        endpoint: IStreamClientEndpoint,
        scripts: Scripts,
        check: Callable[[Connection], Deferred[None]],
    ) -> None:
        self.commands = ConnectionFactory(clock, url, scripts, check)
        self.listener = ListenerFactory(clock, url)
        self._clock = clock
        delay, failed = self.commands.retryDelay, self.commands.refused
        factories: tuple[Any, ...] = (self.commands, self.listener)
        self._kept = [Reconnecting(endpoint, factory, clock, delay, failed) for factory in factories]

    def start(self) -> None:
        """Connect, and reconnect whenever a connection is lost."""
        for each in self._kept:
            each.startService()

    def stop(self) -> Deferred[list[Any]]:
        """Close all connections. Fires when they are closed."""
        return gather(each.stopService() for each in self._kept if each.running)

    def connection(self, partition: int) -> Connection | None:
        """The connection to the Redis that has this partition; None while disconnected."""
        return self.commands.connection

    @property
    def connections(self) -> list[Connection]:
        """One connection to each Redis that can be reached."""
        return list(self.commands.pool)

    def now(self) -> float:
        """The time (epoch seconds) by the Redis clock, as last measured; by our own clock while disconnected."""
        connection = self.connection(0)
        return time() if connection is None else self._clock.seconds() + (connection.offset or 0.0)

    def beat(self) -> None:
        """Check that each connection still answers."""
        for connection in self.connections:
            connection.beat()
        if self.listener.listener is not None:
            self.listener.listener.beat()
