"""A transaction that was not written to its end, because Redis was killed within the write.

A script's commands stand between MULTI and EXEC in the append-only file. When the file of Redis 6.2 ends within one of
them, it cuts off that command alone, and goes on to write behind the rest: at a later start the rest is carried out,
half a script. So the whole transaction is cut off before Redis starts. Nobody was told of it: Redis answers once it has
written. Redis 7.0 and later and Valkey cut it off themselves.

Arguments may contain any bytes, also text that looks like commands, so where a command begins is certain only to who
reads from the beginning of the file. The engine does, when run as redis-check-aof, but only if the end of the file
looks unfinished, for it takes as long as loading.
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

from twisted.logger import Logger

from presque.process.private_redis.aof import BLOCK, OLD

if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

MULTI = b"*1\r\n$5\r\nMULTI\r\n"
EXEC = b"*1\r\n$4\r\nEXEC\r\n"
LONGEST = 256 * 1024 * 1024  # bytes of a transaction; an insertion has up to 25 times the bytes of its body
CHECK_WITHIN = 600.0  # seconds

_HEADER = re.compile(rb"([*$])(\d{1,10})\r\n")
_INCOMPLETE = re.compile(rb"[*$](\d{1,10}\r?)?")  # and there the file ends
_LONGEST_HEADER = 13  # bytes
_WHOLE = re.compile(rb"AOF analyzed: .*\bok_up_to=(\d+)")

_log = Logger()


def cut_unfinished(folder: Path, program: str) -> int:
    """Cut a transaction without its EXEC off the end of Redis 6.2's file. Returns the number of bytes cut off."""
    path = folder / OLD
    size = path.stat().st_size if path.is_file() else 0
    if size == 0:
        return 0
    with path.open("r+b", buffering=BLOCK) as file:
        file.seek(max(0, size - len(EXEC)))
        if file.read() == EXEC or (last := _last_multi(file, size)) is None:
            return 0
        is_open = _is_open(file, last, size)
        if is_open is False or (begin := _whole_part(path, program)) is None or size - begin > LONGEST:
            return 0
        if begin != last:  # which is within an argument
            is_open = _is_open(file, begin, size)
        if not is_open:
            return 0
        file.truncate(begin)
        os.fsync(file.fileno())
    return size - begin


def _last_multi(file: IO[bytes], size: int) -> int | None:
    """Where the text of a MULTI is found last; it may be within an argument."""
    end, first = size, max(0, size - LONGEST)
    while end > first:
        begin = max(first, end - BLOCK)
        file.seek(begin)
        found = file.read(end - begin + len(MULTI) - 1).rfind(MULTI)
        if found >= 0:
            return begin + found
        end = begin
    return None


def _is_open(file: IO[bytes], begin: int, size: int) -> bool | None:
    """Whether the transaction that begins there has no EXEC, and only its commands follow, of which the last may be
    incomplete. False if it has an EXEC and only whole commands follow; None if anything else stands there.
    """
    file.seek(begin)
    if file.read(len(MULTI)) != MULTI:
        return None
    at, closed = begin + len(MULTI), False
    file.seek(at)
    try:
        while at < size:
            word, at = _read_command(file, at, size)
            if word == b"MULTI" or (closed and word == b"EXEC"):
                return None
            closed = closed or word == b"EXEC"
    except EOFError:
        return None if closed else True
    except ValueError:
        return None
    return not closed


def _read_command(file: IO[bytes], at: int, size: int) -> tuple[bytes, int]:
    """The first word of the command at `at`, and where the next begins. Raises EOFError if the file ends within it,
    ValueError if it is none.
    """
    count, at = _read_header(file, b"*", at)
    first = b""
    for index in range(count):
        length, at = _read_header(file, b"$", at)
        at += length + 2
        if at > size:
            raise EOFError
        if length > BLOCK:
            file.seek(length, os.SEEK_CUR)
            ending = file.read(2)
        else:
            ending = file.read(length + 2)
            first = first if index else ending[:-2]
        if not ending.endswith(b"\r\n"):
            raise ValueError
    return first, at


def _read_header(file: IO[bytes], mark: bytes, at: int) -> tuple[int, int]:
    line = file.readline(_LONGEST_HEADER)
    if (found := _HEADER.fullmatch(line)) and found[1] == mark:
        return int(found[2]), at + len(line)
    if not line or (line.startswith(mark) and _INCOMPLETE.fullmatch(line)):
        raise EOFError
    raise ValueError


def _whole_part(path: Path, program: str) -> int | None:
    """How many bytes of the file are whole commands and transactions, as the engine says; None if it cannot."""
    try:
        told = subprocess.run(  # noqa: S603  # the user chooses the program
            ["redis-check-aof", str(path)],  # noqa: S607  # a name for `executable`
            executable=program,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CHECK_WITHIN,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as wrong:
        said = str(wrong)
    else:
        if found := _WHOLE.search(told.stdout):
            return int(found[1])
        said = (told.stdout + told.stderr).decode(errors="replace")[-200:]
    _log.warn("cannot check the end of {path} with {program}: {said}", path=str(path), program=program, said=said)
    return None
