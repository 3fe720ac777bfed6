"""Answers: JSON in one piece, its type said. What an error looks like depends on the route alone."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from presque.http.request import JSON
from presque.web.problems import SLUGS, TITLES, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from presque.http.request import Request

PROBLEM = b"application/problem+json"
MODERN = b"/v1/"  # errors below this path are problems, and at it
RETRY_AFTER = b"1"  # seconds
UNAVAILABLE = HTTPStatus.SERVICE_UNAVAILABLE.value  # looking a status up in its enumeration takes a microsecond

encode = msgspec.json.Encoder().encode


def answer(request: Request, status: int, body: bytes, content_type: bytes = JSON) -> bytes:
    """Set everything about the answer; the bytes returned are its body."""
    request.code = status
    request.content_type = content_type
    if status == UNAVAILABLE:
        request.set_header(b"Retry-After", RETRY_AFTER)
    return body


def joined(pieces: Iterable[bytes]) -> bytes:
    """Pieces of a JSON list, the empty ones left out."""
    return b",".join(filter(None, pieces))


def missing_partitions(partitions: Iterable[int]) -> bytes:
    """The last member of an object that lists what all partitions know: which gave no answer. Nothing if all did."""
    missing = sorted(set(partitions))
    return b',"missing_partitions":%b' % encode(missing) if missing else b""


def json(request: Request, value: Any, status: int = 200) -> bytes:
    """`value` as JSON, compact, its keys in their order."""
    return answer(request, status, encode(value))


def is_modern(path: bytes) -> bool:
    """Whether errors are problems there."""
    return path.startswith(MODERN) or path == MODERN[:-1]


def error(request: Request, status: int, message: str, slug: str = "", **members: Any) -> bytes:
    """A refusal; below /v1 a problem, named by `slug` or else by its status, with further `members`."""
    body, content_type = error_body(request.path, status, message, slug, **members)
    return answer(request, status, body, content_type)


def error_body(path: bytes, status: int, message: str, slug: str = "", **members: Any) -> tuple[bytes, bytes]:
    """The body of a refusal, and its type."""
    if not is_modern(path):
        return encode({"error": message}), JSON
    slug = slug or SLUGS.get(status, "")
    title = TITLES[slug] if slug else HTTPStatus(status).phrase
    problem = Problem(f"/problems/{slug}" if slug else "about:blank", title, status, message, **members)
    return encode(problem), PROBLEM
