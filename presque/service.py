"""The wiring: the parts of a daemon, and the order in which they start and stop. The only such place."""

from __future__ import annotations

import gc
import random
import secrets
import sys
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from twisted.logger import Logger

from presque.background.conversion import Conversion
from presque.background.forgetting import AT_ONCE, forget_silent, tick
from presque.background.loop import Loop
from presque.background.mover import Mover
from presque.background.schedules import Firing
from presque.errors import StoreFull
from presque.http import arrival
from presque.http.connection import IDLE
from presque.http.deliveries import Deliveries
from presque.http.door import Door
from presque.http.guests import RESERVED
from presque.http.parser import LONGEST_HEAD
from presque.http.shared import Bounds
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
from presque.limits import Limits
from presque.process.certificate import LOOK_EVERY as LOOK_AT_CERTIFICATE
from presque.process.certificate import certificate_of
from presque.process.listening import close, is_local, notice_vanished, server_endpoint
from presque.process.private_redis.server import PrivateServer
from presque.process.root import Root
from presque.process.supervisor import Supervisor
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
from presque.web.answers import error, error_body
from presque.web.app import admit, explain, is_vital, make_routes, settles
from presque.web.parts import Parts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from twisted.internet.interfaces import IListeningPort
    from twisted.python.failure import Failure

    from presque.http.request import Request
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
        self.deliveries = Deliveries(self.queues, reactor)
        self.store.topology.commands.stepped = self._redis_stepped
        self.events = Events(self.store.topology.listener)
        self.waiting = Waiters(self.queues, self.events, reactor, self.deliveries.give_back, settings.max_waiting)
        rules = self.queues, self.queue_list, self.jobs, self.leases, self.workers, self.schedules
        self.routes = make_routes(Parts(*rules, self.waiting, self.deliveries, settings.max_body))
        self.table = Table(self.routes, admit, self._explain, error)
        self.limits = Limits(reactor)
        door, bounds = Door(settings.host), _bounds(settings)
        self.site = Site(self.table.answer, error_body, self.deliveries, door, bounds, self.limits, reactor)
        self.site.is_vital, self.site.settles = is_vital, settles
        self._add_limits(bounds)
        self.certificate = certificate_of(settings)
        self._endpoints = [(server_endpoint(reactor, text), text.startswith(OVER_TLS)) for text in settings.listen]
        self.conversion = Conversion(self.store, self.record)
        self.loops: dict[str, Loop] = {}  # by name; each keeps the result of its last turn
        self._register_parts()

    def _add_limits(self, bounds: Bounds) -> None:
        """Add the limits in the order of `docs/limits.md`."""
        settings, add, guests = self.settings, self.limits.add, self.site.guests
        add("connections", bounds.connections, "--max-connections", lambda: guests.count)
        each = settings.max_connections_per_address or None
        add("connections-per-address", each, "--max-connections-per-address", lambda: guests.largest)
        add("head", LONGEST_HEAD)
        add("body", settings.max_body, "--max-body")
        add("buffered", settings.max_buffered, "--max-buffered", lambda: self.site.buffers.used)
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
        self._register_loop("conversion", self.conversion.run_once, CONVERT, 1, self._await_conversion)
        self._register_loop("mover", Mover(self.queues).run_once, settings.tick, MOST_AT_ONCE)
        self._register_loop("schedules", Firing(self.schedules).run_once, settings.tick, 1)
        self._register_loop("the record of the store", keep, LOOK_EVERY, sys.maxsize)
        self._register_loop("the memory of the store", self.memory.look, LOOK_AT_MEMORY, sys.maxsize)
        self._register_loop("forgetting", forget, tick(settings.worker_keep), AT_ONCE)
        if self.certificate is not None:
            self._register_loop("the certificate", self.certificate.look, LOOK_AT_CERTIFICATE, sys.maxsize)
            self.on_reload(self.certificate.reload)
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
    it runs on the global one. Raises StoreUnfit.
    """
    if reactor is None:
        from twisted.internet import reactor

        # By default this is the wall clock: when that is set back, all timers stop for as long.
        reactor.seconds = monotonic  # type: ignore[attr-defined]
    if settings.processes > 1:
        return Supervisor(settings, reactor, CHILD_PATIENCE)
    return Daemon(settings, reactor)
