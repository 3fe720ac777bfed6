"""What a job takes in Redis' memory, and what each step of it adds to the append-only file."""

from __future__ import annotations

import json
import time
from collections import Counter
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.bare import BODY
from benchmarks.goals_cpu import SETTLING
from benchmarks.goals_footprint import put_dead, put_delayed, put_leased, used
from benchmarks.goals_rates import CONNECTIONS
from benchmarks.goals_redis import serve
from benchmarks.rates import fill
from benchmarks.stage import Line, quiet, shown
from presque.jobs.policy import lua_parts
from presque.redis import keys
from presque.redis.scripts import load
from presque.redis.store import NO_LIMIT
from tests.crowd import crowd, each, reserve_and_ack
from tests.load import PATIENCE, encoded

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.goals_cpu import Served
    from benchmarks.stage import Stage
    from tests.crowd import Client
    from tests.programs import Redis

ACK = "an ack"
ACK_BYTES = 200
SETTLED = 12_000  # settlements before, so that what is remembered of them is full
DAY = b"86400000"  # ms


def file(stage: Stage) -> list[Line]:
    """Bytes that one job a request adds to the append-only file, step by step: over 32 connections, and over one."""
    count = stage.size(4000, 400)
    here, other = serve(stage), serve(stage, Path(stage.beside)) if stage.beside else None
    return [line for clients in (CONNECTIONS, 1) for line in file_lines(here, other, count, clients)]


def file_lines(here: Served, other: Served | None, count: int, clients: int) -> list[Line]:
    """The same over so many connections. What one connection's ack takes is no goal: it is a script of its own."""
    beside = written(other, count, clients) if other else {}
    lines = []
    for what, (bytes_, wrong) in written(here, count, clients).items():
        theirs, also_wrong = beside.get(what, (0.0, 0))
        goal = ACK_BYTES if what == ACK and clients > 1 else None
        note = f"beside {shown(theirs)}" if other else ""
        lines.append(Line(f"{what}, over {clients}", "bytes", [bytes_], most=goal, wrong=wrong + also_wrong, note=note))
    return lines


def written(served: Served, count: int, clients: int) -> dict[str, tuple[float, int]]:
    """Bytes that each step wrote for a job, and how many requests went wrong."""
    settle_many(served.daemon.port)
    times, leased = iter(range(count)), list[dict[str, str]]()
    jobs = iter(leased)

    def reserve() -> Client:
        for _ in times:
            reply = yield encoded("POST", "/v1/queues/bench/reservations", b"{}")
            leased.extend(reply.json["jobs"])

    def ack() -> Client:
        for job in jobs:
            yield encoded("POST", f"/v1/jobs/{job['id']}/ack", json.dumps({"receipt": job["receipt"]}).encode())

    push, take, insert = (
        repeat(request, count)
        for request in (
            encoded("POST", "/q/bench", BODY),
            encoded("GET", "/q/bench"),
            encoded("POST", "/v1/queues/bench/jobs", b'{"payload":%b}' % BODY),
        )
    )
    steps: dict[str, Callable[[], Client]] = {
        "POST /q": lambda: each(push),
        "GET /q and delivery": lambda: each(take),
        "a /v1 insertion": lambda: each(insert),
        "a reservation": reserve,
        ACK: ack,
    }
    found = {}
    for what, step in steps.items():
        before = size_of_file(served.redis)
        seen = crowd(served.daemon.port, [step() for _ in range(clients)], 10 * PATIENCE)
        time.sleep(SETTLING)
        found[what] = ((size_of_file(served.redis) - before) / count, count - seen.answers + seen.wrong)
    return found


def settle_many(port: int) -> None:
    """Settle so many jobs of the queue that what is remembered of settlements is full."""
    fill(port, "bench", 2 * SETTLED)
    tally = Counter[str]()
    while tally["jobs"] < SETTLED:
        crowd(port, [reserve_and_ack("bench", 100, tally)], SETTLING)


