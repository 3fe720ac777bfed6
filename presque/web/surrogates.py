r"""JSON with lone surrogates: escapes such as `\udce9`, which Python writes for a file name that is not UTF-8.

RFC 8259 allows them, msgspec refuses them. So they are decoded as U+FFFD, whose escape has the same length. Values that
must come back byte for byte are `msgspec.Raw`, views of the decoded buffer, in which the original bytes are restored.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import msgspec

T = TypeVar("T")

_PERHAPS = re.compile(rb"\\u[dD][89a-fA-F]")
# A pair, a lone surrogate, or any other escape, which is matched so that the search continues after it.
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)
_REPLACEMENT = rb"\ufffd"


def has_lone(content: bytes) -> bool:
    """Whether JSON contains a lone surrogate."""
    return bool(_PERHAPS.search(content)) and any(found["lone"] for found in _ESCAPE.finditer(content))


def decode(content: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode JSON that contains lone surrogates. Raises what msgspec raises."""
    buffer = bytearray(_ESCAPE.sub(lambda found: _REPLACEMENT if found["lone"] else found[0], content))
    decoded = decoder.decode(buffer)
    buffer[:] = content
    return decoded
