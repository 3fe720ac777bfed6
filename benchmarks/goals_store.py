"""What a job takes in Redis' memory, and what each step of it adds to the append-only file."""

from __future__ import annotations

import time
from collections import Counter
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.bare import BODY
from benchmarks.goals_cpu import SETTLING
from benchmarks.goals_footprint import put_dead, put_delayed, put_leased, used
from benchmarks.goals_redis import serve
from benchmarks.rates import fill
from benchmarks.stage import Line, quiet, shown
from presque.jobs.policy import lua_parts
from presque.redis import keys
from presque.redis.scripts import load
from presque.redis.store import NO_LIMIT
from tests.crowd import crowd, each, reserve_and_ack
from tests.load import PATIENCE, Client, encoded

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.goals_cpu import Served
    from benchmarks.stage import Stage
    from tests.programs import Redis

ACK = "an ack"
ACK_BYTES = 200
SETTLED = 12_000  # settlements before, so that what is remembered of them is full
DAY = b"86400000"  # ms


def file(stage: Stage) -> list[Line]:
    """Bytes that one job a request, over one connection, adds to the append-only file, step by step."""
    count = stage.size(2000, 200)
    here = written(serve(stage), count)
    other = written(serve(stage, Path(stage.beside)), count) if stage.beside else {}
    return [
        Line(
            what,
            "bytes",
            [each_],
            most=ACK_BYTES if what == ACK else None,
            wrong=wrong + (other[what][1] if other else 0),
            note=f"beside {shown(other[what][0])}" if other else "",
        )
        for what, (each_, wrong) in here.items()
    ]


def written(served: Served, count: int) -> dict[str, tuple[float, int]]:
    """Bytes each step wrote for a job, and how many requests went wrong."""
    client, leased = Client(served.daemon.port), []
    settle_many(served.daemon.port)

    def reserve() -> bool:
        jobs = client.ask_plainly("POST", "/v1/queues/bench/reservations", b"{}").json["jobs"]
        leased.extend(jobs)
        return len(jobs) == 1

    def ack() -> bool:
        job = leased.pop()
        return client.post(f"/v1/jobs/{job['id']}/ack", {"receipt": job["receipt"]}).status == 204

    steps: dict[str, Callable[[], bool]] = {
        "POST /q": lambda: client.ask_plainly("POST", "/q/bench", BODY).status == 201,
        "GET /q and delivery": lambda: client.ask_plainly("GET", "/q/bench").status == 200,
        "a /v1 insertion": lambda: (
            client.ask_plainly("POST", "/v1/queues/bench/jobs", b'{"payload":%b}' % BODY).status == 201
        ),
        "a reservation": reserve,
        ACK: ack,
    }
    found = {}
    for what, step in steps.items():
        before = size_of_file(served.redis)
        wrong = sum(not step() for _ in range(count))
        time.sleep(SETTLING)
        found[what] = ((size_of_file(served.redis) - before) / count, wrong)
    client.close()
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
        redis(*begin, min(at_once, count - at), DAY, receipt, worker, daemon)


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
