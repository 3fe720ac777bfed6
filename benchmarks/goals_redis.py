"""Redis' share of the work: its CPU time per job, relative to another checkout, beside a queue with every option, and
on a long queue.

Each comparison alternates between its two sides, and a figure is the median of the ratios, round by round.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.bare import BODY
from benchmarks.goals_cpu import GET, INSERT, LEASE, POST, REQUESTS, Request, Served, asks, lease_one
from benchmarks.goals_rates import BATCHERS, PUSH_MANY, SCRIPTS, TAKE_MANY, WARM
from benchmarks.rates import Ask, fill, interleaved, lease_rate_many, new_jobs
from benchmarks.stage import Line, shown
from tests.load import Client
from tests.programs import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.goals_cpu import Cost
    from benchmarks.stage import Stage
    from tests.programs import Redis

OF_REDIS = {POST: 0.8, GET: 0.62, LEASE: 0.7}  # × beside
OF_BOTH = {INSERT: 0.5, LEASE: 0.5}
NO_MORE = 1.03  # "no slower", and what a queue beside may cost: equal, as far as it can be measured
SHORT_ROUNDS = 3  # times as many rounds, of a second: they tell a difference of some percent
LONG = 1.1  # × an empty queue
CANCELLED = 100  # µs of Redis
STEADY = ("--auto-aof-rewrite-percentage", "0")  # a rewrite would fall into some measures and not into others
NO_OTHER = "--beside names a checkout or a revision to compare with"

Sides = dict[str, tuple[Served, "Mapping[str, Request]"]]  # what is compared, and by which requests
Costs = dict[str, dict[str, list["Cost"]]]  # side -> request -> a cost a round


def serve(stage: Stage, root: Path = ROOT) -> Served:
    """A daemon of the checkout at `root`, or of this one, with a Redis of its own that never rewrites its file."""
    redis = stage.store(*STEADY)
    return Served(redis, stage.daemon(redis.url, root=root))


def with_other(stage: Stage, requests: Mapping[str, Request]) -> Sides:
    """This checkout, and the other one where there is one."""
    sides: Sides = {"here": (serve(stage), requests)}
    if stage.beside:
        sides["beside"] = (serve(stage, Path(stage.beside)), requests)
    return sides


def alternately(sides: Sides, rounds: int, seconds: int) -> Costs:
    """What each request costs on each side, in turns: a request on one side, the same on the other, then the next."""
    measures: dict[str, Callable[[], Cost]] = {}
    names = next(iter(sides.values()))[1]
    for name in names:
        for side, (served, requests) in sides.items():
            steady = _Steady(served, requests[name], seconds)
            steady.cost(WARM)
            measures[f"{side} {name}"] = steady.cost
    found = interleaved(rounds, **measures)
    return {side: {name: found[f"{side} {name}"] for name in names} for side in sides}


class _Steady:
    """A request whose queue always has enough jobs: twice as many as were ever taken in the time."""

    def __init__(self, served: Served, request: Request, seconds: int) -> None:
        self.served, self.request, self.seconds = served, request, seconds
        self.fastest = 15_000.0 * request.at_once**0.5

    def cost(self, seconds: int = 0) -> Cost:
        seconds = seconds or self.seconds
        found = self.served.cost(self.request, seconds, int(2 * self.fastest * seconds))
        self.fastest = max(self.fastest, found.rate.per_second)
        return found


def of_redis(cost: Cost) -> float:
    return cost.redis


def of_both(cost: Cost) -> float:
    return cost.redis + cost.daemon


def compared(what: str, figure: Callable[[Cost], float], one: list[Cost], other: list[Cost], **goal: Any) -> Line:
    """One side by the other, round by round, with the microseconds of both in the note."""
    figures = [[figure(cost) for cost in costs] for costs in (one, other)]
    wrong = sum(cost.rate.wrong for cost in [*one, *other])
    values = [mine / theirs for mine, theirs in zip(*figures, strict=True)]
    ours, theirs = (shown(median(each)) for each in figures)
    return Line(what, "×", values, wrong=wrong, note=f"{ours} µs a job by {theirs}", **goal)


def beside(what: str, figure: Callable[[Cost], float], found: Costs, name: str, most: float | None) -> Line:
    """This checkout by the other one; without another, what it takes, which decides nothing."""
    if "beside" in found:
        return compared(what, figure, found["here"][name], found["beside"][name], most=most)
    costs = found["here"][name]
    wrong = sum(cost.rate.wrong for cost in costs)
    return Line(what, "µs a job", [figure(cost) for cost in costs], most=most, wrong=wrong, undecided=NO_OTHER)


def cpu(stage: Stage) -> list[Line]:
    """CPU time of one job a request over 32 connections, by that of the other checkout: Redis, and Redis and daemon."""
    found = alternately(with_other(stage, REQUESTS), stage.rounds, stage.seconds)
    lines = [beside(f"{name}: Redis", of_redis, found, name, OF_REDIS.get(name)) for name in REQUESTS]
    return lines + [beside(f"{name}: daemon and Redis", of_both, found, name, OF_BOTH.get(name)) for name in REQUESTS]


BATCHES = {
    "POST /qb": Request("bench", False, asks(PUSH_MANY, BATCHERS), 1, 100),
    "GET /qb and delivery": Request("bench", True, asks(TAKE_MANY, BATCHERS), 1, 100),
    "/v1 insertions": Request(
        "new", False, asks(Ask("POST", "/v1/queues/new/jobs", new_jobs(100), 100), BATCHERS), 1, 100
    ),
    "/v1 reservations and settlements": Request(
        "leased", True, lambda port, seconds: lease_rate_many(port, "leased", 100, seconds, BATCHERS), 2, 100
    ),
}


def batches(stage: Stage) -> list[Line]:
    """CPU time a job in batches of 100 over 16 connections, by that of the other checkout: no more."""
    found = alternately(with_other(stage, BATCHES), stage.rounds, stage.seconds)
    lines = [beside(f"{name}: daemon and Redis", of_both, found, name, NO_MORE) for name in BATCHES]
    return lines + [beside(f"{name}: Redis", of_redis, found, name, None) for name in BATCHES]


def on_queue(queue: str, backlog: int = 0) -> dict[str, Request]:
    """One job a request, all on one queue, which always has a backlog besides what is taken."""
    return {
        POST: Request(queue, False, asks(Ask("POST", f"/q/{queue}", BODY)), 1),
        GET: Request(queue, True, asks(Ask("GET", f"/q/{queue}")), 1, backlog=backlog),
        LEASE: Request(queue, True, partial(lease_one, queue), 2, backlog=backlog),
    }


def options(stage: Stage) -> list[Line]:
    """Redis' CPU time a job where another queue of the store uses every option, by that without: the same."""
    plain, other = serve(stage), serve(stage)
    wrong = use_every_option(other.daemon.port, stage.size(20, 2))
    requests = on_queue("bench")
    found = alternately({"plain": (plain, requests), "other": (other, requests)}, SHORT_ROUNDS * stage.rounds, 1)
    lines = [
        compared(f"{name}: Redis", of_redis, found["other"][name], found["plain"][name], most=NO_MORE)
        for name in requests
    ]
    lines[0].wrong += wrong
    return lines


