"""What the figures were taken with and on, and what a process uses. Linux: it reads /proc."""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from presque.process.private_redis.server import find_program

PACKAGES = ("presque", "Twisted", "klein", "txredisapi", "hiredis", "msgspec")
TICKS = os.sysconf("SC_CLK_TCK")  # of CPU time a second, in /proc/<pid>/stat


def describe(fsync: str) -> dict[str, Any]:
    """Versions, machine and load, for the head of a table."""
    return {
        "versions": versions(),
        "fsync": fsync,
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "load_by": "wrk" if shutil.which("wrk") else "raw sockets in Python (wrk is not installed)",
        "at": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


def versions() -> dict[str, str]:
    found = {"Python": platform.python_version(), **{name: package_version(name) for name in PACKAGES}}
    redis = _output(os.environ.get("TEST_REDIS_SERVER") or find_program(), "--version")
    found["redis-server"] = _first(r"v=(\S+)", redis) or redis.strip()
    if wrk := shutil.which("wrk"):
        found["wrk"] = _first(r"wrk (\S+)", _output(wrk, "-v"))
    return found


def package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def heading(machine: dict[str, Any]) -> str:
    """`describe` in some lines."""
    named = ", ".join(f"{name} {value}" for name, value in machine["versions"].items())
    load = " ".join(map(str, machine["load_average"]))
    return (
        f"{named}\n{machine['cpu']}, {machine['cores']} cores, load average {load}; Redis on a Unix socket, "
        f"appendonly yes, fsync {machine['fsync']}; load by {machine['load_by']}; {machine['at']}"
    )


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    members = [pid]
    for parent in members:
        try:
            members += map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())
        except OSError:
            continue
    return members


def resident(pids: list[int]) -> float:
    """Megabytes (10^6 bytes) that the processes have in memory; what they share counts in each."""
    return sum(_kilobytes(Path(f"/proc/{pid}/status"), "VmRSS") for pid in pids) * 1024 / 1e6


def proportional(pids: list[int]) -> float:
    """Megabytes that the processes have in memory; what several share is divided among them."""
    return sum(_kilobytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss") for pid in pids) * 1024 / 1e6


def cpu_seconds(pids: list[int]) -> float:
    """CPU time that the processes have used."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(each[11]) + int(each[12]) for each in fields) / TICKS


def cpu_share(seconds: float, *groups: list[int]) -> list[float]:
    """Percent of a core that each group of processes uses over the next seconds."""
    before, began = [cpu_seconds(pids) for pids in groups], time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - began
    return [100 * (cpu_seconds(pids) - used) / passed for pids, used in zip(groups, before, strict=True)]


def allow_files(count: int) -> None:
    """Let this process, and those that it starts, open so many files. Raises OSError where that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return
    most = hard if hard == resource.RLIM_INFINITY or hard >= count else count
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, most))
    except ValueError as error:
        raise OSError(f"{count} open files are needed and {hard} are allowed (ulimit -Hn)") from error


def _cpu() -> str:
    return _first(r"(?m)^model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) or platform.processor() or "unknown"


def _kilobytes(path: Path, name: str) -> int:
    return int(_first(rf"(?m)^{name}:\s+(\d+)", path.read_text()) or 0)


def _output(*command: str) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    return ran.stdout + ran.stderr


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else ""
