"""The goals of presque's table "Fast", each beside its yardstick in one run.

python -m benchmarks.speed [GOAL …] [--rounds N] [--seconds N] [--short] [--fsync WHEN] [--beside VERSION] [--json FILE]
[--picture FILE], or --list. Starts and ends all that it needs. The exit status is 1 when a goal was missed.

It reads CPU times from /proc, so it needs Linux. The load is `wrk` where that is installed, else Python clients. They
are slower than what they measure: the daemon then waits between requests, and each of them costs it more.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from benchmarks import goals_cpu, goals_footprint, goals_rates, goals_redis, goals_store
from benchmarks.chart import draw_speed
from benchmarks.goals_cpu import cpu_table
from benchmarks.machine import describe, heading
from benchmarks.stage import Line, Stage, checkout, lines_table, write_json

OTHERS = (goals_rates, goals_footprint, goals_redis, goals_store)
GOALS = goals_cpu.GOALS | {name: goal for module in OTHERS for name, goal in module.GOALS.items()}


def run(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Measure one goal and print its lines."""
    began = time.monotonic()
    lines: list[Line] = []
    trouble, tracebacks = "", 0
    with Stage(asked.short, asked.rounds, asked.seconds, asked.fsync, asked.beside) as stage:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # which ends what the stage has started
        try:
            lines = GOALS[name](stage)
        except Exception:
            trouble = traceback.format_exc()
        finally:
            tracebacks = stage.tracebacks()
    seconds = round(time.monotonic() - began, 1)
    print(f"\n{name}: {first_line(name)} ({seconds} s)\n")
    print(trouble or (cpu_table if name in goals_cpu.GOALS else lines_table)(lines), flush=True)
    if tracebacks:
        print(f"FAIL: {tracebacks} tracebacks in the daemon's log", flush=True)
    held = not trouble and not tracebacks and all(line.held is not False for line in lines)
    said = {"goal": name, "held": held, "seconds": seconds, "tracebacks": tracebacks, "trouble": trouble}
    return {**said, "lines": [line.json() for line in lines]}


def first_line(name: str) -> str:
    return (GOALS[name].__doc__ or "").splitlines()[0]


def selected(name: str) -> list[str]:
    """The goals of that name, or of that group."""
    return [goal for goal in GOALS if goal == name or goal.startswith(f"{name}-")]


def main() -> int:
    """Measure the goals that the command line names, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument(
        "goals", nargs="*", metavar="GOAL", help="one of those that --list names, or redis for all redis-…; default all"
    )
    parser.add_argument("--rounds", type=int, help="how often each measure is repeated (6; 2 when short)")
    parser.add_argument("--seconds", type=int, help="how long each measure takes (2; 1 when short)")
    parser.add_argument("--short", action="store_true", help="small numbers, to see that it works")
    parser.add_argument("--fsync", choices=("everysec", "always"), default="everysec")
    parser.add_argument(
        "--beside",
        metavar="VERSION",
        default="",
        help="a checkout or a git revision of another version: one-job and redis are measured on both in turns",
    )
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--picture", metavar="FILE", help="draw the rates there, as SVG")
    parser.add_argument("--list", action="store_true", help="name the goals that there are")
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(f"{name:14} {first_line(name)}" for name in GOALS))
        return 0
    if unknown := [name for name in asked.goals if not selected(name)]:
        parser.error(f"no such goal: {', '.join(unknown)}")
    names = [goal for name in asked.goals for goal in selected(name)] or list(GOALS)
    asked.rounds = asked.rounds or (2 if asked.short else 6)
    asked.seconds = asked.seconds or (1 if asked.short else 2)
    machine = {**describe(asked.fsync), "rounds": asked.rounds, "seconds": asked.seconds, "short": asked.short}
    print(heading(machine), flush=True)
    with tempfile.TemporaryDirectory(prefix="presque-beside-") as folder:
        asked.beside = asked.beside and str(checkout(asked.beside, Path(folder)))
        goals = [run(name, asked) for name in names]
    if asked.json:
        write_json(asked.json, {**machine, "goals": goals})
    if asked.picture:
        draw_speed(asked.picture, machine, goals)
    missed = [goal["goal"] for goal in goals if not goal["held"]]
    print(f"\n{'FAIL: ' + ', '.join(missed) if missed else 'PASS: all that could be decided'}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