def use_every_option(port: int, thousands: int) -> int:
    """Make a queue with jobs in every state, each option, every setting and some schedules; how much went wrong."""
    client, statuses = Client(port, timeout=60), []

    def ask(method: str, path: str, value: Any) -> Any:
        reply = client.ask_plainly(method, path, json.dumps(value).encode())
        statuses.append(reply.status)
        return reply.json if reply.body and reply.status < 300 else {}

    ask("PATCH", "/v1/queues/every", SETTINGS)
    for thousand in range(thousands):
        ask("POST", "/v1/queues/every/jobs", {"jobs": [_with_options(1000 * thousand + at) for at in range(1000)]})
    for outcome in ({"outcome": "nack", "final": True, "error": "it failed"}, {"outcome": "nack", "error": "late"}):
        jobs = ask("POST", "/v1/queues/every/reservations", {"max": 100}).get("jobs", [])
        settlements = [{"id": job["id"], "receipt": job["receipt"], **outcome} for job in jobs]
        ask("POST", "/v1/settlements", {"settlements": settlements})
    ask("POST", "/v1/queues/every/reservations", {"max": 100, "lease": 86400, "worker_id": "w"})
    for at in range(20):
        schedule = {"every": 86400 + at, "job": {"payload": {"n": at}, "priority": at % 10}, "overlap": "skip"}
        ask("PUT", f"/v1/queues/every/schedules/s{at}", schedule)
    client.close()
    return sum(status not in (200, 201) for status in statuses)


