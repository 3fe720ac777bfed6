"""The wiring: the parts of a daemon, and the order in which they start and stop. The only such place."""

from __future__ import annotations

import gc
import os
import random
import secrets
import sys
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from twisted.logger import Logger

from presque.background.conversion import Conversion
from presque.background.forgetting import AT_ONCE, forget_silent, tick
from presque.background.health import Health
from presque.background.loop import Loop
from presque.background.mover import Mover
from presque.background.schedules import Firing
from presque.http import arrival
from presque.http.access import Access
from presque.http.deliveries import Deliveries
from presque.http.door import Door
from presque.http.site import Site
from presque.http.table import Table
from presque.jobs.events import Events
from presque.jobs.jobs import Jobs
from presque.jobs.leases import Leases
from presque.jobs.policy import lua_parts
from presque.jobs.queue_list import QueueList
from presque.jobs.queues import MOST_AT_ONCE, Queues
from presque.jobs.schedules import Schedules
from presque.jobs.waiters import Waiters
from presque.jobs.workers import Workers
from presque.process.listening import close, notice_vanished, server_endpoint
from presque.process.log import Log
from presque.process.log_lines import report
from presque.process.notify import SERVING, Notifier, Systemd, is_supervised, take_variables, watchdog_interval
from presque.process.private_redis.server import PrivateServer
from presque.process.root import Root
from presque.process.supervisor import Supervisor
from presque.redis.condition import PROBE_EVERY, Condition
from presque.redis.connect_checks import fitness
from presque.redis.conversion import Conversion as ModelConversion
from presque.redis.record import LOOK_EVERY, Record
from presque.redis.scripts import load
from presque.redis.store import BEAT, Store
from presque.redis.url import endpoint_for
from presque.web.answers import error, error_body
from presque.web.app import admit, explain, make_routes
from presque.web.parts import Parts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from twisted.internet.interfaces import IListeningPort

    from presque.settings import Settings

FIRST_CONNECTION = 10.0  # seconds to wait for Redis before listening anyway and answering 503
CONVERT = 1.0  # seconds between tries to convert data in an old form
IDLE_PATIENCE = 1.0  # seconds for one more request on open connections when we stop: while we still listen, and after
STOP_PATIENCE = 10.0  # seconds to finish requests in flight when we stop
CHILD_PATIENCE = 2 * IDLE_PATIENCE + STOP_PATIENCE + 3.0  # seconds for each of several processes to stop


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
        self.deliveries = Deliveries(self.queues, reactor)
        self.store.topology.commands.stepped = self._redis_stepped
        self.events = Events(self.store.topology.listener)
        self.waiting = Waiters(self.queues, self.events, reactor, self.deliveries.give_back)
        self.condition = Condition(self.store.topology.commands, reactor)
        self.loops: dict[str, Loop] = {}  # by name; each keeps the result of its last turn
        self.health = Health(self.condition, self.loops, reactor)
        rules = self.queues, self.queue_list, self.jobs, self.leases, self.workers, self.schedules
        self.routes = make_routes(Parts(*rules, self.waiting, self.deliveries, settings.max_body, self.health.checks))
        self.table = Table(self.routes, admit, explain, error)
        door = Door(settings.host)
        limits = settings.max_body, settings.request_timeout
        self.site = Site(self.table.answer, error_body, self.deliveries, door, *limits, reactor)
        if settings.access_log:
            self.site.access = Access(reactor)
        self._endpoints = [server_endpoint(reactor, text) for text in settings.listen]
        self.conversion = Conversion(self.store, self.record)
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
        self._register_loop("the probe of the store", self.condition.run_once, PROBE_EVERY, sys.maxsize)
        self._register_loop("conversion", self.conversion.run_once, CONVERT, 1, self._await_conversion)
        self._register_loop("mover", Mover(self.queues).run_once, settings.tick, MOST_AT_ONCE)
        self._register_loop("schedules", Firing(self.schedules).run_once, settings.tick, 1)
        self._register_loop("the record of the store", keep, LOOK_EVERY, sys.maxsize)
        self._register_loop("forgetting", forget, tick(settings.worker_keep), AT_ONCE)
        self.site.changed = self.deliveries.changed = self.changed
        self.register("the site", self._listen, self._drain)

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
        """Say so at /health/ready, answer waiting consumers, stop listening, and finish requests in flight. While
        clients are connected we listen for a moment more: a load balancer learns it from an answer, and from a refused
        connection only that something is wrong.
        """
        self.health.is_draining = self.site.stopping = True
        self.waiting.stop()
        await self._until(lambda: not self.site.connections, IDLE_PATIENCE)
        await close(self.ports)
        await self._until(lambda: not self.site.connections, IDLE_PATIENCE)
        await self._until(lambda: not self.site.busy and not self.deliveries.pending, STOP_PATIENCE)
        for connection in list(self.site.connections):
            connection.loseConnection()

    def status(self) -> str:
        """Where we serve, or what is wrong."""
        trouble = self.health.trouble()
        if not self.ports:
            return f"Starting ({trouble})" if trouble else "Starting"
        hosts: list[Any] = [port.getHost() for port in self.ports]
        places = [f"{host.host}:{host.port}" if hasattr(host, "port") else os.fsdecode(host.name) for host in hosts]
        return f"Not ready ({trouble})" if trouble else f"{SERVING} on {', '.join(places)}"

    def is_alive(self, patience: float) -> bool:
        """Whether the loops turn."""
        return self.health.is_turning(patience)

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
    service: Root = (
        Supervisor(settings, reactor, CHILD_PATIENCE) if settings.processes > 1 else Daemon(settings, reactor)
    )
    service.log = Log(settings.log_format, settings.log_level, reactor)
    service.notifier = _notifier(service, service.log, reactor)
    return service


def _notifier(service: Root, log: Log, reactor: Any) -> Notifier | None:
    """What tells systemd or our supervisor how we are, if one of them has started us."""
    variables = take_variables(os.environ)
    tell: Callable[[dict[str, str]], None]
    if is_supervised(variables):

        def tell(facts: dict[str, str]) -> None:
            log.write_line(report(facts))

    elif path := variables.get("NOTIFY_SOCKET"):
        tell = Systemd(path).tell
    else:
        return None
    return Notifier(tell, watchdog_interval(variables), service.status, service.is_alive, reactor)
