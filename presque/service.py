"""The wiring: the parts of a daemon, and the order in which they start and stop. The only such place."""

from __future__ import annotations

import gc
import os
import random
import secrets
import socket
import sys
from functools import partial
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from time import monotonic, time
from typing import TYPE_CHECKING, Any, cast

from twisted.logger import Logger

from presque.background.conversion import Conversion
from presque.background.forgetting import AT_ONCE, forget_silent, tick
from presque.background.health import Health
from presque.background.loop import Loop
from presque.background.mover import Mover
from presque.background.publication import PUBLISH, Publication
from presque.background.reactor_lag import ReactorLag
from presque.background.redis_facts import EVERY as READ_EVERY
from presque.background.redis_facts import RedisFacts
from presque.background.sampler import AT_ONCE as SAMPLES_AT_ONCE
from presque.background.sampler import EVERY as SAMPLE_EVERY
from presque.background.sampler import Sampler
from presque.background.schedules import Firing
from presque.errors import StoreFull
from presque.http import arrival
from presque.http.access import Access
from presque.http.connection import IDLE
from presque.http.deliveries import Deliveries
from presque.http.door import Door
from presque.http.guests import RESERVED
from presque.http.hosts import ANY
from presque.http.parser import LONGEST_HEAD
from presque.http.shared import Bounds
from presque.http.site import Site
from presque.http.table import Table
from presque.jobs.consumers import Consumers
from presque.jobs.diagnosis import Diagnosis
from presque.jobs.events import Events
from presque.jobs.figures import QueuesFigures
from presque.jobs.history import History
from presque.jobs.jobs import Jobs
from presque.jobs.leases import Leases
from presque.jobs.policy import lua_parts
from presque.jobs.processes import Processes
from presque.jobs.queue_list import QueueList
from presque.jobs.queues import MOST_AT_ONCE, Queues
from presque.jobs.schedules import Schedules
from presque.jobs.store_facts import store_facts
from presque.jobs.waiters import Waiters
from presque.jobs.workers import Workers
from presque.limits import Limits
from presque.metrics import Meter
from presque.process.certificate import LOOK_EVERY as LOOK_AT_CERTIFICATE
from presque.process.certificate import certificate_of
from presque.process.exposure import check_exposure
from presque.process.listening import close, is_local, notice_vanished, server_endpoint
from presque.process.log import Log
from presque.process.log_lines import report
from presque.process.notify import SERVING, Notifier, Systemd, is_supervised, take_variables, watchdog_interval
from presque.process.private_redis.server import PrivateServer
from presque.process.root import Root
from presque.process.supervisor import Supervisor
from presque.redis.condition import PROBE_EVERY, Condition
from presque.redis.connect_checks import fitness
from presque.redis.conversion import Conversion as ModelConversion
from presque.redis.memory import LOOK_EVERY as LOOK_AT_MEMORY
from presque.redis.memory import Memory
from presque.redis.record import LOOK_EVERY, Record
from presque.redis.scripts import load
from presque.redis.store import BEAT, Store
from presque.redis.store import MOST_WAITING as MOST_COMMANDS
from presque.redis.url import endpoint_for
from presque.settings import OVER_TLS
from presque.tokens.file import read as read_tokens
from presque.web.all_processes import AllProcesses
from presque.web.answers import error, error_body
from presque.web.app import admit, explain, is_vital, make_routes, settles
from presque.web.auth import Judge
from presque.web.parts import Parts
from presque.web.prometheus.exposition import Exposition
from presque.web.system import System
from presque.web.wrong_tokens import AT_ONCE as WRONG_TOKENS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path

    from twisted.internet.interfaces import IListeningPort
    from twisted.python.failure import Failure

    from presque.http.request import Request
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
        scripts = load(lua_parts(settings.max_queues, settings.partitions))
        self.store = Store(reactor, url, endpoint_for(reactor, url), settings.partitions, scripts)
        self.memory = Memory(self.store, settings.max_store_memory / 100)
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
        self.waiting = Waiters(self.queues, self.events, reactor, self.deliveries.give_back, settings.max_waiting)
        self.condition = Condition(self.store.topology.commands, reactor)
        self.limits = Limits(reactor)
        self.meter = Meter(f"{socket.gethostname()}:{os.getpid()}", self.limits)
        self.redis_facts = RedisFacts(self.store)
        self.loops: dict[str, Loop] = {}  # by name; each keeps the result of its last turn
        self.health = Health(self.condition, self.loops, reactor)
        rules = self.queues, self.queue_list, self.jobs, self.leases, self.workers, self.schedules
        told = self.health.checks, *self._make_figures()
        asked = Consumers(self.store, self.workers), Diagnosis(self.store), self.history, self._make_system()
        self.routes = make_routes(Parts(*rules, self.waiting, self.deliveries, settings.max_body, *told, *asked))
        self.table = Table(self.routes, admit, self._explain, error)
        self.judge = self._make_judge() if settings.tokens else None
        self.site = self._make_site()
        self.certificate = certificate_of(settings)
        self._endpoints = [(server_endpoint(reactor, text), text.startswith(OVER_TLS)) for text in settings.listen]
        self.conversion = Conversion(self.store, self.record)
        self._register_parts()
        self._wire_meter()

    def _make_judge(self) -> Judge:
        """What decides who may do what."""
        settings, clock = self.settings, self._reactor
        judge = Judge(cast("Path", settings.tokens), self.table.route, time, clock.seconds, self.limits.refuse)
        if settings.tls_client_ca:
            judge.sessions = judge.by_certificate
        self.on_reload(self._reload_tokens)
        return judge

    def _make_site(self) -> Site:
        """What makes connections."""
        settings, bounds = self.settings, _bounds(self.settings)
        door = Door(settings.host if self.judge is None else (ANY,))  # a page whose name was rebound has no token
        refusal = None if self.judge is None else self.judge.refusal
        shared = bounds, self.limits, self._reactor, self.meter, refusal
        site = Site(self.table.answer, error_body, self.deliveries, door, *shared)
        site.is_vital, site.settles = is_vital, settles
        if settings.access_log:
            site.access = Access(self._reactor)
        self._add_limits(bounds, site)
        return site

    def _add_limits(self, bounds: Bounds, site: Site) -> None:
        """Add the limits in the order of `docs/limits.md`."""
        settings, add, guests = self.settings, self.limits.add, site.guests
        add("connections", bounds.connections, "--max-connections", lambda: guests.count)
        each = settings.max_connections_per_address or None
        add("connections-per-address", each, "--max-connections-per-address", lambda: guests.largest)
        add("head", LONGEST_HEAD)
        add("body", settings.max_body, "--max-body")
        add("buffered", settings.max_buffered, "--max-buffered", lambda: site.buffers.used)
        add("request-time", settings.request_timeout, "--request-timeout")
        add("unread-answer", settings.request_timeout, "--request-timeout")
        add("idle", IDLE)
        add("commands", MOST_COMMANDS, use=lambda: sum(each.owed for each in self.store.topology.connections))
        add("waiting", settings.max_waiting, "--max-waiting", lambda: self.waiting.count)
        add("queues", settings.max_queues, "--max-queues")
        add("queue-length", None, "max_length of the queue")
        add("queue-bytes", None, "max_bytes of the queue")
        add("store-memory", None, "--max-store-memory", lambda: self.memory.used)
        add(
            "free-disk", settings.min_free, "--min-free", lambda: None if self.server is None else self.server.room.free
        )
        add("wrong-tokens", WRONG_TOKENS)

    def _explain(self, request: Request, failure: Failure) -> bytes:
        """The answer to the failure of a route; if a limit is the reason, it is counted."""
        limit = getattr(failure.value, "limit", "")
        if limit:
            is_disk = isinstance(failure.value, StoreFull) and self.memory.is_closed
            self.limits.refuse("free-disk" if is_disk else limit)
        return explain(request, failure)

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
        self._register_loop("the memory of the store", self.memory.look, LOOK_AT_MEMORY, sys.maxsize)
        self._register_loop("sampler", Sampler(self.history).run_once, SAMPLE_EVERY, SAMPLES_AT_ONCE)
        self._register_loop("facts of Redis", self.redis_facts.run_once, READ_EVERY, sys.maxsize)
        self._register_loop("forgetting", forget, tick(settings.worker_keep), AT_ONCE)
        if self.certificate is not None:
            self._register_loop("the certificate", self.certificate.look, LOOK_AT_CERTIFICATE, sys.maxsize)
            self.on_reload(self.certificate.reload)
        self._lag = ReactorLag(self._reactor)
        self.register("the reactor's lag", self._lag.start, self._lag.stop)
        self._register_loop("publication", self.publication.run_once, PUBLISH, sys.maxsize)
        self.site.changed = self.deliveries.changed = self.changed
        self.register("the site", self._listen, self._drain)

    def _make_figures(self) -> tuple[QueuesFigures, AllProcesses, Exposition]:
        """What tells the figures of queues, of processes, and of everything."""
        processes, process = Processes(self.store), self.queues.daemon.decode()
        self.publication = Publication(processes, process, self.meter)
        everyone = AllProcesses(processes, process, self.meter)
        self.publication.heard = everyone.heard
        queues = QueuesFigures(self.store, self.queue_list, self.settings.metrics_queues)
        return queues, everyone, Exposition(partial(store_facts, self.store), queues, everyone, self._reactor)

    def _wire_meter(self) -> None:
        """Have the meter tell what other parts know."""
        commands, leases, mover = self.store.topology.commands, self.leases, self.loops["mover"]
        self.meter.waiting = self.waiting.by_queue
        self.meter.scripts = commands.script_seconds
        self.meter.values |= {
            "presque_stale_receipts_total": lambda: leases.stale_receipts,
            "presque_store_reconnects_total": lambda: max(0, commands.connections_made - 1),
            "presque_mover_lag_seconds": mover.lag,
            "presque_reactor_lag_seconds": lambda: self._lag.seconds,
            "presque_auth_failures_total": lambda: 0 if self.judge is None else self.judge.wrong_tokens.count,
        }
        if certificate := self.certificate:
            self.meter.values["presque_certificate_not_after_seconds"] = lambda: certificate.not_after

    def _make_system(self) -> System:
        """What `GET /v1/system` tells."""
        clock, started_at, redis = self._reactor, self._reactor.seconds(), self.redis_facts

        def certificate_end() -> float | None:
            return None if self.certificate is None else self.certificate.not_after

        uptime, processes = lambda: clock.seconds() - started_at, self.settings.processes
        return System(uptime, processes, lambda: redis.facts, self.limits, certificate_end)

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
        for endpoint, is_over_tls in self._endpoints:
            if self.running:
                factory: Any = self.site
                how = ""
                if self.certificate is not None and is_over_tls and not is_local(endpoint):
                    factory, how = self.certificate.wrap(self.site), " over TLS"
                port = await endpoint.listen(factory)
                notice_vanished(port, self.settings.request_timeout)
                self.ports.append(port)
                self._log.info("presque listens on {address}{how}", address=port.getHost(), how=how)
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

    def _reload_tokens(self) -> None:
        if self.judge is not None and self.judge.reload():
            self.site.judge_again()

    def _hurry(self) -> None:
        if self.server is not None:
            self.server.writing.hurry()


