"""The Lua scripts, by name: `lua/<verb>.lua`, one file per verb.

A script's first statement, `local ready, front = unpack(KEYS)`, names the keys that it needs; `presque.redis.keys`
describes them. A line `--@include <name>` is replaced by the text of `lua/parts/<name>.lua`, or of the part of that
name that was passed to `load`. A part may include others; each is included once, where it is first named.
Lines that are comments are left out, so line numbers in errors of Redis are those of the text that remains.

Redis runs the whole text at each call, and defining a function takes half as long as a command: so what is seldom
needed is included, indented, in the branch that needs it. Such a part, and those that it includes, are known only
there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEYS = re.compile(r"^local ([\w,\s]+?) = unpack\(KEYS\)$", re.MULTILINE)
_COMMENT = re.compile(r"^ *--.*\n", re.MULTILINE)  # which is a third of what each connection loads
_INCLUDE = re.compile(r"^( *)--@include (\w+)$", re.MULTILINE)


@dataclass(frozen=True)
class Script:
    """A script. `head` is the beginning of its EVALSHA command, after the number of parts."""

    name: str
    keys: tuple[str, ...]
    source: bytes
    digest: bytes
    head: bytes


Scripts = dict[str, Script]  # by name


def load(handed: Mapping[str, str]) -> Scripts:
    """All scripts by name. `handed` are further parts by name, which the caller generates from its rules."""
    parts = {**_texts("lua/parts"), **handed}
    return {name: _script(name, text, parts) for name, text in sorted(_texts("lua").items())}


def _whole(text: str, parts: Mapping[str, str], included: set[str]) -> str:
    """`text` with its includes resolved, except those that are `included` already."""

    def include(found: re.Match[str]) -> str:
        indent, name = found.groups()
        if name in included:
            return ""
        known = set(included) if indent else included
        known.add(name)
        return _whole(parts[name], parts, known)

    return _INCLUDE.sub(include, text)


def _script(name: str, text: str, parts: Mapping[str, str]) -> Script:
    declared = _KEYS.search(text)
    if declared is None:
        raise ValueError(f"{name}.lua names no keys")
    keys = tuple(declared[1].replace(",", " ").split())
    source = _COMMENT.sub("", _whole(text, parts, set())).encode()
    digest = sha1(source, usedforsecurity=False).hexdigest().encode()
    count = b"%d" % len(keys)
    head = b"$7\r\nEVALSHA\r\n$40\r\n%b\r\n$%d\r\n%b\r\n" % (digest, len(count), count)
    return Script(name, keys, source, digest, head)


def _texts(folder: str) -> dict[str, str]:
    found = files("presque.redis").joinpath(folder).iterdir()
    return {file.name[:-4]: file.read_text() for file in found if file.name.endswith(".lua")}
