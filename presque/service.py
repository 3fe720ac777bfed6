"""The wiring: the parts of a daemon, and the order in which they start and stop. The only such place."""

from __future__ import annotations

import gc
import random
import secrets
import sys
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from twisted.logger import Logger

from presque.background.conversion import Conversion
from presque.background.forgetting import AT_ONCE, forget_silent, tick
from presque.background.loop import Loop
from presque.background.mover import Mover
from presque.background.redis_facts import EVERY as READ_EVERY
from presque.background.redis_facts import RedisFacts
from presque.background.sampler import AT_ONCE as SAMPLES_AT_ONCE
from presque.background.sampler import EVERY as SAMPLE_EVERY
from presque.background.sampler import Sampler
from presque.background.schedules import Firing
from presque.http import arrival
from presque.http.deliveries import Deliveries
from presque.http.door import Door
from presque.http.site import Site
from presque.http.table import Table
from presque.jobs.consumers import Consumers
from presque.jobs.diagnosis import Diagnosis
from presque.jobs.events import Events
from presque.jobs.history import History
from presque.jobs.jobs import Jobs
from presque.jobs.leases import Leases
from presque.jobs.policy import lua_parts
from presque.jobs.queue_list import QueueList
from presque.jobs.queues import MOST_AT_ONCE, Queues
from presque.jobs.schedules import Schedules
from presque.jobs.waiters import Waiters
from presque.jobs.workers import Workers
from presque.process.listening import close, notice_vanished, server_endpoint
from presque.process.private_redis.server import PrivateServer
from presque.process.root import Root
from presque.process.supervisor import Supervisor
from presque.redis.connect_checks import fitness
from presque.redis.conversion import Conversion as ModelConversion
from presque.redis.record import LOOK_EVERY, Record
from presque.redis.scripts import load
from presque.redis.store import BEAT, Store
from presque.redis.url import endpoint_for
from presque.web.answers import error, error_body
from presque.web.app import admit, explain, make_routes
from presque.web.parts import Parts
from presque.web.system import Fixed, System

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from twisted.internet.interfaces import IListeningPort

    from presque.settings import Settings

FIRST_CONNECTION = 10.0  # seconds to wait for Redis before listening anyway and answering 503
CONVERT = 1.0  # seconds between tries to convert data in an old form
IDLE_PATIENCE = 1.0  # seconds for one more request on open connections when we stop
STOP_PATIENCE = 10.0  # seconds to finish requests in flight when we stop
CHILD_PATIENCE = IDLE_PATIENCE + STOP_PATIENCE + 4.0  # seconds for each of several processes to stop


