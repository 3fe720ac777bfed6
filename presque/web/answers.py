"""Answers: JSON in one piece, its type said. What an error looks like depends on the route alone."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from presque.http.request import JSON
from presque.web.v1.models import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from presque.http.request import Request

PROBLEM = b"application/problem+json"
MODERN = b"/v1/"  # errors below this path are problems, and at it
RETRY_AFTER = b"1"  # seconds

# Slug -> (its title, its status below /v1, what to do): the types of problems.
PROBLEMS = {
    "bad-request": ("Bad request", 400, "Correct the request: the detail names what is wrong with it."),
    "invalid-name": (
        "Invalid queue name",
        400,
        "Use 1 to 128 characters of A-Z a-z 0-9 . _ : @ - that begin with a letter, a digit or _.",
    ),
    "not-found": (
        "Not found",
        404,
        "Check the path, the id or the name; a job that was acknowledged or deleted is gone.",
    ),
    "lease-lost": (
        "Lease lost",
        409,
        "Stop working on the job: its lease has run out or it was settled, and it may be another worker's.",
    ),
    "duplicate": ("Duplicate job", 409, "Nothing: the job that is named as existing waits under this unique key."),
    "idempotency-mismatch": ("Idempotency key reused", 422, "Use a new Idempotency-Key for each new request."),
    "queue-full": ("Queue is full", 429, "Try again later, or raise the queue's max_length."),
    "too-large": ("Request too large", 413, "Send less at once: GET /v1 tells the limits."),
    "wrong-state": (
        "Wrong state",
        409,
        "Look at the job or the queue: its state does not allow this, as when the queue accepts no jobs.",
    ),
    "unauthorized": ("Authentication required", 401, "Send a valid token."),
    "forbidden": ("Forbidden", 403, "Use a token that allows this, and no other site's page."),
    "overloaded": (
        "Overloaded",
        503,
        "Try again after the seconds of Retry-After: a limit is reached, nothing was done.",
    ),
    "store-unavailable": ("Store not available", 503, "Try again after the seconds of Retry-After: nothing was done."),
    "store-outcome-unknown": (
        "Outcome unknown",
        503,
        "Repeat the request where that is safe: with the same Idempotency-Key or receipt it is done once.",
    ),
    "store-full": ("Store is full", 503, "Free memory or disk, or drain queues: nothing was done."),
    "draining": ("Daemon is stopping", 503, "Try again after the seconds of Retry-After: nothing was done."),
}
TITLES = {slug: title for slug, (title, _, _) in PROBLEMS.items()}
SLUGS = {400: "bad-request", 403: "forbidden", 404: "not-found", 413: "too-large"}

encode = msgspec.json.Encoder().encode


def answer(request: Request, status: int, body: bytes, content_type: bytes = JSON) -> bytes:
    """Set everything about the answer; the bytes returned are its body."""
    request.code = status
    request.content_type = content_type
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
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
