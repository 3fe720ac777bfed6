"""Why a private server has ended before it was ready: its own reason, from what it wrote, and what to do about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from presque.process.private_redis.aof import MANIFEST, OLD

if TYPE_CHECKING:
    from pathlib import Path

    from presque.process.private_redis.engine import Engine

REASONS = 3  # lines that are told

_NOISE = re.compile(r"WARNING|oO0Oo|version=|Configuration loaded|Reading config|Server initialized|Terminating server")
_HEAD = re.compile(r"^\d+:\w \d.* [#*] ")  # pid, role, time and level, with which its lines begin
_DAMAGED = re.compile(
    r"bad file format|RDB|short read|unexpected end|AOF.*exist|manifest|truncated|unknown command", re.I
)
_NO_ROOM = re.compile(r"no space left|disk quota", re.I)


def reason(lines: list[str], ended: str, engine: Engine | None, folder: Path) -> str:
    """One line: what it said, else how it `ended`, and the remedy."""
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
