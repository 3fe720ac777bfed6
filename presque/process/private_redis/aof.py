"""The append-only files in a data folder: who wrote them, whether they are one store, and what a power cut left behind.

Redis 6.2 keeps `appendonly.aof`: a snapshot, once it was rewritten, and commands. Redis 7.0 and later and Valkey keep
`appendonlydir/`: a manifest that names a base (a snapshot, or what 6.2 wrote, moved here) and increments of commands.
They look for nothing else once there is a manifest, and 6.2 never looks into that folder.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from presque.errors import StoreUnfit
from presque.process.private_redis.engine import Engine, version_of

if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

PATTERNS = ("appendonly.aof", "appendonlydir/appendonly.aof", "appendonlydir/appendonly.aof.*.aof")
OLD = "appendonly.aof"
FOLDER = "appendonlydir"
MANIFEST = "appendonlydir/appendonly.aof.manifest"
HEAD = 1024  # bytes of a snapshot in which it says who wrote it
BLOCK = 65536  # bytes that are read at once from the end of a file
CHECKSUM = 8  # bytes with which a snapshot ends, behind an EOF
EOF = 0xFF

_MAGIC = re.compile(rb"(REDIS|VALKEY)\d")
_WRITER = re.compile(rb"(valkey|redis)-ver(.)", re.DOTALL)  # a string's length follows, then the string
_ENTRY = re.compile(r'^file ("(?:[^"\\]|\\.)*"|\S+) seq (\d+) type (\w)', re.MULTILINE)


def writer_of(folder: Path) -> Engine | None:
    """Who wrote the files, as far as they tell; None when there are none. Raises StoreUnfit when they are two stores,
    or a part of one, which no engine would say.
    """
    old, manifest = folder / OLD, folder / MANIFEST
    has_old = old.exists() and old.stat().st_size > 0
    if manifest.exists():
        base = _file(folder, "b")
        if has_old and not (base is not None and base.name == OLD and not base.exists()):
            raise StoreUnfit(
                f"{folder} has two stores, {OLD} of Redis 6.2 and {FOLDER} of a later engine, and no engine reads "
                f"both: move the unwanted one out of {folder}"
            )
        return (base is not None and _told_by(base)) or Engine("Redis", (7, 0), or_another=" or later")
    if any(folder.glob(f"{FOLDER}/{OLD}*")):
        raise StoreUnfit(
            f"{folder / FOLDER} has no {manifest.name}, without which engines overwrite its files instead of reading "
            f"them: restore it from a backup, or to start afresh move {folder / FOLDER} away"
        )
    return (_told_by(old) or Engine("Redis", (6, 2), or_another=" or earlier")) if has_old else None


def _file(folder: Path, kind: str) -> Path | None:
    """The last file of that kind which the manifest names: b, base, or i, increment."""
    entries = _ENTRY.findall((folder / MANIFEST).read_text(errors="surrogateescape"))
    found = sorted((int(seq), name.strip('"')) for name, seq, type_ in entries if type_ == kind)
    return folder / FOLDER / found[-1][1] if found else None


def _told_by(path: Path) -> Engine | None:
    """What the snapshot at the beginning of a file says of its writer."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        head = file.read(HEAD)
        if _MAGIC.match(head) and (told := _WRITER.search(head)):
            number = head[told.end() : told.end() + told[2][0]].decode(errors="replace")
            return Engine("Valkey" if told[1] == b"valkey" else "Redis", version_of(number))
    return None


def has_files(folder: Path) -> bool:
    """Whether there is anything that an engine would load."""
    old = folder / OLD
    return (folder / MANIFEST).exists() or (old.exists() and old.stat().st_size > 0)


def last_file(folder: Path) -> Path | None:
    """The file to which commands were appended last."""
    if (folder / MANIFEST).exists():
        return _file(folder, "i") or _file(folder, "b")
    return folder / OLD


def cut_zeros(folder: Path) -> tuple[Path, int]:
    """Cut off the zeros with which the last file ends: a power cut leaves them where a block was counted to the file
    and never written, and every engine refuses a file that has them. Returns the file and how many bytes were cut.
    A command ends with a newline, so no zero there belongs to one. Raises StoreUnfit when nothing else is in a file.
    """
    path = last_file(folder)
    if path is None or not path.is_file():
        return folder / OLD, 0
    size = path.stat().st_size
    with path.open("r+b") as file:
        whole = _end_of_data(file, size)
        if whole == 0 and size > 0 and path == folder / OLD:
            raise StoreUnfit(f"{path} contains only zeros: restore it from a backup, or to start afresh move it away")
        if whole < size:
            file.truncate(whole)
            os.fsync(file.fileno())
    return path, size - whole


def _end_of_data(file: IO[bytes], size: int) -> int:
    """Where a file ends, without the zeros behind it. A snapshot's checksum, which may end with zeros, stays whole."""
    end, rest = size, b""
    while end > 0 and not rest:
        begin = max(0, end - BLOCK)
        file.seek(begin)
        rest = file.read(end - begin).rstrip(b"\0")
        end = begin + len(rest)
    file.seek(0)
    if end == size or rest.endswith(b"\r\n") or not _MAGIC.match(file.read(16)):
        return end
    for whole in range(end, min(size, end + CHECKSUM) + 1):
        file.seek(max(0, whole - CHECKSUM - 1))
        if file.read(1) == bytes([EOF]):
            return whole
    return end


def sync_files(folder: Path) -> int:
    """Have all that Redis has written to its append-only files put on the disk. Returns how many files those were."""
    synced = 0
    for pattern in PATTERNS:
        for path in folder.glob(pattern):
            with suppress(FileNotFoundError):  # it was rewritten meanwhile, and Redis syncs what it rewrites
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    getattr(os, "fdatasync", os.fsync)(descriptor)
                finally:
                    os.close(descriptor)
                synced += 1
    return synced
