"""The Lua scripts, by name: `lua/<verb>.lua`, one file a verb.

A script's first statement, `local ready, front = unpack(KEYS)`, names the keys that it wants; `presque.redis.keys`
knows what they are. A line `--@include <name>` stands for the text of `lua/parts/<name>.lua`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files

_KEYS = re.compile(r"^local ([\w,\s]+?) = unpack\(KEYS\)$", re.MULTILINE)
_INCLUDE = re.compile(r"^--@include (\w+)$", re.MULTILINE)


@dataclass(frozen=True)
class Script:
    """A script: `head` is the beginning of its EVALSHA command, without the number of parts that comes first."""

    name: str
    keys: tuple[str, ...]
    source: bytes
    digest: bytes
    head: bytes


def _load(name: str, text: str, parts: dict[str, str]) -> Script:
    declared = _KEYS.search(text)
    if declared is None:
        raise ValueError(f"{name}.lua names no keys")
    keys = tuple(declared[1].replace(",", " ").split())
    source = _INCLUDE.sub(lambda include: parts[include[1]], text).encode()
    digest = sha1(source, usedforsecurity=False).hexdigest().encode()
    count = b"%d" % len(keys)
    head = b"$7\r\nEVALSHA\r\n$40\r\n%b\r\n$%d\r\n%b\r\n" % (digest, len(count), count)
    return Script(name, keys, source, digest, head)


def _texts(folder: str) -> dict[str, str]:
    found = files("presque.redis").joinpath(folder).iterdir()
    return {file.name[:-4]: file.read_text() for file in found if file.name.endswith(".lua")}


_PARTS = _texts("lua/parts")
SCRIPTS = {name: _load(name, text, _PARTS) for name, text in sorted(_texts("lua").items())}
