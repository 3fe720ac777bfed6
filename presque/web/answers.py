"""Answers: JSON in one piece, its length and type said. What an error looks like depends on the route alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from twisted.web.http import RESPONSES, SERVICE_UNAVAILABLE

if TYPE_CHECKING:
    from twisted.web.http import Request

JSON = b"application/json"
RETRY_AFTER = b"1"  # seconds

encode = msgspec.json.Encoder().encode


def answer(request: Request, status: int, body: bytes, content_type: bytes = JSON) -> bytes:
    """Set everything about the answer; the bytes returned are its body."""
    request.setResponseCode(status)
    headers = request.responseHeaders
    headers.setRawHeaders(b"Content-Type", [content_type])
    if status != 204:
        headers.setRawHeaders(b"Content-Length", [b"%d" % len(body)])
    if status == SERVICE_UNAVAILABLE:
        headers.setRawHeaders(b"Retry-After", [RETRY_AFTER])
    return body


def json(request: Request, value: Any, status: int = 200) -> bytes:
    """`value` as JSON, compact, its keys in their order."""
    return answer(request, status, encode(value))


def error(request: Request, status: int, message: str) -> bytes:
    """A refusal."""
    return answer(request, status, error_body(status, message))


def error_body(status: int, message: str) -> bytes:
    """The body of a refusal."""
    return encode({"error": message})


def raw_answer(status: int, body: bytes) -> bytes:
    """A whole answer, for what never became a request."""
    head = b"HTTP/1.1 %d %b\r\nServer: presque\r\nContent-Type: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    return head % (status, RESPONSES[status], JSON, len(body)) + body
