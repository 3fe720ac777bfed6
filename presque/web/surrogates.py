r"""Halves of surrogate pairs that are written alone as escapes (`"caf\udce9"`). They are JSON and ASCII, and msgspec
refuses them; so it is shown a text in which a mark stands for each one's `\u`.
"""

from __future__ import annotations

import re
from itertools import count
from typing import Any

import msgspec

_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|u([dD][89a-fA-F][\da-fA-F]{2})|.)", re.DOTALL
)


class Marked:
    """A body whose lone surrogates are marked: `text` is what msgspec reads. `found` says whether there are any."""

    def __init__(self, body: bytes) -> None:
        self._mark = next(mark for mark in (b"~%d!" % n for n in count()) if mark not in body)
        self._marked = re.compile(re.escape(self._mark.decode()) + "[0-9a-fA-F]{4}")
        self.text = _ESCAPE.sub(self._replace, body)
        self.found = self.text != body

    def _replace(self, escape: re.Match[bytes]) -> bytes:
        return self._mark + escape[1] if escape[1] else escape[0]

    def original(self, part: bytes | msgspec.Raw) -> bytes:
        """What stood in the body where `part` stands in the text."""
        return bytes(part).replace(self._mark, b"\\u")

    def has_any(self, text: str) -> bool:
        """Whether a text that was read has a lone surrogate."""
        return self._marked.search(text) is not None

    def replaced(self, text: str) -> str:
        """A text that was read, with U+FFFD for each lone surrogate."""
        return self._marked.sub("\ufffd", text)

    def restored(self, value: Any, replace: frozenset[str], name: str = "") -> Any:
        """A value that was read, its raw parts as they stood in the body. In fields named in `replace`
        U+FFFD stands for a lone surrogate. Raises ValueError with the name of another field that has one.
        """
        if isinstance(value, msgspec.Raw):
            return msgspec.Raw(self.original(value))
        if isinstance(value, str) and self.has_any(value):
            if name not in replace:
                raise ValueError(name)
            return self.replaced(value)
        if isinstance(value, list):
            return [self.restored(each, replace, name) for each in value]
        if isinstance(value, dict):
            return {self.restored(key, replace, key): self.restored(each, replace, key) for key, each in value.items()}
        if isinstance(value, msgspec.Struct):
            for field in value.__struct_fields__:
                setattr(value, field, self.restored(getattr(value, field), replace, field))
        return value