class Daemon(Root):
    """All of presque in one process."""

    _log = Logger()

    def __init__(self, settings: Settings, reactor: Any) -> None:
        super().__init__(reactor)
        self.settings = settings
        self.ports: list[IListeningPort] = []
        self.server = None if settings.redis else PrivateServer(reactor, settings, self._end)
        url = settings.redis or cast("PrivateServer", self.server).url
        self.store = Store(reactor, url, endpoint_for(reactor, url), settings.partitions, load(lua_parts()))
        self.store.checks.append(fitness(private=self.server is not None))
        self.record = Record(settings.partitions)
        self.store.checks.append(self.record.check)
        self.store.checks.append(ModelConversion(settings.partitions, reactor).check)
        self.store.topology.commands.on_unfit = self._end
        self.queues = Queues(self.store, secrets.token_hex(6))
        self.queue_list = QueueList(self.store, self.queues)
        self.jobs = Jobs(self.store)
        self.leases = Leases(self.store, random.SystemRandom().random, lambda: secrets.token_urlsafe(12))
        self.workers = Workers(self.store)
        self.schedules = Schedules(self.store)
        self.history = History(self.store)
        self.deliveries = Deliveries(self.queues, reactor)
        self.store.topology.commands.stepped = self._redis_stepped
        self.events = Events(self.store.topology.listener)
        self.waiting = Waiters(self.queues, self.events, reactor, self.deliveries.give_back)
        rules = self.queues, self.queue_list, self.jobs, self.leases, self.workers, self.schedules
        self.redis_facts = RedisFacts(self.store)
        told = Consumers(self.store, self.workers), Diagnosis(self.store), self.history, self._make_system()
        self.routes = make_routes(Parts(*rules, self.waiting, self.deliveries, settings.max_body, *told))
        self.table = Table(self.routes, admit, explain, error)
        door = Door(settings.host)
        limits = settings.max_body, settings.request_timeout
        self.site = Site(self.table.answer, error_body, self.deliveries, door, *limits, reactor)
        self._endpoints = [server_endpoint(reactor, text) for text in settings.listen]
        self.conversion = Conversion(self.store, self.record)
        self.loops: dict[str, Loop] = {}  # by name; each keeps the result of its last turn
        self._register_parts()

    def _register_parts(self) -> None:
        """Register the parts in order: later parts need earlier ones."""
        settings = self.settings

        def keep() -> Coroutine[Any, Any, int]:
            return self.record.keep(self.store)

        def forget() -> Coroutine[Any, Any, int]:
            return forget_silent(self.store, settings.worker_keep)

        if self.server is not None:
            self.server.became_ready = self.changed
            self.register("the private Redis", self._start_server, self.server.stop)
        self.store.topology.commands.changed = self.changed
        self.register("the store", self._start_store, self.store.stop)
        self._register_loop("the beat", self.store.beat, BEAT, sys.maxsize)
        self._register_loop("conversion", self.conversion.run_once, CONVERT, 1, self._await_conversion)
        self._register_loop("mover", Mover(self.queues).run_once, settings.tick, MOST_AT_ONCE)
        self._register_loop("schedules", Firing(self.schedules).run_once, settings.tick, 1)
        self._register_loop("the record of the store", keep, LOOK_EVERY, sys.maxsize)
        self._register_loop("sampler", Sampler(self.history).run_once, SAMPLE_EVERY, SAMPLES_AT_ONCE)
        self._register_loop("facts of Redis", self.redis_facts.run_once, READ_EVERY, sys.maxsize)
        self._register_loop("forgetting", forget, tick(settings.worker_keep), AT_ONCE)
        self.site.changed = self.deliveries.changed = self.changed
        self.register("the site", self._listen, self._drain)

    def _make_system(self) -> System:
        """What `GET /v1/system` tells."""
        settings, clock, started_at = self.settings, self._reactor, self._reactor.seconds()
        limits = Fixed("body", settings.max_body), Fixed("request-time", settings.request_timeout)
        redis = self.redis_facts
        return System(lambda: clock.seconds() - started_at, settings.processes, lambda: redis.facts, limits)

    def _register_loop(
        self,
        name: str,
        work: Callable[[], Coroutine[Any, Any, int]],
        tick: float,
        full: int,
        begun: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Register a loop; with `begun`, the next part starts once that has ended."""
        loop = self.loops[name] = Loop(name, work, tick, full, self._reactor)
        loop.turned = self.changed

        async def start() -> None:
            loop.start()
            if begun is not None:
                await begun()

        self.register(name, start, loop.stop)

    async def _start_server(self) -> None:
        if self.server is not None:
            await self.server.start()
        if self.server is not None and self.running:
            await self._until(self.server.is_ready, FIRST_CONNECTION)

    async def _start_store(self) -> None:
        self.store.start()
        await self._until(lambda: self.store.is_up, FIRST_CONNECTION)

    async def _await_conversion(self) -> None:
        await self._until(lambda: self.conversion.done or not self.store.is_up, FIRST_CONNECTION)

    async def _listen(self) -> None:
        if not arrival.is_known():
            self._log.warn(
                "unknown Twisted version: answers are sent later, and jobs over Unix sockets are delivered again"
            )
        for endpoint in self._endpoints:
            if self.running:
                port = await endpoint.listen(self.site)
                notice_vanished(port, self.settings.request_timeout)
                self.ports.append(port)
                self._log.info("presque listens on {address}", address=port.getHost())
        gc.collect()
        gc.freeze()  # exempts permanent objects from garbage collections; scanning them took 25 ms

    async def _drain(self) -> None:
        """Stop listening, answer waiting consumers, and finish requests in flight."""
        await close(self.ports)
        self.site.stopping = True
        self.waiting.stop()
        await self._until(lambda: not self.site.connections, IDLE_PATIENCE)
        await self._until(lambda: not self.site.busy and not self.deliveries.pending, STOP_PATIENCE)
        for connection in list(self.site.connections):
            connection.loseConnection()

    def _redis_stepped(self, seconds: float) -> None:
        self._log.warn(
            "the Redis clock was set forward by {seconds} s: leases run out earlier", seconds=round(seconds, 1)
        )
        self.deliveries.hold_all()

    def _hurry(self) -> None:
        if self.server is not None:
            self.server.writing.hurry()


def make_service(settings: Settings, reactor: Any = None) -> Root:
    """The service that `settings` describe: the daemon, or with several processes their supervisor. Without `reactor`
    it runs on the global one. Raises StoreUnfit.
    """
    if reactor is None:
        from twisted.internet import reactor

        # By default this is the wall clock: when that is set back, all timers stop for as long.
        reactor.seconds = monotonic  # type: ignore[attr-defined]
    if settings.processes > 1:
        return Supervisor(settings, reactor, CHILD_PATIENCE)
    return Daemon(settings, reactor)
