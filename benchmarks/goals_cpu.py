"""What one job a request costs: CPU time of daemon and Redis, by the kernel's accounting, beside a bare resource.

Rates move by a third from minute to minute where load, Redis and daemon share cores; CPU time a request hardly moves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.bare import BODY
from benchmarks.goals_rates import CONNECTIONS, PUSH, TAKE, WARM
from benchmarks.rates import Ask, Rate, fill, interleaved, lease_rate, rate
from benchmarks.stage import Line, cpu_time, processes, quiet, shown, table
from tests.load import Client

if TYPE_CHECKING:
    from benchmarks.stage import Stage
    from tests.programs import Daemon, Redis

Load = Callable[[int, int], Rate]  # port, seconds -> what came of it

SETTLING = 0.1  # seconds that the last deliveries take to be recorded
FASTEST = 1.3  # times what the bare resource does: more than presque can take in the same time
POST, GET, INSERT, LEASE = "POST /q", "GET /q and delivery", "/v1 insertion", "/v1 reserve + ack"
GOALS_BY_BARE = {POST: 0.70, GET: 0.85}
BESIDE = "× beside"


def asks(ask: Ask, connections: int = CONNECTIONS) -> Load:
    """A load of that request alone."""
    return lambda port, seconds: rate(port, ask, seconds, connections)


def lease_one(queue: str, port: int, seconds: int) -> Rate:
    """A load of reservations and acks in turn."""
    return lease_rate(port, queue, seconds, CONNECTIONS)


class Request(NamedTuple):
    """What is measured: the queue that it fills or empties, its load, how many requests a job takes, how many jobs a
    request is about, and how many jobs the queue has besides those that are taken from it.
    """

    queue: str
    empties: bool
    load: Load
    requests: int
    at_once: int = 1
    backlog: int = 0


REQUESTS = {
    POST: Request("bench", False, asks(PUSH), 1),
    GET: Request("bench", True, asks(TAKE), 1),
    INSERT: Request("new", False, asks(Ask("POST", "/v1/queues/new/jobs", b'{"payload":%b}' % BODY)), 1),
    LEASE: Request("leased", True, partial(lease_one, "leased"), 2),
}
BARE = {"POST": asks(PUSH), "GET": asks(TAKE)}


@dataclass(frozen=True)
class Cost:
    """Microseconds of CPU time a job, and the rate at which it was measured."""

    daemon: float
    redis: float
    rate: Rate


@dataclass(frozen=True)
class Served:
    """A checkout's daemon with a Redis of its own."""

    redis: Redis
    daemon: Daemon

    def cost(self, request: Request, seconds: int, most: int) -> Cost:
        """What a job costs now. A queue that the load empties has `most` jobs first. The queue's length has to tell the
        same as the answers, and what it does not is wrong.
        """
        queue, load, port = request.queue, request.load, self.daemon.port
        if request.empties:
            fill(port, queue, request.backlog + most - self.ready(queue))
        quiet(self.redis)
        assert self.redis.process
        before = self.ready(queue)
        found = _cost(partial(load, port, seconds), processes(self.daemon), [self.redis.process.pid])
        missing = max(0, found.rate.jobs - CONNECTIONS * request.at_once - abs(self.ready(queue) - before))
        return replace(found, rate=replace(found.rate, wrong=found.rate.wrong + missing))

    def ready(self, queue: str) -> int:
        """How many jobs are ready, by a route that every version has."""
        client = Client(self.daemon.port)
        reply = client.ask("GET", f"/status/{queue}")
        client.close()
        return int(reply.json["size"]) if reply.status == 200 else 0


def _cost(load: Callable[[], Rate], daemon: list[int], redis: list[int]) -> Cost:
    before = cpu_time(daemon), cpu_time(redis)
    done = load()
    time.sleep(SETTLING)
    of_daemon, of_redis = cpu_time(daemon) - before[0], cpu_time(redis) - before[1]
    jobs = max(1, done.jobs)
    return Cost(1e6 * of_daemon / jobs, 1e6 * of_redis / jobs, done)


