"""Why a private server ended before it was ready: its own reason, from its output, and the remedy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from presque.process.private_redis.aof import MANIFEST, OLD

if TYPE_CHECKING:
    from pathlib import Path

    from presque.process.private_redis.engine import Engine

REASONS = 3  # lines that are quoted

_NOISE = re.compile(r"WARNING|oO0Oo|version=|Configuration loaded|Reading config|Server initialized|Terminating server")
_HEAD = re.compile(r"^\d+:\w \d.* [#*] ")  # pid, role, time and level at the beginning of its lines
_DAMAGED = re.compile(
    r"bad file format|RDB|short read|unexpected end|AOF.*exist|manifest|truncated|unknown command", re.I
)
_NO_ROOM = re.compile(r"no space left|disk quota", re.I)


def plain(line: str) -> str:
    """A line of its output without pid, time and level, which our log has too."""
    return "Redis: " + _HEAD.sub("", line)


def reason(lines: list[str], ended: str, engine: Engine | None, folder: Path) -> str:
    """One line with its last warnings, or how it `ended`, and the remedy."""
    warnings = [_HEAD.sub("", line) for line in lines if " # " in line and not _NOISE.search(line)]
    others = [_HEAD.sub("", line) for line in lines if line.strip() and not _NOISE.search(line)]
    said = "; ".join(dict.fromkeys((warnings or others)[-REASONS:])) or ended
    return f"{engine} cannot start on {folder} (it says: {said.strip()}): {_remedy(said, engine, folder)}"


def _remedy(said: str, engine: Engine | None, folder: Path) -> str:
    if _NO_ROOM.search(said):
        return f"free space on {folder}"
    if _DAMAGED.search(said) and engine is not None:
        file = folder / (MANIFEST if (folder / MANIFEST).exists() else OLD)
        check = f"exec -a redis-check-aof {engine.program} --fix {file}"
        return (
            "its files are damaged; restore the folder from a backup, or copy it and cut off everything after "
            f"the damage with: bash -c '{check}'"
        )
    return "fix that, or name another server with --redis-server"
