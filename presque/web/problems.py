"""Errors as clients see them: the problems of `/v1` (RFC 9457) and their types, and the errors of 2010."""

from __future__ import annotations

from msgspec import Struct

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


class Problem(Struct, omit_defaults=True):
    """An error, as RFC 9457 has it. `existing` is the job that has a unique key already; `purged` and `moved` count
    what was done before the store went away.
    """

    type: str
    title: str
    status: int
    detail: str
    existing: str | None = None
    purged: int | None = None
    moved: int | None = None


class Error(Struct):
    """An error of the routes of 2010."""

    error: str
