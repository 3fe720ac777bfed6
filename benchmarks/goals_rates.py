"""Goals about rates: batches, leases, a long backlog, two processes, and the longest scripts."""

from __future__ import annotations

import os
import subprocess
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.bare import BODY
from benchmarks.rates import (
    Ask,
    Rate,
    accounted,
    batch,
    fill,
    interleaved,
    lease_rate_many,
    new_jobs,
    rate,
    ratios,
    top_up,
)
from benchmarks.stage import Line, quiet, shown
from presque.jobs.policy import lua_parts
from presque.redis.scripts import load
from tests.load import Client
from tests.programs import presque_command

SCRIPTS = load(lua_parts())

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.stage import Stage
    from tests.programs import Redis

CONNECTIONS = 32
BATCHERS = 16  # connections that send batches
PUSH = Ask("POST", "/q/bench", BODY)
TAKE = Ask("GET", "/q/bench")
PUSH_MANY = Ask("POST", "/qb/bench", batch(100), 100)
TAKE_MANY = Ask("GET", "/qb/bench?batch_size=100", b"", 100)
WARM = 1  # seconds of load before anything is measured


def wrong(*series: list[Rate]) -> int:
    return sum(each.wrong for rates in series for each in rates)


def per_second(what: str, rates: list[Rate], unit: str = "jobs/s", least: float | None = None) -> Line:
    """A line of rates, with what the clients used of a core and how long they waited."""
    busy = max(each.client_cpu for each in rates)
    p50, p99 = median(each.p50 for each in rates), median(each.p99 for each in rates)
    note = f"p50 {shown(p50)} ms, p99 {shown(p99)} ms, client {busy:.0%} of a core"
    return Line(what, unit, [each.per_second for each in rates], least, wrong=wrong(rates), note=note)


def batches(stage: Stage) -> list[Line]:
    """Batches of 100: jobs in and out of /qb by 16 connections."""
    redis, daemon = stage.pair()
    asking = partial(accounted, redis, daemon.port, seconds=stage.seconds, connections=BATCHERS)
    expected = rate(daemon.port, PUSH_MANY, WARM, BATCHERS).per_second

    def take() -> Rate:
        nonlocal expected
        top_up(redis, daemon.port, "bench", int(2 * expected * stage.seconds))
        taken = asking(TAKE_MANY)
        expected = max(expected, taken.per_second)
        return taken

    found = interleaved(stage.rounds, into=lambda: asking(PUSH_MANY), out=take)
    return [
        per_second("POST /qb, batches of 100", found["into"], least=50_000),
        per_second("GET /qb, batches of 100", found["out"], least=50_000),
    ]


def leases(stage: Stage) -> list[Line]:
    """Reservation and acknowledgement over /v1 in batches of 100: jobs that went through both."""
    redis, daemon = stage.pair()
    rates = []
    for _ in range(stage.rounds + 1):  # the first warms up
        top_up(redis, daemon.port, "bench", 100_000 * stage.seconds)
        quiet(redis)
        rates.append(lease_rate_many(daemon.port, "bench", 100, stage.seconds, BATCHERS))
    return [per_second("/v1 reserve + ack, batches of 100", rates[1:], least=25_000)]


def backlog(stage: Stage) -> list[Line]:
    """A backlog of a million: the rates on that queue beside those on a short one of the same store."""
    redis, daemon = stage.pair()
    length = stage.size(1_000_000, 20_000)
    fill(daemon.port, "long", length)
    rate(daemon.port, PUSH, WARM, CONNECTIONS)
    asking = partial(accounted, redis, daemon.port, seconds=stage.seconds, connections=CONNECTIONS)

    def at(queue: str, ask: Ask) -> Callable[[], Rate]:
        def measure() -> Rate:
            if ask.method == "GET":
                top_up(redis, daemon.port, queue, 30_000 * stage.seconds)
            return asking(Ask(ask.method, f"/q/{queue}", ask.body))

        return measure

    measures = {f"{ask.method} {queue}": at(queue, ask) for ask in (PUSH, TAKE) for queue in ("bench", "long")}
    found = interleaved(stage.rounds, **measures)
    lines = []
    for verb in ("POST", "GET"):
        short, long = found[f"{verb} bench"], found[f"{verb} long"]
        lines.append(per_second(f"{verb} /q, a short queue", short, "requests/s"))
        lines.append(per_second(f"{verb} /q, a backlog of {length:,}", long, "requests/s"))
        bad = wrong(short, long)
        lines.append(Line(f"{verb} /q, long by short", "×", ratios(long, short), least=0.9, wrong=bad))
    return lines


