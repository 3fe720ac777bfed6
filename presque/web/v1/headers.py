"""The headers of a job: what its producer adds to the payload, and the trace to which the insertion belongs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from presque.web import limits
from presque.web.bad_request import BadRequest
from presque.web.parameters import TRACEPARENT

if TYPE_CHECKING:
    from presque.http.request import Request

_TRACEPARENT = TRACEPARENT.encode()
_NAME = re.compile(r"[A-Za-z0-9._-]+")  # so that each name can be the name of an HTTP header
_TRACE = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context, version 00


def check(headers: dict[str, str]) -> None:
    """Raise BadRequest unless these can be the headers of a job."""
    for name in headers:
        if not _NAME.fullmatch(name):
            raise BadRequest(f"headers must have names of A-Z a-z 0-9 . _ -, not {name[:100]!r}")
    if _size(headers) > limits.HEADER_BYTES:
        raise BadRequest(f"headers must have at most {limits.HEADER_BYTES} bytes, names and values together")


def trace(request: Request) -> str:
    """The request's header `traceparent`, or "" if it has none, an invalid one, or several."""
    value = request.headers.get(_TRACEPARENT)
    if value is None or len(request.values(_TRACEPARENT)) > 1 or not _TRACE.fullmatch(value):
        return ""
    return value.decode()


def with_trace(headers: dict[str, str] | None, traceparent: str) -> dict[str, str] | None:
    """The headers with `traceparent` among them, unless they have one of their own or no room is left."""
    if any(name.lower() == TRACEPARENT for name in headers or ()):
        return headers
    both = {**(headers or {}), TRACEPARENT: traceparent}
    return headers if len(both) > limits.HEADERS or _size(both) > limits.HEADER_BYTES else both


def _size(headers: dict[str, str]) -> int:
    return sum(len(name.encode()) + len(value.encode()) for name, value in headers.items())
