"""What a process counts of itself: plain numbers, without a name in Prometheus' words. The parts of a daemon count on
one `Meter`, which is passed to them, and each process publishes its figures, so that any of them can show all.

Counting is on the way of each request, so it is a few additions; everything else is read when figures are made.
"""

from __future__ import annotations

import gc
import os
import platform
import resource
from bisect import bisect_left
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from presque import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from presque.limits import Limit

BOUNDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # seconds, of the buckets for requests
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
NO_ROUTE, NO_METHOD, NO_SCOPE = "none", "other", "none"
MOST_QUEUES = 500  # queues whose waiting consumers a process tells by name
PAGE = os.sysconf("SC_PAGE_SIZE")  # bytes
TICKS = os.sysconf("SC_CLK_TCK")  # a second


class Route(Protocol):
    """Of a route what is counted: its template, and what a token must allow."""

    @property
    def path(self) -> str:
        """Its template."""

    @property
    def scope(self) -> str:
        """What a token must allow."""


class Answered(Protocol):
    """Of an answered request what is counted. `began` is when it had arrived (seconds, by the reactor's clock);
    `waited` for how long it waited for a job.
    """

    @property
    def route(self) -> Route | None:
        """The route that was found for it."""

    method: bytes
    code: int
    began: float
    waited: float


class Timing:
    """How often something took how long."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.buckets = [0] * (len(BOUNDS) + 1)


class Figures(msgspec.Struct, omit_defaults=True):
    """The figures of a process, as it publishes them. A later release may add members, and this one leaves out what it
    does not know; so each has a default.
    """

    name: str = ""
    labels: dict[str, str] = {}  # of its build
    requests: list[tuple[str, str, int, int]] = []  # route, method, code, how many
    seconds: dict[str, tuple[float, list[int]]] = {}  # scope -> their sum, and how many by bucket
    scripts: dict[str, tuple[int, float]] = {}  # script -> how many calls, and their seconds
    limits: dict[str, tuple[float | None, float | None, int]] = {}  # limit -> maximum, used, refused
    waiting: dict[str, int] = {}  # queue -> consumers; the empty one stands for those that are left
    collections: list[tuple[int, int, int]] = []  # generation -> collections, objects collected, and uncollectable
    values: dict[str, float] = {}  # the others, by their name in /metrics


class Meter:
    """What this process counts. Other parts put their own figures into `values`: functions by a name that
    `presque.web.prometheus.families` has.
    """

    def __init__(self, name: str, limits: Iterable[Limit]) -> None:
        self.name = name  # of the process, as it is shown
        self._limits = limits
        self.requests: dict[tuple[str, bytes, int], int] = {}
        self.seconds: dict[str, Timing] = {}  # by scope
        self.clients_gone = 0  # before they were answered
        self.values: dict[str, Callable[[], float]] = {}
        self.scripts: Callable[[], dict[str, tuple[int, float]]] = dict
        self.waiting: Callable[[], dict[str, int]] = dict

    def answered(self, request: Answered, now: float) -> None:
        """Count a request that is answered now (seconds, by the reactor's clock)."""
        route = request.route
        if route is None:
            self.refused(request.method, request.code)
            return
        key = (route.path, request.method, request.code)
        self.requests[key] = self.requests.get(key, 0) + 1
        scope = route.scope.partition(":")[0]
        timing = self.seconds.get(scope)
        if timing is None:
            timing = self.seconds[scope] = Timing()
        seconds = now - request.began - request.waited
        timing.seconds += seconds
        timing.buckets[bisect_left(BOUNDS, seconds)] += 1

    def refused(self, method: bytes, code: int) -> None:
        """Count an answer that needed no route."""
        known = method if method.decode("latin-1") in METHODS else NO_METHOD.encode()  # a client may send any word
        key = (NO_ROUTE, known, code)
        self.requests[key] = self.requests.get(key, 0) + 1

    def figures(self) -> Figures:
        """All figures, as they are now."""
        values = {name: float(read()) for name, read in self.values.items()}
        values |= {"presque_http_client_gone_total": self.clients_gone, **_of_the_process()}
        return Figures(
            self.name,
            {"version": __version__, "python": platform.python_version()},
            [(route, method.decode(), code, count) for (route, method, code), count in self.requests.items()],
            {scope or NO_SCOPE: (each.seconds, each.buckets) for scope, each in self.seconds.items()},
            self.scripts(),
            {each.name: (each.most, each.used, each.refused) for each in self._limits},
            _bounded(self.waiting()),
            [(each["collections"], each["collected"], each["uncollectable"]) for each in gc.get_stats()],
            values,
        )


def readable(said: dict[str, bytes]) -> dict[str, Figures]:
    """The published figures of processes, by id, without those that cannot be read."""
    found = {}
    for process, text in said.items():
        with suppress(msgspec.MsgspecError):
            found[process] = msgspec.msgpack.decode(text, type=Figures)
    return found


def _bounded(waiting: dict[str, int]) -> dict[str, int]:
    """Those queues on which most wait, and the sum of the others."""
    if len(waiting) <= MOST_QUEUES:
        return dict(waiting)
    ordered = sorted(waiting.items(), key=lambda each: (-each[1], each[0]))
    return dict(ordered[:MOST_QUEUES]) | {"": sum(count for _, count in ordered[MOST_QUEUES:])}


def _of_the_process() -> dict[str, float]:
    """What the system knows of this process; less where there is no /proc."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    found = {"process_cpu_seconds_total": used.ru_utime + used.ru_stime}
    found["process_max_fds"] = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    with suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        booted = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
        found["process_start_time_seconds"] = int(booted.split()[1]) + int(fields[19]) / TICKS
        found["process_virtual_memory_bytes"] = int(fields[20])
        found["process_resident_memory_bytes"] = int(fields[21]) * PAGE
        found["process_open_fds"] = len(os.listdir("/proc/self/fd"))
    return found
