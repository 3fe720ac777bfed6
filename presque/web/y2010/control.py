"""The policy of a queue on the 2010 routes: `/control/<queue>`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Raw, Struct

from presque.web.answers import json
from presque.web.bad_request import BadRequest
from presque.web.bodies import decode

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.queues import Counts
    from presque.web.parts import Parts


class Control2010(Struct):
    """The requested policy of a queue."""

    status: Literal["stop", "start"]


class Policy(Struct):
    """Whether a queue hands jobs out: "1" yes, "0" no."""

    queue: str
    status: Literal["0", "1"]


class PolicyChanged(Struct):
    """The policy is as requested."""

    response: Literal["updated"]
    queue: str


def add(routes: Routes, parts: Parts) -> None:
    """Declare the routes."""

    @routes.at(
        "GET",
        "/control/<queue>",
        summary='Show the policy: "1" open, "0" stopped.',
        name="showPolicy",
        scope="read",
        answers={200: Policy},
    )
    def policy(request: Request, queue: str) -> Deferred[bytes]:

        def compose(counts: Counts) -> bytes:
            return json(request, {"queue": queue, "status": "0" if counts.paused else "1"})

        return parts.queues.counts(queue).addCallback(compose)

    @routes.at(
        "POST",
        "/control/<queue>",
        summary="Stop or start a queue.",
        name="setPolicy",
        scope="manage",
        body=Control2010,
        answers={200: PolicyChanged},
    )
    def control(request: Request, queue: str) -> Deferred[bytes]:
        change = {"stop": parts.queues.pause, "start": parts.queues.resume}[_wanted(request.body)]
        return change(queue).addCallback(lambda _: json(request, {"response": "updated", "queue": queue}))


def _wanted(body: bytes) -> str:
    """The status that the body `{"status":"stop"}` or `{"status":"start"}` requests: `stop` or `start`."""
    if not body:
        raise BadRequest("content is missing")
    try:
        status = bytes(decode(body, dict[str, Raw], by_msgspec=True).get("status", b""))
        if status[:1] == b'"':
            status = decode(status, str, by_msgspec=True).encode()
    except BadRequest:
        status = body
    if status not in (b"stop", b"start"):
        raise BadRequest(f"invalid status {status[:100].decode(errors='replace')}")
    return status.decode()
