"""Requests a second: by `wrk` where it is installed, else by a crowd of Python clients."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bare import BODY
from benchmarks.stage import quiet
from tests.crowd import crowd, each, same
from tests.load import PATIENCE, encoded, percentile

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.programs import Redis

FILLERS = 4  # connections that fill a queue
AT_ONCE = 1000  # jobs in a request that fills

# wrk asks `request` once and sends that again and again, as nothing here depends on the connection.
SCRIPT = """
wrk.method = os.getenv("METHOD")
if wrk.method ~= "GET" then
  wrk.body = io.open(os.getenv("BODY")):read("*a")
  wrk.headers["Content-Type"] = "application/json"
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format("figures %d %d %d %d %d %d\\n", summary.requests, summary.duration,
    e.status, e.connect + e.read + e.write + e.timeout, latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Ask:
    """A request that is made again and again, and how many jobs it is about."""

    method: str
    path: str
    body: bytes = b""
    jobs: int = 1


@dataclass(frozen=True)
class Rate:
    """What came of it."""

    per_second: float  # jobs, of requests that were answered with 2xx
    answers: int
    wrong: int  # answers that were not 2xx, and connections that failed
    p50: float  # milliseconds
    p99: float
    client_cpu: float  # of a core


def rate(port: int, ask: Ask, seconds: int, connections: int) -> Rate:
    """Ask over so many connections that are kept, for so many seconds."""
    program = shutil.which("wrk")
    return _by_wrk(program, port, ask, seconds, connections) if program else _by_crowd(port, ask, seconds, connections)


def _by_wrk(program: str, port: int, ask: Ask, seconds: int, connections: int) -> Rate:
    with tempfile.TemporaryDirectory(prefix="presque-bench-") as folder:
        script, body = Path(folder, "ask.lua"), Path(folder, "body")
        script.write_text(SCRIPT)
        body.write_bytes(ask.body)
        command = [program, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script)]
        variables = {**os.environ, "METHOD": ask.method, "BODY": str(body)}
        before = os.times()
        ran = subprocess.run(
            [*command, f"http://127.0.0.1:{port}{ask.path}"],
            env=variables,
            capture_output=True,
            text=True,
            check=True,
            timeout=seconds + PATIENCE,
        )
        after = os.times()
    line = next(line for line in ran.stdout.splitlines() if line.startswith("figures "))
    answers, took, wrong, failed, p50, p99 = map(int, line.split()[1:])  # microseconds
    used = after.children_user + after.children_system - before.children_user - before.children_system
    done = (answers - wrong) * ask.jobs * 1e6 / took
    return Rate(done, answers, wrong + failed, p50 / 1000, p99 / 1000, used * 1e6 / took)


def _by_crowd(port: int, ask: Ask, seconds: float, connections: int) -> Rate:
    request = encoded(ask.method, ask.path, ask.body if ask.method != "GET" else None)
    tally = Counter[str]()
    seen = crowd(port, [same(request, tally, jobs=ask.jobs) for _ in range(connections)], seconds)
    p50, p99 = (percentile(seen.latencies, part) * 1000 for part in (0.5, 0.99))
    return Rate(tally["jobs"] / seen.seconds, seen.answers, seen.wrong, p50, p99, seen.cpu)


def batch(size: int, job: bytes = BODY) -> bytes:
    """The body of `POST /qb`."""
    return b'{"jobs":[' + b",".join([job] * size) + b"]}"


def new_jobs(size: int, job: bytes = BODY) -> bytes:
    """The body of `POST /v1/queues/<queue>/jobs`."""
    return b'{"jobs":[' + b",".join([b'{"payload":' + job + b"}"] * size) + b"]}"


def fill(port: int, queue: str, count: int, query: str = "") -> None:
    """Insert so many jobs."""
    wholes, rest = divmod(max(0, count), AT_ONCE)
    sizes = [AT_ONCE] * wholes + [rest] * (rest > 0)
    requests = (encoded("POST", f"/qb/{queue}{query}", batch(size)) for size in sizes)  # shared by all who fill
    seen = crowd(port, [each(requests) for _ in sizes[:FILLERS]], 10 * PATIENCE)
    if seen.wrong or seen.answers < len(sizes):
        raise RuntimeError(f"a queue could not be filled: {seen.statuses}")


def top_up(redis: Redis, port: int, queue: str, count: int) -> None:
    """See to it that so many jobs are ready."""
    fill(port, queue, count - waiting(redis, queue))


def accounted(redis: Redis, port: int, ask: Ask, seconds: int, connections: int) -> Rate:
    """As `rate`, for insertions into a queue or takes from it; the queue's length has to tell the same, and what it
    does not is wrong. The load ends in the middle of a request on each connection, which is not counted either way.
    """
    quiet(redis)
    queue = ask.path.split("?")[0].split("/")[2]
    before = waiting(redis, queue)
    found = rate(port, ask, seconds, connections)
    moved = abs(waiting(redis, queue) - before)
    missing = (found.answers - found.wrong - connections) * ask.jobs - moved
    return replace(found, wrong=found.wrong + max(0, missing))


def waiting(redis: Redis, queue: str) -> int:
    """How many jobs are ready."""
    key = f"presque:{{0}}:{queue}:"
    return int(redis.command("LLEN", key + "ready") + redis.command("ZCARD", key + "front"))


def interleaved(rounds: int, **measures: Callable[[], Rate]) -> dict[str, list[Rate]]:
    """Each measure once, then each once again, so that what else the machine does meets all of them."""
    found: dict[str, list[Rate]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            found[name].append(measure())
    return found


def ratios(upper: list[Rate], lower: list[Rate]) -> list[float]:
    """One rate by the other, round by round."""
    return [one.per_second / other.per_second for one, other in zip(upper, lower, strict=True)]
