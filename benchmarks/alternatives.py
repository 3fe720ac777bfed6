"""presque beside what Python users pick instead: RQ, Celery, dramatiq and huey, from PyPI, with their defaults.

python -m benchmarks.alternatives [NAME …] [--rounds N] [--short] [--json FILE] [--picture FILE], or --list. All have
the same Redis (a Unix socket, appendonly yes, fsync everysec), one producer and one worker that does one job at a time.
The producer puts all jobs in, then the worker is started and works them off. A job has an argument of 62 characters and
notes its number in a file, so that each is counted. The libraries are installed into an environment of their own, in
the cache folder. presque is asked by Python's own http.client over one connection that is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.chart import draw_alternatives
from benchmarks.machine import describe, heading
from benchmarks.stage import Stage, end_daemon, shown, table, write_json
from tests.proc import family

if TYPE_CHECKING:
    from tests.programs import Redis

HERE = Path(__file__).parent / "others"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "presque-benchmarks"
LIBRARIES = ("rq", "celery", "dramatiq", "huey", "redis", "hiredis")
NOTE = 9  # bytes that a job writes
MOST = 30.0  # seconds that one producer or one worker may take
GOODBYE = 3.0  # seconds that a worker has to end when it is told to


@dataclass(frozen=True)
class Way:
    """A way to have jobs done. `{python}`, `{bin}` and `{redis}` stand for the environment's and the store's."""

    name: str
    setting: str  # what was chosen that is not the default, or is worth knowing
    jobs: int  # that take some seconds
    produce: str  # arguments of others/produce.py
    work: str


WAYS = [
    Way("RQ", "rq worker: forks for each job", 200, "with_rq {count}", "{bin}/rq worker -q --url {redis} bench"),
    Way(
        "RQ SimpleWorker",
        "rq worker -w rq.SimpleWorker: no fork",
        1500,
        "with_rq {count}",
        "{bin}/rq worker -q -w rq.SimpleWorker --url {redis} bench",
    ),
    Way(
        "Celery",
        "prefork pool, concurrency 1, results ignored",
        3000,
        "with_celery {count}",
        "{bin}/celery -A with_celery worker --pool prefork --concurrency 1 --loglevel warning",
    ),
    Way(
        "Celery solo",
        "solo pool, results ignored",
        3000,
        "with_celery {count}",
        "{bin}/celery -A with_celery worker --pool solo --loglevel warning",
    ),
    Way(
        "dramatiq",
        "1 process, 1 thread: it fetches two messages at a time, and pauses between",
        800,
        "with_dramatiq {count}",
        "{bin}/dramatiq with_dramatiq --processes 1 --threads 1",
    ),
    Way(
        "dramatiq, 8 threads",
        "1 process, the 8 threads that it has by default: not one job at a time",
        4000,
        "with_dramatiq {count}",
        "{bin}/dramatiq with_dramatiq --processes 1 --threads 8",
    ),
    Way(
        "huey",
        "1 worker thread",
        4000,
        "with_huey {count}",
        "{python} -m huey.bin.huey_consumer with_huey.huey -w 1 -q",
    ),
    Way(
        "presque /q",
        "POST /q; GET /q, for good",
        4000,
        "with_presque {count} q",
        "{python} with_presque.py q",
    ),
    Way(
        "presque /v1",
        "insert; reserve and ack, two requests a job",
        3000,
        "with_presque {count} v1",
        "{python} with_presque.py v1",
    ),
    Way(
        "presque /qb by 100",
        "batches of 100, for good",
        100_000,
        "with_presque {count} qb",
        "{python} with_presque.py qb",
    ),
    Way(
        "presque /v1 by 100",
        "batches of 100; reserve and settle",
        50_000,
        "with_presque {count} v1b",
        "{python} with_presque.py v1b",
    ),
]


def environment() -> Path:
    """The folder of programs of an environment that has what requirements.txt asks for; made when it is not there."""
    wanted = (HERE / "requirements.txt").read_text() + sys.version
    folder = CACHE / "alternatives"
    made = folder / "made-for"
    if not made.exists() or made.read_text() != wanted:
        print(f"installing RQ, Celery, dramatiq and huey into {folder} …", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        ran = subprocess.run(
            [*pip, "-r", str(HERE / "requirements.txt")], stderr=subprocess.PIPE, text=True, timeout=600
        )
        if ran.returncode:
            sys.exit(f"{ran.stderr}\nthey could not be installed")
        made.write_text(wanted)
    return folder / "bin"


def library_versions(programs: Path) -> dict[str, str]:
    code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {LIBRARIES}}}))"
    ran = subprocess.run([programs / "python", "-c", code], capture_output=True, check=True, timeout=60)
    found: dict[str, str] = json.loads(ran.stdout)
    return found


def measure(stage: Stage, redis: Redis, programs: Path, way: Way) -> dict[str, Any]:
    """One round of one way, on an empty store."""
    redis.command("FLUSHALL")
    count = max(100, way.jobs // 10) if stage.short else way.jobs
    notes = stage.folder() / "notes"
    variables = {"REDIS_SOCKET": redis.socket, "NOTES": str(notes), "PYTHONPATH": str(HERE), "HOME": "/dev/null"}
    variables["PATH"] = os.environ["PATH"]
    daemon = None
    if way.name.startswith("presque"):
        daemon = stage.daemon(redis.url)
        variables["PRESQUE_PORT"] = str(daemon.port)
    words = {"python": programs / "python", "bin": programs, "redis": redis.url, "count": count}
    producer = [part.format(**words) for part in ["{python}", "produce.py", *way.produce.split()]]
    put = subprocess.run(producer, env=variables, cwd=HERE, capture_output=True, timeout=MOST, check=False)
    if put.returncode:
        raise RuntimeError(f"{way.name}: {put.stderr.decode()[-2000:]}")
    done = work_off([part.format(**words) for part in way.work.split()], variables, notes, count)
    if daemon is not None:
        end_daemon(daemon)
    return {"put": json.loads(put.stdout)["per_second"], "count": count, **done}


def work_off(command: list[str], variables: dict[str, str], notes: Path, count: int) -> dict[str, Any]:
    """Run a worker until it has done `count` jobs, or its time is over: jobs a second since it was seen to begin."""
    notes.touch()
    said = notes.with_name("worker.log")
    with said.open("wb") as log:
        worker = subprocess.Popen(
            command, env=variables, cwd=HERE, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            first, began, ends = 0, 0.0, time.monotonic() + MOST
            while (done := notes.stat().st_size // NOTE) < count and time.monotonic() < ends and worker.poll() is None:
                if done and not began:
                    first, began = done, time.monotonic()
                time.sleep(0.002)
            took = time.monotonic() - began
        finally:
            end(worker)
    numbers = Counter(notes.read_text().split())
    if not began:
        raise RuntimeError(f"{command} did nothing: {said.read_text(errors='replace')[-2000:]}")
    return {"done": (done - first) / took, "distinct": len(numbers), "twice": sum(numbers.values()) - len(numbers)}


def end(worker: subprocess.Popen[bytes]) -> None:
    """End a worker, and the processes that it has started."""
    started = family(worker.pid)[1:]
    worker.terminate()
    try:
        worker.wait(GOODBYE)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()
    for pid in started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def summary(way: Way, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """A row: medians, and whether each job that was put in was done once."""
    wrong = [each for each in rounds if each["distinct"] != each["count"] or each["twice"]]
    figures: dict[str, Any] = {"name": way.name, "setting": way.setting, "rounds": rounds, "counted": "failed"}
    figures["producer"] = next(each.name for each in WAYS if each.produce == way.produce)  # the first that puts in so
    if not rounds:
        return figures
    for name in ("put", "done"):
        values = [each[name] for each in rounds]
        figures |= {name: median(values), f"{name}_spread": [min(values), max(values)]}
    figures["jobs"] = rounds[0]["count"]
    missing = sum(each["count"] - each["distinct"] for each in wrong)
    twice = sum(each["twice"] for each in wrong)
    figures["counted"] = f"{missing} not done in {MOST:.0f} s, {twice} done twice" if wrong else "all, once"
    return figures


def shown_rows(rows: list[dict[str, Any]]) -> str:
    cells = [["", "put in/s", "from – to", "done/s", "from – to", "jobs", "counted", "configured"]]
    for row in rows:
        if not row["rounds"]:
            cells.append([row["name"], *[""] * 5, row["counted"], row["setting"]])
            continue
        spreads = [" – ".join(map(shown, row[f"{name}_spread"])) for name in ("put", "done")]
        figures = [shown(row["put"]), spreads[0], shown(row["done"]), spreads[1], f"{row['jobs']:,}"]
        cells.append([row["name"], *figures, row["counted"], row["setting"]])
    return table(cells, frozenset({1, 2, 3, 4, 5}))


def main() -> int:
    """Measure all ways in turn, several times."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alternatives", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="some of those that --list names; without any, all")
    parser.add_argument("--rounds", type=int, help="how often each is measured (3; 1 when short)")
    parser.add_argument("--short", action="store_true", help="few jobs, to see that it works")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--picture", metavar="FILE", help="draw the rates there, as SVG")
    parser.add_argument("--list", action="store_true", help="name the ways that there are")
    asked = parser.parse_args()
    known = {way.name: way for way in WAYS}
    if asked.list:
        print("\n".join(f"{way.name:20} {way.setting}" for way in WAYS))
        return 0
    if unknown := set(asked.names) - set(known):
        parser.error(f"no such name: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    ways = [known[name] for name in asked.names] or WAYS
    programs = environment()
    rounds = asked.rounds or (1 if asked.short else 3)
    machine: dict[str, Any] = {**describe("everysec"), "rounds": rounds, "short": asked.short}
    machine["load_by"] = "one producer and one worker in Python"
    machine["versions"] |= library_versions(programs)
    print(heading(machine), flush=True)
    found: dict[str, list[dict[str, Any]]] = {way.name: [] for way in ways}
    with Stage(asked.short) as stage:
        redis = stage.store()
        for _ in range(rounds):
            for way in ways:
                try:
                    found[way.name].append(measure(stage, redis, programs, way))
                except (RuntimeError, subprocess.TimeoutExpired) as error:
                    print(f"{way.name} failed: {error}", file=sys.stderr, flush=True)
    rows = [summary(way, found[way.name]) for way in ways]
    print(f"\n{shown_rows(rows)}", flush=True)
    if asked.json:
        write_json(asked.json, {**machine, "rows": rows})
    if asked.picture:
        draw_alternatives(asked.picture, machine, rows)
    return int(any(row["counted"] != "all, once" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
