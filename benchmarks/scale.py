"""How presque's figures grow with what it keeps: a longer backlog, more queues, delayed jobs, waiting consumers.

python -m benchmarks.scale [AXIS …] [--rounds N] [--seconds N] [--short] [--json FILE], with the axes backlog, queues,
delayed and waiting. Nothing passes or fails here: a row is to be read beside the first of its axis. "× bare" is the
rate by that of a bare twisted.web resource at the same time, which tells presque's slowness from the machine's.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.goals_footprint import SETTLING, make_queues, put_delayed
from benchmarks.goals_rates import CONNECTIONS, PUSH, TAKE, WARM
from benchmarks.machine import describe, heading
from benchmarks.rates import accounted, fill, interleaved, rate, ratios, top_up
from benchmarks.stage import Stage, processes, quiet, shown, table, write_json
from tests.crowd import wait_on
from tests.load import Client
from tests.proc import allow_files, cpu_share, resident

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from benchmarks.rates import Rate
    from tests.programs import Daemon, Redis

LATE = 20  # delayed jobs whose lateness is measured
CALLS = 5  # of each request that is timed
LOOK = 2  # seconds over which CPU time is measured
COLUMNS = {
    "POST/s": "post",
    "× bare": "post_by_bare",
    "GET/s": "get",
    "× bare ": "get_by_bare",
    "late ms": "late",
    "/v1/queues ms": "queues_page",
    "/ ms": "dashboard",
    "/status/ ms": "status",
    "page ms": "deep_page",
    "cancel ms": "cancel",
    "RSS MB": "rss",
    "idle %": "idle",
    "Redis idle %": "redis_idle",
}


@dataclass
class Place:
    """What an axis is measured on."""

    stage: Stage
    redis: Redis
    daemon: Daemon
    bare: int
    waiters: list[socket.socket] = field(default_factory=list)
    length: int = 0  # of what the axis is about, now

    @property
    def port(self) -> int:
        return self.daemon.port


def longer_backlog(place: Place, length: int) -> None:
    """Ready jobs on the queue that is measured."""
    top_up(place.redis, place.port, "bench", length)


def more_queues(place: Place, length: int) -> None:
    """Queues that exist, a job in each."""
    if wrong := make_queues(place.port, length):  # a name that was there gets one job more
        raise RuntimeError(f"{wrong} queues could not be made")


def more_delayed(place: Place, length: int) -> None:
    """Delayed jobs on the queue that is measured."""
    put_delayed(place.port, length - place.length)


def more_waiting(place: Place, length: int) -> None:
    """Consumers that wait on 100 other queues."""
    leave(place)
    place.waiters = wait_on(place.port, [f"wait-{number % 100}" for number in range(length)])


def leave(place: Place) -> None:
    for waiter in place.waiters:
        waiter.close()
    place.waiters = []


AXES: dict[str, tuple[Callable[[Place, int], None], tuple[int, ...], tuple[int, ...]]] = {
    "backlog": (longer_backlog, (1, 1_000, 1_000_000), (1, 100, 10_000)),
    "queues": (more_queues, (1, 1_000, 100_000), (1, 100, 2_000)),
    "delayed": (more_delayed, (1, 1_000, 1_000_000), (1, 100, 10_000)),
    "waiting": (more_waiting, (0, 1_000, 10_000), (0, 100, 1_000)),
}


def measure(stage: Stage, axis: str) -> list[dict[str, Any]]:
    """The rows of an axis: it grows, and is measured at each length."""
    grow, long, short = AXES[axis]
    redis, daemon = stage.pair()
    place = Place(stage, redis, daemon, stage.bare())
    stage.callback(leave, place)
    rate(place.port, PUSH, WARM, CONNECTIONS)
    empty(place)
    rows = []
    for length in short if stage.short else long:
        began = time.monotonic()
        grow(place, length)
        place.length = length
        quiet(redis)
        time.sleep(SETTLING)
        row: dict[str, Any] = {"axis": axis, "length": length, **at_rest(place)}
        row.update(late=lateness(place.port, "bench" if axis == "delayed" else "late"))
        row.update(looks(place), cancel=cancelling(place), **rates(place, axis == "backlog"))
        rows.append({**row, "seconds": round(time.monotonic() - began, 1)})
    return rows


def at_rest(place: Place) -> dict[str, float]:
    mine = processes(place.daemon)
    cpu, cpu_of_redis = cpu_share(LOOK, mine, processes(place.redis))
    return {"idle": cpu, "redis_idle": cpu_of_redis, "rss": resident(mine)}


def rates(place: Place, keep: bool) -> dict[str, Any]:
    """POST and GET by 32 connections, beside a bare resource. To `keep` the backlog as it is, both take turns."""
    seconds = place.stage.seconds
    mine = partial(accounted, place.redis, place.port, seconds=seconds, connections=CONNECTIONS)
    theirs = partial(rate, place.bare, seconds=seconds, connections=CONNECTIONS)

    def take() -> Rate:
        top_up(place.redis, place.port, "bench", 30_000 * seconds + keep * place.length)
        return mine(TAKE)

    found = interleaved(
        place.stage.rounds,
        post=lambda: mine(PUSH),
        bare_post=lambda: theirs(PUSH),
        get=take,
        bare_get=lambda: theirs(TAKE),
    )
    figures: dict[str, Any] = {"wrong": sum(each.wrong for series in found.values() for each in series)}
    for verb in ("post", "get"):
        figures[verb] = median(each.per_second for each in found[verb])
        figures[f"{verb}_by_bare"] = median(ratios(found[verb], found[f"bare_{verb}"]))
    if not keep:
        empty(place)
    return figures


def empty(place: Place) -> None:
    """Delete the ready jobs of the queue that is measured; the queue stays."""
    assert Client(place.port).ask("POST", "/v1/queues/bench/purge", b'{"state":"ready"}').status == 200


def lateness(port: int, queue: str) -> float:
    """Milliseconds from when a delayed job is due until a consumer that waits for it has it; the median."""
    client, consumer = Client(port), Client(port)
    late = []
    for number in range(LATE):
        due = time.time() + 0.15 + 0.013 * (number % 8)  # at any moment between two ticks of the mover
        assert client.ask("POST", f"/q/{queue}?delayed={due:.3f}", b'{"late":1}').status == 201
        assert consumer.ask("GET", f"/q/{queue}?wait=5").status == 200
        late.append((time.time() - due) * 1000)
    return median(late)


def looks(place: Place) -> dict[str, float]:
    """Milliseconds that requests take which look at many queues, or far into one."""
    state = "delayed" if place.redis.command("ZCARD", "presque:{0}:bench:delayed") > 1 else "ready"
    deep = max(0, place.length - 100)
    paths = {
        "queues_page": "/v1/queues?limit=100",
        "dashboard": "/",
        "status": "/status/",
        "deep_page": f"/v1/queues/bench/jobs?state={state}&cursor={deep}",
    }
    return {name: median(timed(place.port, "GET", path) for _ in range(CALLS)) for name, path in paths.items()}


def timed(port: int, method: str, path: str) -> float:
    client = Client(port, timeout=60)
    began = time.perf_counter()
    reply = client.ask(method, path)
    took = (time.perf_counter() - began) * 1000
    client.close()
    assert reply.status in (200, 204), f"{method} {path}: {reply}"
    return took


def cancelling(place: Place) -> float:
    """Milliseconds that it takes to delete a ready job in the middle of its queue."""
    if place.redis.command("LLEN", "presque:{0}:bench:ready") < CALLS:
        fill(place.port, "bench", CALLS)
    middle = place.redis.command("LLEN", "presque:{0}:bench:ready") // 2
    page = Client(place.port).ask("GET", f"/v1/queues/bench/jobs?cursor={max(0, middle - CALLS)}&limit={CALLS}").json
    took = [timed(place.port, "DELETE", f"/v1/jobs/{job['id']}") for job in page["jobs"]]
    return median(took)


def shown_rows(rows: list[dict[str, Any]]) -> str:
    cells = [["axis", "length", *COLUMNS]]
    for row in rows:
        figures = [shown(row[name]) for name in COLUMNS.values()]
        cells.append([row["axis"], f"{row['length']:,}", *figures])
    return table(cells, frozenset(range(1, len(cells[0]))))


def main() -> int:
    """Measure the axes that the command line names, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("axes", nargs="*", metavar="AXIS", help=f"one of {', '.join(AXES)}; without any, all")
    parser.add_argument("--rounds", type=int, default=3, help="how often each rate is measured (3)")
    parser.add_argument("--seconds", type=int, default=1, help="how long each rate is measured (1)")
    parser.add_argument("--short", action="store_true", help="small lengths, to see that it works")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    asked = parser.parse_args()
    if unknown := set(asked.axes) - set(AXES):
        parser.error(f"no such axis: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    allow_files(11_000)
    machine = {**describe("everysec"), "rounds": asked.rounds, "seconds": asked.seconds, "short": asked.short}
    print(heading(machine), flush=True)
    rows: list[dict[str, Any]] = []
    tracebacks = 0
    for axis in asked.axes or AXES:
        with Stage(asked.short, asked.rounds, asked.seconds) as stage:
            found = measure(stage, axis)
            tracebacks += stage.tracebacks()
        took = sum(row["seconds"] for row in found)
        print(f"\n{axis}: {AXES[axis][0].__doc__} ({took:.0f} s)\n\n{shown_rows(found)}", flush=True)
        rows += found
    if asked.json:
        write_json(asked.json, {**machine, "tracebacks": tracebacks, "rows": rows})
    wrong = sum(row["wrong"] for row in rows)
    if wrong or tracebacks:
        print(f"\nNOT VALID: {wrong} wrong answers, {tracebacks} tracebacks in the daemon's log")
    return int(bool(wrong or tracebacks))


if __name__ == "__main__":
    sys.exit(main())
