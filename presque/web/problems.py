"""Errors as clients see them: the problems of `/v1` (RFC 9457) and their types, and the errors of the 2010 routes."""

from __future__ import annotations

from msgspec import Struct

# The types of problems: slug -> (title, status below /v1, remedy).
PROBLEMS = {
    "bad-request": ("Bad request", 400, "Correct the request: the detail says what is wrong."),
    "invalid-name": (
        "Invalid queue name",
        400,
        "Use 1 to 128 characters of A-Z a-z 0-9 . _ : @ - that begin with a letter, a digit or _.",
    ),
    "not-found": (
        "Not found",
        404,
        "Check the path, id or name; an acknowledged or deleted job is gone.",
    ),
    "lease-lost": (
        "Lease lost",
        409,
        "Stop working on the job: its lease has run out or it was settled, and another worker may have it.",
    ),
    "duplicate": ("Duplicate job", 409, "Nothing to do: the existing job waits with this unique key."),
    "idempotency-mismatch": ("Idempotency key reused", 422, "Use a new Idempotency-Key for each new request."),
    "queue-full": ("Queue is full", 429, "Try again later, or raise the queue's max_length or max_bytes."),
    "too-large": ("Request too large", 413, "Send less at once: GET /v1 lists the limits."),
    "wrong-state": (
        "Wrong state",
        409,
        "Check the job, queue or schedule: its state does not allow this; for example, the queue accepts no jobs.",
    ),
    "unauthorized": ("Authentication required", 401, "Send a valid token."),
    "forbidden": ("Forbidden", 403, "Use a token that allows this, and not another site's page."),
    "overloaded": (
        "Overloaded",
        503,
        "Try again after Retry-After seconds: a limit is reached, nothing was done.",
    ),
    "store-unavailable": ("Store not available", 503, "Try again after Retry-After seconds: nothing was done."),
    "store-outcome-unknown": (
        "Outcome unknown",
        503,
        "Repeat the request if that is safe: with the same Idempotency-Key or receipt it is done once.",
    ),
    "store-full": ("Store is full", 503, "Free memory or disk, or drain queues: nothing was done."),
    "draining": ("Daemon is stopping", 503, "Try again after Retry-After seconds: nothing was done."),
}
TITLES = {slug: title for slug, (title, _, _) in PROBLEMS.items()}
SLUGS = {
    400: "bad-request",
    401: "unauthorized",
    403: "forbidden",
    404: "not-found",
    413: "too-large",
    429: "overloaded",
    431: "too-large",
    503: "overloaded",
}


class Problem(Struct, omit_defaults=True):
    """An error as in RFC 9457. `existing` is the job that has the unique key already; `purged` and `moved` count the
    jobs done before the store went away. `request_id` is that of the request, as in the log.
    """

    type: str
    title: str
    status: int
    detail: str
    existing: str | None = None
    purged: int | None = None
    moved: int | None = None
    request_id: str | None = None


class Error(Struct):
    """An error of the 2010 routes."""

    error: str
