"""Answers: JSON in one piece, its type said. What an error looks like depends on the route alone."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from presque.web.models import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from presque.web.site import Request

JSON = b"application/json"
PROBLEM = b"application/problem+json"
MODERN = b"/v1/"  # errors below this path are problems
RETRY_AFTER = b"1"  # seconds

TITLES = {
    "bad-request": "Bad request",
    "invalid-name": "Invalid queue name",
    "not-found": "Not found",
    "lease-lost": "Lease lost",
    "duplicate": "Duplicate job",
    "idempotency-mismatch": "Idempotency key reused",
    "queue-full": "Queue is full",
    "too-large": "Request too large",
    "wrong-state": "Wrong state",
    "unauthorized": "Authentication required",
    "forbidden": "Forbidden",
    "store-unavailable": "Store not available",
    "store-outcome-unknown": "Outcome unknown",
    "store-full": "Store is full",
    "draining": "Daemon is stopping",
}
SLUGS = {400: "bad-request", 403: "forbidden", 404: "not-found", 413: "too-large"}

encode = msgspec.json.Encoder().encode


def answer(request: Request, status: int, body: bytes, content_type: bytes = JSON) -> bytes:
    """Set everything about the answer; the bytes returned are its body."""
    request.code = status
    request.content_type = content_type
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        request.setHeader(b"Retry-After", RETRY_AFTER)
    return body


def joined(pieces: Iterable[bytes]) -> bytes:
    """Pieces of a JSON list, the empty ones left out."""
    return b",".join(filter(None, pieces))


def json(request: Request, value: Any, status: int = 200) -> bytes:
    """`value` as JSON, compact, its keys in their order."""
    return answer(request, status, encode(value))


def error(request: Request, status: int, message: str, slug: str = "", existing: str | None = None) -> bytes:
    """A refusal; below /v1 a problem, named by `slug` or else by its status."""
    body, content_type = error_body(request.path, status, message, slug, existing)
    return answer(request, status, body, content_type)


def error_body(
    path: bytes, status: int, message: str, slug: str = "", existing: str | None = None
) -> tuple[bytes, bytes]:
    """The body of a refusal, and its type."""
    if not path.startswith(MODERN):
        return encode({"error": message}), JSON
    slug = slug or SLUGS.get(status, "")
    title = TITLES[slug] if slug else HTTPStatus(status).phrase
    return encode(Problem(f"/problems/{slug}" if slug else "about:blank", title, status, message, existing)), PROBLEM


def raw_answer(status: int, body: bytes, content_type: bytes) -> bytes:
    """A whole answer, for what never became a request."""
    head = b"HTTP/1.1 %d %b\r\nServer: presque\r\nContent-Type: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    return head % (status, HTTPStatus(status).phrase.encode(), content_type, len(body)) + body