SETTINGS = {"lease": 120, "max_attempts": 7, "backoff": {"first": 3600, "max": 7200}, "max_length": 10_000_000} | {
    "dead_keep": {"count": 1000, "age": 86400},
    "redeliver_after": 600,
    "expired": "dead",
}


def _with_options(at: int) -> dict[str, Any]:
    """A job with five options, every other one delayed by a day."""
    said = {"payload": {"n": at}, "priority": at % 10, "unique": f"key-{at}", "expires_in": 172800, "max_attempts": 3}
    return {**said, "headers": {"tenant": "a"}, **({"delay": 86400} if at % 2 else {})}


def backlog(stage: Stage) -> list[Line]:
    """A backlog of a million: CPU time by that of an empty queue; a cancellation; a job of priority 9."""
    redis = stage.store(*STEADY, "--slowlog-log-slower-than", "-1", "--slowlog-max-len", "100000")
    served = Served(redis, stage.daemon(redis.url))
    length = stage.size(1_000_000, 20_000)
    fill(served.daemon.port, "long", length)
    lines = [urgent(served.daemon.port), *cancelling(redis, served.daemon.port, length, stage.size(2000, 200))]
    sides: Sides = {"short": (served, on_queue("short")), "long": (served, on_queue("long", length))}
    found = alternately(sides, stage.rounds, stage.seconds)
    for name in (POST, GET, LEASE):
        short, long = found["short"][name], found["long"][name]
        lines.append(compared(f"{name}: daemon and Redis", of_both, long, short, most=LONG))
        lines.append(compared(f"{name}: Redis", of_redis, long, short))
        ratios = [one.rate.per_second / other.rate.per_second for one, other in zip(long, short, strict=True)]
        lines.append(Line(f"{name}: rate", "×", ratios, note="decided by the goal backlog"))
    return lines


def urgent(port: int) -> Line:
    """Whether a job of priority 9 is next on a long queue."""
    client, came = Client(port, timeout=60), 0
    for at in range(10):
        job = b'{"payload":{"urgent":%d},"priority":9}' % at
        if client.ask_plainly("POST", "/v1/queues/long/jobs", job).status == 201:
            came += client.ask_plainly("GET", "/q/long").body == b'{"urgent":%d}' % at
    client.close()
    return Line("a job of priority 9 is next", "times of 10", [came], least=10)


def cancelling(redis: Redis, port: int, length: int, count: int) -> list[Line]:
    """Microseconds of Redis for a DELETE of a ready job in the middle of its queue, from the slow log."""
    client = Client(port, timeout=60)
    redis.command("CONFIG", "SET", "slowlog-log-slower-than", "0")
    redis.command("SLOWLOG", "RESET")
    first = length // 2 - 3 * count // 2
    wrong = sum(client.ask_plainly("DELETE", f"/v1/jobs/long:{first + 3 * at}").status != 204 for at in range(count))
    redis.command("CONFIG", "SET", "slowlog-log-slower-than", "-1")
    client.close()
    digest = SCRIPTS["cancel"].digest
    said = [entry for entry in redis.command("SLOWLOG", "GET", "100000") if entry[3][0].upper() == b"EVALSHA"]
    times = sorted(float(entry[2]) for entry in said if entry[3][1] == digest)
    wrong += abs(len(times) - count)
    note = f"p99 {shown(times[len(times) * 99 // 100])} µs" if times else ""
    what = f"DELETE /v1/jobs/… in the middle of {length:,}"
    return [Line(what, "µs of Redis", times, most=CANCELLED, below=True, wrong=wrong, note=note)]


GOALS = {"redis-cpu": cpu, "redis-batches": batches, "redis-options": options, "redis-backlog": backlog}
