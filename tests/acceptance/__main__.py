"""The rows of presque's acceptance table, each as a run against real Redis servers and real daemons.

python -m tests.acceptance ROW [ROW …] [--short] [--seed N], or --list. One JSON line and one readable line a row;
the exit status is 1 when a row failed. The short form holds the same counts; of its time limits see Bench.within.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
import traceback
from functools import partial

from tests.acceptance import (
    rows_clock,
    rows_disk,
    rows_errors,
    rows_faults,
    rows_flow,
    rows_inputs,
    rows_leases,
    rows_limits,
    rows_link,
    rows_memory,
    rows_metrics,
    rows_names,
    rows_proxies,
    rows_schedules,
    rows_stop,
)
from tests.acceptance.bench import Bench

MODULES = (
    rows_clock,
    rows_disk,
    rows_errors,
    rows_faults,
    rows_flow,
    rows_inputs,
    rows_leases,
    rows_limits,
    rows_link,
    rows_metrics,
    rows_memory,
    rows_names,
    rows_proxies,
    rows_schedules,
    rows_stop,
)
ROWS = {number: row for module in MODULES for number, row in module.ROWS.items()}


def run(number: int, short: bool, seed: int) -> bool:
    """Run a row and print what it measured."""
    began = time.monotonic()
    figures: dict[str, object] = {}
    trouble = ""
    try:
        with Bench(short, seed) as bench:
            signal.signal(signal.SIGTERM, partial(end, bench))
            try:
                held = ROWS[number](bench, figures)
            finally:
                figures["tracebacks"] = bench.tracebacks()
    except Exception:
        trouble, held = traceback.format_exc(), False
    seconds = round(time.monotonic() - began, 1)
    head = {"row": number, "pass": bool(held), "short": short, "seed": seed, "seconds": seconds}
    print(json.dumps({**head, **figures}), flush=True)
    what = (ROWS[number].__doc__ or "").splitlines()[0]
    told = ", ".join(f"{name} {value}" for name, value in figures.items())
    print(f"{'PASS' if held else 'FAIL'} row {number}: {what} {told} ({seconds} s, seed {seed})", flush=True)
    if trouble:
        print(trouble, file=sys.stderr, flush=True)
    return bool(held)


def end(bench: Bench, *_: object) -> None:
    """Told to end in the middle of a row: leave nothing behind, and do not wait for the clients."""
    bench.close()
    os._exit(1)


def main() -> int:
    """Run the rows that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance", description=__doc__)
    parser.add_argument("rows", nargs="*", type=int, metavar="ROW")
    parser.add_argument("--short", action="store_true", help="a form of some seconds")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--list", action="store_true", help="name the rows that there are")
    asked = parser.parse_args()
    if asked.list or not asked.rows:
        for number, row in sorted(ROWS.items()):
            print(f"{number:3}  {(row.__doc__ or '').splitlines()[0]}")
        return 0
    if unknown := set(asked.rows) - set(ROWS):
        parser.error(f"no such row: {sorted(unknown)}")
    seed = random.randrange(2**32) if asked.seed is None else asked.seed
    held = [run(number, asked.short, seed) for number in asked.rows]
    return int(not all(held))


if __name__ == "__main__":
    sys.exit(main())