def two_processes(stage: Stage) -> list[Line]:
    """Two processes on one port beside one: POST and GET /q by 32 connections."""
    shown_help = subprocess.run(presque_command("--help"), capture_output=True, text=True, check=False, timeout=60)
    if "--processes" not in shown_help.stdout:
        return [Line("two processes by one", "×", [], least=1.6, undecided="presque has no flag --processes")]
    lines = []
    (redis, one), (redis_of_two, two) = stage.pair(), stage.pair("--processes", "2")
    for daemon in (one, two):
        rate(daemon.port, PUSH, WARM, CONNECTIONS)

    def take(redis: Redis, port: int) -> Rate:
        top_up(redis, port, "bench", 30_000 * stage.seconds)
        return accounted(redis, port, TAKE, stage.seconds, CONNECTIONS)

    found = interleaved(
        stage.rounds,
        one_post=lambda: accounted(redis, one.port, PUSH, stage.seconds, CONNECTIONS),
        two_post=lambda: accounted(redis_of_two, two.port, PUSH, stage.seconds, CONNECTIONS),
        one_get=lambda: take(redis, one.port),
        two_get=lambda: take(redis_of_two, two.port),
    )
    cores = os.cpu_count() or 1
    excuse = f"{cores} cores, which wrk and Redis share" if cores < 4 else ""
    for verb in ("post", "get"):
        single, double = found[f"one_{verb}"], found[f"two_{verb}"]
        lines.append(per_second(f"{verb.upper()} /q, one process", single, "requests/s"))
        lines.append(per_second(f"{verb.upper()} /q, two processes", double, "requests/s"))
        bad = wrong(single, double)
        what = f"{verb.upper()} /q, two processes by one"
        lines.append(Line(what, "×", ratios(double, single), least=1.6, wrong=bad, undecided=excuse))
    return lines


def thousands(stage: Stage) -> list[Line]:
    """Batches of a thousand: what Redis takes for the slowest script, on a queue of 100,000."""
    redis = stage.store("--slowlog-log-slower-than", "0", "--slowlog-max-len", "100000")
    port = stage.daemon(redis.url).port
    fill(port, "bench", stage.size(100_000, 10_000))
    redis.command("SLOWLOG", "RESET")
    client, bad = Client(port), 0
    for _ in range(stage.size(50, 10)):
        for method, path, body in (
            ("POST", "/qb/bench", batch(1000)),
            ("GET", "/qb/bench?batch_size=1000", None),
            ("POST", "/v1/queues/bench/jobs", new_jobs(1000)),
        ):
            bad += client.ask_plainly(method, path, body).status not in (200, 201)
        bad += not _reserve_and_settle(client)
    names = {script.digest: name for name, script in SCRIPTS.items()}
    times: dict[str, list[float]] = {}
    for entry in redis.command("SLOWLOG", "GET", "100000"):
        if entry[3][0].upper() == b"EVALSHA":
            times.setdefault(names.get(entry[3][1], "?"), []).append(entry[2] / 1000)
    verbs = ("push", "take", "insert", "reserve", "settle")
    what = {"reserve": "100 jobs, the most"}
    lines = [Line(f"{verb}.lua, {what.get(verb, '1000 jobs')}", "ms", times.get(verb, [])) for verb in verbs]
    slowest = max(longest for each in times.values() for longest in each)
    return [*lines, Line("the slowest script of all", "ms", [slowest], most=50, wrong=bad)]


def _reserve_and_settle(client: Client) -> bool:
    """Ten reservations, which may have 100 jobs each, and all of them settled at once; whether all went well."""
    settlements = []
    for _ in range(10):
        for job in client.post("/v1/queues/bench/reservations", {"max": 100}).json["jobs"]:
            settlements.append({"id": job["id"], "receipt": job["receipt"], "outcome": "ack"})
    results = client.post("/v1/settlements", {"settlements": settlements}).json["results"]
    return len(results) == 1000 and all(each["result"] == "acked" for each in results)


GOALS = {
    "batches": batches,
    "leases": leases,
    "backlog": backlog,
    "two-processes": two_processes,
    "thousands": thousands,
}