def one_job(stage: Stage) -> list[Line]:
    """CPU time of one job a request, over 32 connections, beside a bare twisted.web resource without access log."""
    here = Served(*stage.pair())
    checkouts = {"": here}
    if stage.beside:
        checkouts["beside: "] = Served(*stage.pair(root=Path(stage.beside)))
    bare = stage.start_bare("--no-log")
    port = stage.port_said(bare)
    most = int(rate(port, TAKE, WARM, CONNECTIONS).per_second * FASTEST)

    measures: dict[str, Callable[[], Cost]] = {
        f"bare {verb}": partial(_cost, partial(load, port, stage.seconds), [bare.pid], [])
        for verb, load in BARE.items()
    }
    for whose, served in checkouts.items():
        for name in REQUESTS:
            served.cost(REQUESTS[name], WARM, most * WARM)
            measures[whose + name] = partial(served.cost, REQUESTS[name], stage.seconds, most * stage.seconds)
    found = interleaved(stage.rounds, **measures)

    lines = [line for verb in BARE for line in _lines(f"bare {verb}", found[f"bare {verb}"])]
    for whose in checkouts:
        for name in REQUESTS:
            lines += _lines(whose + name, found[whose + name])
            lines.append(_by_bare(whose, name, found))
    if stage.beside:
        lines += [_by_beside(name, found) for name in REQUESTS]
    return lines


def _lines(what: str, costs: list[Cost]) -> list[Line]:
    wrong = sum(cost.rate.wrong for cost in costs)
    p50, p99 = (median(getattr(cost.rate, name) for cost in costs) for name in ("p50", "p99"))
    busy = max(cost.rate.client_cpu for cost in costs)
    note = f"p50 {shown(p50)} ms, p99 {shown(p99)} ms, client {busy:.0%} of a core"
    found = [Line(what, "µs, daemon", [cost.daemon for cost in costs], wrong=wrong)]
    if any(cost.redis for cost in costs):
        found.append(Line(what, "µs, Redis", [cost.redis for cost in costs], wrong=wrong))
    return [*found, Line(what, "jobs/s", [cost.rate.per_second for cost in costs], wrong=wrong, note=note)]


def _by_bare(whose: str, name: str, found: dict[str, list[Cost]]) -> Line:
    """The daemon's CPU time by that of as many bare requests, round by round; a goal for this checkout alone."""
    costs, bare = found[whose + name], found["bare GET" if name == GET else "bare POST"]
    requests = REQUESTS[name].requests
    values = [cost.daemon / (requests * other.daemon) for cost, other in zip(costs, bare, strict=True)]
    wrong = sum(cost.rate.wrong for cost in [*costs, *bare])
    return Line(whose + name, "× bare", values, most=None if whose else GOALS_BY_BARE.get(name), wrong=wrong)


def _by_beside(name: str, found: dict[str, list[Cost]]) -> Line:
    """CPU time of daemon and Redis together, by that of the other checkout."""
    pairs = zip(found[name], found[f"beside: {name}"], strict=True)
    return Line(name, BESIDE, [(one.daemon + one.redis) / (other.daemon + other.redis) for one, other in pairs])


def cpu_table(lines: list[Line]) -> str:
    """The lines of `one_job`, a row for each request: medians, and how far the ratio went."""
    by_unit: dict[str, dict[str, Line]] = {}
    for line in lines:
        by_unit.setdefault(line.what, {})[line.unit] = line
    beside = any(line.unit == BESIDE for line in lines)
    rows = [
        ["a job", "daemon µs", "Redis µs", "× bare", "from", "to", "goal", "", "a second", "× beside"[: 8 * beside], ""]
    ]
    for what, found in by_unit.items():
        empty = Line(what, "", [])
        ratio, rate = found.get("× bare", empty), found["jobs/s"]
        spread = [shown(min(ratio.values)), shown(max(ratio.values))] if ratio.values else ["", ""]
        verdict = ratio.verdict if ratio.values else rate.verdict
        daemon, redis, by_bare, a_second, by_beside = (
            shown(found[unit].figure) if unit in found else ""
            for unit in ("µs, daemon", "µs, Redis", "× bare", "jobs/s", BESIDE)
        )
        rows.append([what, daemon, redis, by_bare, *spread, ratio.goal, verdict, a_second, by_beside, rate.note])
    foot = "µs: CPU time a job, in user space and in the kernel; × bare: the daemon's by that of as many bare requests"
    if beside:
        foot += f"; {BESIDE}: daemon and Redis together, by those of the other checkout"
    return f"{table(rows, frozenset({1, 2, 3, 4, 5, 8, 9}))}\n{foot}"


GOALS = {"one-job": one_job}
