"""The wiring: which services a daemon has, and the order in which they start and stop. The only such place."""

from __future__ import annotations

import atexit
import os
import random
import secrets
from typing import TYPE_CHECKING, Any, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import deferLater
from twisted.logger import Logger

from presque.errors import StoreUnfit
from presque.leases import Leases
from presque.loop import Loop
from presque.mover import move_due
from presque.queues import MOST_AT_ONCE, Queues
from presque.redis.fitness import fitness
from presque.redis.server import LOCK_PATIENCE, PrivateServer
from presque.redis.store import Store
from presque.redis.url import RedisURL, endpoint_for
from presque.waiting import Waiting
from presque.web.app import explain, make_routes
from presque.web.dispatch import Dispatch
from presque.web.handoff import Handoff
from presque.web.site import Site
from presque.workers import Workers

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort
    from twisted.python.failure import Failure

    from presque.settings import Settings

FIRST_CONNECTION = 10.0  # seconds that we wait for Redis before we listen all the same, and answer 503
IDLE_PATIENCE = 1.0  # seconds that open connections have for one more request when we stop, before they are closed
STOP_PATIENCE = 10.0  # seconds that requests in flight may take to end when we stop
BACKLOG = 1024  # connections that may wait to be accepted, unless the endpoint says how many
LOOK = 0.02  # seconds between two looks at something that is waited for at start and stop


class Daemon(Service):
    """All of presque."""

    name = "presque"
    _log = Logger()

    def __init__(self, settings: Settings, reactor: Any) -> None:
        self._reactor = reactor
        self.settings = settings
        self.ports: list[IListeningPort] = []
        self.server = None if settings.redis else PrivateServer(reactor, settings.data_dir, settings.fsync)
        url = settings.redis or RedisURL("unix", "", 0, cast("PrivateServer", self.server).socket, 0)
        self.store = Store(reactor, url, endpoint_for(reactor, url), settings.partitions)
        self.store.checks.append(fitness(settings.partitions, private=self.server is not None))
        self.store.pool.on_unfit = self._end
        self.queues = Queues(self.store, secrets.token_hex(6))
        self.leases = Leases(self.store, random.SystemRandom().random, lambda: secrets.token_urlsafe(12))
        self.workers = Workers(self.store)
        self.waiting = Waiting(self.queues, self.store.listener, reactor)
        self.handoff = Handoff(self.queues, reactor)
        self.routes = make_routes(self.queues, self.leases, self.workers, self.waiting, self.handoff)
        dispatch = Dispatch(self.routes, explain)
        self.site = Site(dispatch, self.handoff, settings.max_body, settings.request_timeout, reactor)
        self.mover = Loop("mover", lambda: move_due(self.queues), settings.tick, MOST_AT_ONCE, reactor)
        self._endpoints = [_endpoint(reactor, text) for text in settings.listen]
        self.started: Deferred[None] = succeed(None)

    def startService(self) -> None:
        """Begin to start; `started` fires once we listen."""
        super().startService()
        self.started = Deferred()
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        ensureDeferred(self._start()).addErrback(self._failed).chainDeferred(self.started)

    def _failed(self, failure: Failure) -> None:
        self._end(cast("BaseException", failure.value))

    async def _start(self) -> None:
        if self.server is not None:
            await self._until(self.server.lock, LOCK_PATIENCE)
            if not self.server.locked:
                raise StoreUnfit(f"{self.server.folder} is in use by another presque (pid {self.server.holder()})")
            self.server.startService()
        self.store.start()
        await self._until(lambda: self.store.is_up, FIRST_CONNECTION)
        for endpoint in self._endpoints:
            if self.running:
                port = await endpoint.listen(self.site)
                self.ports.append(port)
                self._log.info("presque listens on {address}", address=port.getHost())
        if self.running:
            self.mover.startService()

    async def _until(self, condition: Any, patience: float) -> None:
        """Wait until `condition()`, but no longer than `patience` seconds, nor when we begin to stop meanwhile."""
        ends, began_running = self._reactor.seconds() + patience, self.running
        while not condition() and self._reactor.seconds() < ends and self.running == began_running:
            await deferLater(self._reactor, LOOK)

    def _end(self, reason: BaseException) -> None:
        """What cannot be mended by waiting: say it in one line, and end with status 1."""
        self._log.critical("presque ends: {reason}", reason=str(reason) or repr(reason))
        if self._reactor.running:
            atexit.register(os._exit, 1)  # twistd itself always ends with 0
            self._reactor.stop()

    def stopService(self) -> Deferred[None]:
        """Stop: listen no more, answer those who wait, end what is in flight, then all below. Fires when all ended."""
        super().stopService()
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        for port in self.ports:
            await maybeDeferred(port.stopListening)
        self.site.stopping = True
        self.waiting.stop()
        await self._until(lambda: not self.site.channels, IDLE_PATIENCE)
        await self._until(lambda: not self.site.busy and not self.handoff.pending, STOP_PATIENCE)
        for channel in list(self.site.channels):
            channel.loseConnection()
        if self.mover.running:
            await self.mover.stopService()
        await self.store.stop()
        if self.server is not None and self.server.running:
            await maybeDeferred(self.server.stopService)


def _endpoint(reactor: Any, text: str) -> Any:
    # Twisted lets 50 connections wait to be accepted, too few when many workers come at once.
    waiting = f":backlog={BACKLOG}" if text.startswith(("tcp", "unix:")) and "backlog=" not in text else ""
    return serverFromString(reactor, text + waiting)


def make_service(settings: Settings, reactor: Any = None) -> Daemon:
    """The daemon that `settings` describe, on the global reactor unless another is given. Raises StoreUnfit."""
    if reactor is None:
        from twisted.internet import reactor
    return Daemon(settings, reactor)
