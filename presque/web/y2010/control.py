"""The policy of a queue on the routes of 2010: `/control/<queue>`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from presque.web import params
from presque.web.answers import json

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.queues import Counts
    from presque.web.parts import Parts


class Control2010(Struct):
    """What a queue's policy is to be."""

    status: Literal["stop", "start"]


class Policy(Struct):
    """Whether a queue hands jobs out: "1" yes, "0" no."""

    queue: str
    status: Literal["0", "1"]


class PolicyChanged(Struct):
    """The policy is as wanted."""

    response: Literal["updated"]
    queue: str


def add(routes: Routes, parts: Parts) -> None:
    """Declare the routes."""

    @routes.at(
        "GET",
        "/control/<queue>",
        summary='The policy: "1" open, "0" stopped.',
        name="showPolicy",
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
        body=Control2010,
        answers={200: PolicyChanged},
    )
    def control(request: Request, queue: str) -> Deferred[bytes]:
        change = {"stop": parts.queues.pause, "start": parts.queues.resume}[params.status(request)]
        return change(queue).addCallback(lambda _: json(request, {"response": "updated", "queue": queue}))