def _bounds(settings: Settings) -> Bounds:
    """How much clients may take. Some descriptors are kept for other files than connections."""
    descriptors, _ = getrlimit(RLIMIT_NOFILE)
    most = settings.max_connections
    if descriptors != RLIM_INFINITY:
        most = min(most, max(1, descriptors - RESERVED))
    each = settings.max_connections_per_address
    return Bounds(settings.max_body, settings.request_timeout, settings.max_buffered, most, each)


def make_service(settings: Settings, reactor: Any = None) -> Root:
    """The service that `settings` describe: the daemon, or with several processes their supervisor. Without `reactor`
    it runs on the global one. Raises StoreUnfit, InvalidTokenFile and SettingError.
    """
    if not (settings.tokens or settings.insecure):
        check_exposure(settings.listen)
    if reactor is None:
        from twisted.internet import reactor

        # By default this is the wall clock: when that is set back, all timers stop for as long.
        reactor.seconds = monotonic  # type: ignore[attr-defined]
    service: Root = _supervisor(settings, reactor) if settings.processes > 1 else Daemon(settings, reactor)
    service.log = Log(settings.log_format, settings.log_level, reactor)
    service.notifier = _notifier(service, service.log, reactor)
    return service


def _supervisor(settings: Settings, reactor: Any) -> Supervisor:
    supervisor = Supervisor(settings, reactor, CHILD_PATIENCE)
    if settings.tokens:
        read_tokens(settings.tokens)  # so that a wrong file is refused before any process is started
    return supervisor


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
