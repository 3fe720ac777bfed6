"""What the interface says of itself: `GET /v1`, and the types of its problems."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presque import __version__
from presque.web import limits, params
from presque.web.answers import PROBLEMS, error, json
from presque.web.v1 import models

if TYPE_CHECKING:
    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.leases import Leases

FEATURES = [
    "accepting",
    "extensions",
    "final",
    "idempotent-insertions",
    "idempotent-reservations",
    "repeatable-settlements",
    "results-per-item",
]


def add(routes: Routes, leases: Leases, max_body: int) -> None:
    """Declare the routes."""

    @routes.at(
        "GET",
        "/v1",
        summary="The version, the time by which leases run out, the limits and the features.",
        name="about",
        answers={200: models.About},
    )
    def about(request: Request) -> bytes:
        largest = models.Limits(
            body=max_body,
            jobs=limits.JOBS,
            reservation=limits.RESERVATION,
            queues=limits.QUEUES,
            wait=params.LONGEST_WAIT,
            lease=limits.LEASE,
            headers=limits.HEADERS,
        )
        return json(request, models.About(__version__, round(leases.now(), 3), largest, FEATURES))

    @routes.at(
        "GET",
        "/problems/<slug>",
        summary="What a type of problem means, and what to do.",
        name="explainProblem",
        answers={200: models.ProblemType},
        refuses=(404,),
    )
    def problem(request: Request, slug: str) -> bytes:
        if slug not in PROBLEMS:
            return error(request, 404, "not found")
        title, status, advice = PROBLEMS[slug]
        return json(request, models.ProblemType(f"/problems/{slug}", title, status, advice))
