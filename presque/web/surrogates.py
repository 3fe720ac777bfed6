r"""JSON with lone surrogates: escapes such as `\udce9`, which are what Python makes of a file name that is no UTF-8.

RFC 8259 allows them, msgspec refuses them. So they are decoded as U+FFFD, whose escape is as long; and what is to come
back byte for byte, the `msgspec.Raw`s, has them still, because those are views of the buffer that was decoded.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

_PERHAPS = re.compile(rb"\\u[dD][89a-fA-F]")
# A pair, a lone surrogate, or any other escape, which is passed over so that none is looked for within it.
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)
_REPLACEMENT = rb"\ufffd"


def has_lone(content: bytes) -> bool:
    """Whether JSON has a lone surrogate in it."""
    return bool(_PERHAPS.search(content)) and any(found["lone"] for found in _ESCAPE.finditer(content))


def decode(content: bytes, kind: Any) -> Any:
    """Decode JSON as msgspec does, lone surrogates as U+FFFD. Fails as msgspec does."""
    if not has_lone(content):
        return msgspec.json.decode(content, type=kind)
    buffer = bytearray(_ESCAPE.sub(lambda found: _REPLACEMENT if found["lone"] else found[0], content))
    decoded = msgspec.json.decode(buffer, type=kind)
    buffer[:] = content
    return decoded
