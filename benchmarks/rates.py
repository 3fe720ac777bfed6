"""Requests a second: by `wrk` where it is installed, else by a crowd of Python clients."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from benchmarks.bare import BODY
from benchmarks.stage import quiet
from tests.crowd import crowd, each, reserve_and_ack, reserve_and_ack_one, same
from tests.load import PATIENCE, encoded, percentile

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.crowd import Outcome
    from tests.programs import Redis

Measured = TypeVar("Measured")

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


# Reserves a job and acknowledges it, in two requests; any connection may send the next one.
LEASE_SCRIPT = """
local path = "/v1/queues/" .. os.getenv("QUEUE") .. "/reservations"
local headers = {["Content-Type"] = "application/json"}
local acks, threads, reserve = {}, {}, nil
acked, empty = 0, 0
function setup(thread) threads[#threads + 1] = thread end
function init()
  reserve = wrk.format("POST", path, headers, "{}")
end
function request() return table.remove(acks) or reserve end
function response(status, _, body)
  if status == 204 then acked = acked + 1 return end
  local id, receipt = body:match('"id":"([^"]+)"'), body:match('"receipt":"([^"]+)"')
  if not receipt then empty = empty + 1 return end
  acks[#acks + 1] = wrk.format("POST", "/v1/jobs/" .. id .. "/ack", headers, '{"receipt":"' .. receipt .. '"}')
end
function done(summary, latency)
  local e, jobs, none = summary.errors, 0, 0
  for _, thread in ipairs(threads) do jobs, none = jobs + thread:get("acked"), none + thread:get("empty") end
  io.write(string.format("figures %d %d %d %d %d %d %d\\n", summary.requests, summary.duration,
    none, e.connect + e.read + e.write + e.timeout, latency:percentile(50), latency:percentile(99), jobs))
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
    jobs: int
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
    with tempfile.NamedTemporaryFile(prefix="presque-bench-") as body:
        body.write(ask.body)
        body.flush()
        variables = {"METHOD": ask.method, "BODY": body.name}
        figures, used = _wrk(program, port, ask.path, SCRIPT, variables, seconds, connections)
    answers, took, wrong, failed, p50, p99 = figures  # microseconds
    jobs = (answers - wrong) * ask.jobs
    return Rate(jobs * 1e6 / took, jobs, answers, wrong + failed, p50 / 1000, p99 / 1000, used * 1e6 / took)


def _wrk(
    program: str, port: int, path: str, script: str, variables: dict[str, str], seconds: int, connections: int
) -> tuple[list[int], float]:
    """The figures that a script writes, and the CPU time that wrk took."""
    with tempfile.NamedTemporaryFile("w", prefix="presque-bench-", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = [program, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", file.name]
        before = os.times()
        ran = subprocess.run(
            [*command, f"http://127.0.0.1:{port}{path}"],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=True,
            timeout=seconds + PATIENCE,
        )
        after = os.times()
    line = next(line for line in ran.stdout.splitlines() if line.startswith("figures "))
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return [int(word) for word in line.split()[1:]], used


def lease_rate(port: int, queue: str, seconds: int, connections: int) -> Rate:
    """Reserve and acknowledge one job after another, over so many connections: jobs that went through both."""
    if program := shutil.which("wrk"):
        figures, used = _wrk(program, port, "/", LEASE_SCRIPT, {"QUEUE": queue}, seconds, connections)
        answers, took, wrong, failed, p50, p99, jobs = figures
        return Rate(jobs * 1e6 / took, jobs, answers, wrong + failed, p50 / 1000, p99 / 1000, used * 1e6 / took)
    tally = Counter[str]()
    seen = crowd(port, [reserve_and_ack_one(queue, tally) for _ in range(connections)], seconds)
    return _of_crowd(seen, tally["jobs"], tally["empty"])


def lease_rate_many(port: int, queue: str, at_once: int, seconds: int, connections: int) -> Rate:
    """As `lease_rate`, so many jobs with each reservation, and one request to settle them."""
    tally = Counter[str]()
    seen = crowd(port, [reserve_and_ack(queue, at_once, tally) for _ in range(connections)], seconds)
    return _of_crowd(seen, tally["jobs"], tally["empty"] + tally["refused"])


def _by_crowd(port: int, ask: Ask, seconds: float, connections: int) -> Rate:
    request = encoded(ask.method, ask.path, ask.body if ask.method != "GET" else None)
    tally = Counter[str]()
    seen = crowd(port, [same(request, tally, jobs=ask.jobs) for _ in range(connections)], seconds)
    return _of_crowd(seen, tally["jobs"])


def _of_crowd(seen: Outcome, jobs: int, wrong: int = 0) -> Rate:
    p50, p99 = (percentile(seen.latencies, part) * 1000 for part in (0.5, 0.99))
    return Rate(jobs / seen.seconds, jobs, seen.answers, seen.wrong + wrong, p50, p99, seen.cpu)


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


def interleaved(rounds: int, **measures: Callable[[], Measured]) -> dict[str, list[Measured]]:
    """Each measure once, then each once again, so that what else the machine does meets all of them."""
    found: dict[str, list[Measured]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            found[name].append(measure())
    return found


def ratios(upper: list[Rate], lower: list[Rate]) -> list[float]:
    """One rate by the other, round by round."""
    return [one.per_second / other.per_second for one, other in zip(upper, lower, strict=True)]