def size_of_file(redis: Redis) -> int:
    quiet(redis)
    info = redis.command("INFO", "persistence").split(b"\r\n")
    return int(next(line for line in info if line.startswith(b"aof_current_size:")).partition(b":")[2])


def memory(stage: Stage) -> list[Line]:
    """Memory in Redis, by how much used_memory grew: bytes a job beyond its body."""
    count = stage.size(124_000, 20_000)  # 95 % of a power of two, as a million is: a hash table's length is one
    lines = []
    for what, (put, goal) in JOBS.items():
        served = serve(stage)
        fill(served.daemon.port, "before", 1000)  # what all queues share is there before
        before = used(served.redis)
        put(served, count)
        beyond = (used(served.redis) - before) / count - len(BODY)
        jobs = served.redis.command("HLEN", keys.queue_key("jobs", "bench", 1))
        lines.append(Line(what, "bytes", [beyond], most=goal, wrong=abs(jobs - count), note=f"{count:,} jobs"))
        served.daemon.kill()
        served.redis.kill()
    return lines


def put_held(served: Served, count: int, at_once: int) -> None:
    """Take jobs, so many with one call, and hold them: as a daemon does whose consumers have not answered yet."""
    fill(served.daemon.port, "bench", count)
    script = load(lua_parts())["take"]
    names = [keys.queue_key(name, "bench", 1) for name in script.keys]
    redis = served.redis.session()
    redis("SCRIPT", "LOAD", script.source)
    begin: list[Any] = ["EVALSHA", script.digest, len(names), *names, NO_LIMIT, "bench"]
    for at in range(0, count, at_once):
        worker, daemon, receipt = "", "", b"h0123456789ab-%x" % at
        redis(*begin, min(at_once, count - at), DAY, receipt, worker, daemon, "")


def put_with_options(served: Served, count: int) -> None:
    """Ready jobs with four options each."""
    job = b'{"payload":%b,"priority":7,"max_attempts":3,"expires_in":864000,"headers":{"tenant":"blue"}}' % BODY
    body = b'{"jobs":[' + b",".join([job] * 1000) + b"]}"
    requests = repeat(encoded("POST", "/v1/queues/bench/jobs", body), count // 1000)
    seen = crowd(served.daemon.port, [each(requests) for _ in range(4)], 10 * PATIENCE)
    if seen.wrong:
        raise RuntimeError(f"a job with options was refused: {seen.statuses}")


def put_unique(served: Served, count: int) -> None:
    """Ready jobs with a unique key of 16 bytes each."""

    def body(first: int) -> bytes:
        jobs = [b'{"payload":%b,"unique":"key-%012d"}' % (BODY, first + at) for at in range(1000)]
        return b'{"jobs":[' + b",".join(jobs) + b"]}"

    requests = (encoded("POST", "/v1/queues/bench/jobs", body(first)) for first in range(0, count, 1000))
    crowd(served.daemon.port, [each(requests) for _ in range(4)], 10 * PATIENCE)


def _by_port(put: Callable[[int, int], None]) -> Callable[[Served, int], None]:
    return lambda served, count: put(served.daemon.port, count)


JOBS: dict[str, tuple[Callable[[Served, int], None], int | None]] = {
    "a ready job": (_by_port(lambda port, count: fill(port, "bench", count)), 100),
    "a held job, taken singly": (lambda served, count: put_held(served, count, 1), 250),
    "a held job, taken by hundreds": (lambda served, count: put_held(served, count, 100), None),
    "a leased job": (_by_port(put_leased), None),
    "a delayed job": (_by_port(put_delayed), None),
    "a dead job": (_by_port(put_dead), None),
    "a ready job with priority, max_attempts, expiry and a header": (put_with_options, None),
    "a ready job with a unique key": (put_unique, None),
}

GOALS = {"redis-file": file, "redis-memory": memory}
