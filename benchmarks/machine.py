"""What the figures were taken with and on. Linux: it reads /proc."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tests.programs import redis_program

PACKAGES = ("presque", "Twisted", "klein", "txredisapi", "hiredis", "msgspec")


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
    redis = _output(redis_program(), "--version")
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


def _cpu() -> str:
    return _first(r"(?m)^model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) or platform.processor() or "unknown"


def _output(*command: str) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    return ran.stdout + ran.stderr


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else ""
