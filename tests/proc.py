"""What the kernel tells of processes: which there are, their memory, their CPU time. Linux: it reads /proc."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")  # of CPU time a second, in /proc/<pid>/stat


def children(pid: int) -> list[int]:
    """The processes that it has started and that have not been waited for."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found += map(int, thread.read_text().split())
    return found


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    members = [pid]
    for parent in members:
        members += children(parent)
    return members


def lives(pid: int) -> bool:
    """Whether the process is there, and not only waited for."""
    try:
        return _stat(pid)[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def words(pid: int) -> bytes:
    """Its command line; each word ends with a NUL."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def resident(pids: list[int]) -> float:
    """Megabytes (10^6 bytes) that the processes have in memory; what they share counts in each."""
    return sum(_kilobytes(Path(f"/proc/{pid}/status"), "VmRSS") for pid in pids) * 1024 / 1e6


def proportional(pids: list[int]) -> float:
    """Megabytes that the processes have in memory; what several share is divided among them."""
    return sum(_kilobytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss") for pid in pids) * 1024 / 1e6


def cpu_seconds(pids: list[int]) -> float:
    """CPU time that the processes have used, in user space and in the kernel."""
    fields = [_stat(pid) for pid in pids]
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


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the state on, which is the third."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _kilobytes(path: Path, name: str) -> int:
    found = re.search(rf"(?m)^{name}:\s+(\d+)", path.read_text())
    return int(found[1]) if found else 0
