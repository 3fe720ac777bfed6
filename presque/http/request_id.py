"""The id of a request, by which its answer, its lines in the log and its problem are found: the client's or ours."""

from __future__ import annotations

import os
import re
from itertools import count

HEADER = b"x-request-id"
FIELD = b"X-Request-Id: %b\r\n"

_SANE = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")
_OURS = os.urandom(6).hex().encode()
_numbers = count(1)


def request_id(said: bytes | None) -> bytes:
    """What the client `said`, if that can stand in a header and in a log; else an id of our own."""
    if said is not None and _SANE.fullmatch(said):
        return said
    return b"%b-%08x" % (_OURS, next(_numbers))
