"""Answers: JSON in one piece, with its content type. The form of an error depends only on the route."""

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
MODERN = b"/v1/"  # errors at and below this path are problems
RETRY_AFTER = b"1"  # seconds
UNAVAILABLE = HTTPStatus.SERVICE_UNAVAILABLE.value  # looking up a status in its enumeration takes a microsecond

encode = msgspec.json.Encoder().encode


def answer(request: Request, status: int, body: bytes, content_type: bytes = JSON) -> bytes:
    """Set the status and headers of the answer. Returns its body."""
    request.code = status
    request.content_type = content_type
    if status == UNAVAILABLE:
        request.set_header(b"Retry-After", RETRY_AFTER)
    return body


def joined(pieces: Iterable[bytes]) -> bytes:
    """Join pieces of a JSON list, leaving out empty ones."""
    return b",".join(filter(None, pieces))


def missing_partitions(partitions: Iterable[int]) -> bytes:
    """The last member of a list over all partitions: those that did not answer. Empty if all did."""
    missing = sorted(set(partitions))
    return b',"missing_partitions":%b' % encode(missing) if missing else b""


def json(request: Request, value: Any, status: int = 200) -> bytes:
    """`value` as compact JSON, with its keys in order."""
    return answer(request, status, encode(value))


def is_modern(path: bytes) -> bool:
    """Whether errors at this path are problems."""
    return path.startswith(MODERN) or path == MODERN[:-1]


def error(request: Request, status: int, message: str, slug: str = "", **members: Any) -> bytes:
    """An error answer; below /v1 a problem of type `slug`, or of the type of its status, with further `members`."""
    its_id = request.id if is_modern(request.path) else b""
    body, content_type = error_body(request.path, status, message, its_id, slug, **members)
    return answer(request, status, body, content_type)


def error_body(
    path: bytes, status: int, message: str, request_id: bytes, slug: str = "", **members: Any
) -> tuple[bytes, bytes]:
    """The body of an error answer, and its content type."""
    if not is_modern(path):
        return encode({"error": message}), JSON
    slug = slug or SLUGS.get(status, "")
    title = TITLES[slug] if slug else HTTPStatus(status).phrase
    kind = f"/problems/{slug}" if slug else "about:blank"
    problem = Problem(kind, title, status, message, request_id=request_id.decode(), **members)
    return encode(problem), PROBLEM
