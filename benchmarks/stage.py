"""What the benchmarks measure on, and how a measured line is kept and shown."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from tests.load import PATIENCE
from tests.proc import family
from tests.programs import ROOT, Programs, presque_environ

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.programs import Daemon, Redis

# Limits beyond what is measured.
BEYOND = ("--max-connections", "20000", "--max-waiting", "20000", "--max-queues", "1000000")


@dataclass
class Line:
    """One line of the table: what was measured, once a round, and what was asked for."""

    what: str
    unit: str
    values: list[float]
    least: float | None = None  # the goal, when more is better
    most: float | None = None  # the goal, when less is better
    below: bool = False  # `most` itself is too much
    wrong: int = 0  # answers that were not as they should be; with any, the figure is worth nothing
    undecided: str = ""  # why the figure decides nothing here
    note: str = ""

    @property
    def figure(self) -> float:
        return median(self.values) if self.values else float("nan")

    @property
    def held(self) -> bool | None:
        """Whether the goal was reached, before any rounding; None without one, or where nothing can be decided."""
        if self.wrong:
            return False
        if self.undecided or (self.least is None and self.most is None):
            return None
        if self.least is not None:
            return self.figure >= self.least
        assert self.most is not None
        return self.figure < self.most if self.below else self.figure <= self.most

    @property
    def goal(self) -> str:
        if self.least is not None:
            return f"≥ {shown(self.least)}"
        if self.most is not None:
            return f"{'<' if self.below else '≤'} {shown(self.most)}"
        return ""

    @property
    def verdict(self) -> str:
        if self.wrong:
            return f"FAIL: {self.wrong} wrong answers, the figure is not valid"
        if self.undecided:
            return f"undecided: {self.undecided}"
        return {True: "PASS", False: "FAIL", None: ""}[self.held]

    def json(self) -> dict[str, Any]:
        spread = [min(self.values), max(self.values)] if self.values else None
        named = {"what": self.what, "unit": self.unit, "median": self.figure if self.values else None, "spread": spread}
        said = {"goal": self.goal or None, "held": self.held, "wrong": self.wrong}
        return {**named, "values": self.values, **said, "undecided": self.undecided, "note": self.note}


@dataclass(eq=False)
class Stage(Programs):
    """Servers for one goal, and how long each measure takes."""

    short: bool = False
    rounds: int = 5
    seconds: int = 2
    fsync: str = "everysec"
    beside: str = ""  # another checkout, to be measured in turns with this one

    def __post_init__(self) -> None:
        super().__init__(self.short)

    def store(self, *options: str) -> Redis:
        """A Redis as presque's private one is set."""
        return self.redis("--appendfsync", self.fsync, "--maxmemory-policy", "noeviction", *options)

    def daemon(
        self, redis_url: str, *flags: str, environ: Mapping[str, str] | None = None, root: Path = ROOT
    ) -> Daemon:
        daemon = super().daemon(redis_url, *flags, environ=environ, root=root)
        self.callback(end_daemon, daemon)
        return daemon

    def pair(self, *flags: str, root: Path = ROOT) -> tuple[Redis, Daemon]:
        redis = self.store()
        beyond = BEYOND if root == ROOT else ()  # an older revision has no such options
        return redis, self.daemon(redis.url, *beyond, *flags, root=root)

    def bare(self, *flags: str) -> int:
        """The port of a bare resource, in a process of its own."""
        return self.port_said(self.start_bare(*flags))

    def start_bare(self, *flags: str) -> subprocess.Popen[bytes]:
        """Start a bare resource in a process of its own, which ends with the stage."""
        command, quiet = [sys.executable, "-m", "benchmarks.bare", *flags], subprocess.DEVNULL
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=quiet, cwd=ROOT, env=presque_environ())
        self.callback(process.wait)
        self.callback(process.kill)
        return process

    def port_said(self, process: subprocess.Popen[bytes]) -> int:
        """The port that a process names on its first line."""
        assert process.stdout
        found = re.search(rb"port=(\d+)", process.stdout.readline())
        assert found, f"{process.args!r} did not start"
        return int(found[1])


def end_daemon(daemon: Daemon) -> None:
    """End a daemon, and the processes that it may have started."""
    started = processes(daemon)[1:] if daemon.process else []
    daemon.kill()
    for pid in started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def processes(of: Redis | Daemon) -> list[int]:
    """The ids of a server's processes."""
    assert of.process
    return family(of.process.pid)


def cpu_time(pids: list[int]) -> float:
    """CPU seconds that the processes have used, by the scheduler's nanoseconds: `stat` counts hundredths of a second,
    which is too coarse for a second of load.
    """
    tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def checkout(named: str, folder: Path) -> Path:
    """The checkout of another version: a folder, or a revision of this repository, which is laid down in `folder`."""
    if (Path(named) / "presque").is_dir():
        return Path(named).resolve()
    files = subprocess.run(["git", "-C", ROOT, "archive", named], stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(["tar", "-x", "-C", folder], input=files, check=True)
    return folder


def quiet(redis: Redis) -> None:
    """Wait until Redis does not rewrite its file, which takes a core for a while."""
    ends = time.monotonic() + PATIENCE
    while b"aof_rewrite_in_progress:1" in redis.command("INFO", "persistence") and time.monotonic() < ends:
        time.sleep(0.1)


def shown(number: float) -> str:
    """A number as people read it: three digits or more, never rounded to look like another thousand."""
    if number != number:
        return "–"
    if abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"


def table(rows: Iterable[list[str]], right: frozenset[int] = frozenset()) -> str:
    """Rows of cells, the first of them the head, in columns; those in `right` end at the right."""
    rows = list(rows)
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = [
        "  ".join(cell.rjust(width) if at in right else cell.ljust(width) for at, (cell, width) in enumerate(cells))
        for cells in (zip(row, widths, strict=True) for row in rows)
    ]
    return "\n".join([lines[0].rstrip(), "─" * (sum(widths) + 2 * (len(widths) - 1)), *map(str.rstrip, lines[1:])])


def lines_table(lines: list[Line]) -> str:
    rows = [["what", "median", "from", "to", "unit", "goal", "", ""]]
    for line in lines:
        spread = [shown(min(line.values)), shown(max(line.values))] if len(line.values) > 1 else ["", ""]
        rows.append([line.what, shown(line.figure), *spread, line.unit, line.goal, line.verdict, line.note])
    return table(rows, frozenset({1, 2, 3}))


def write_json(path: str, value: Any) -> None:
    Path(path).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
