"""What the interface says about itself: `GET /v1`, and the types of its problems."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from presque import __version__
from presque.http.routes import ANY
from presque.web import limits, params
from presque.web.answers import error, json
from presque.web.problems import PROBLEMS

if TYPE_CHECKING:
    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.leases import Leases

FEATURES = [
    "accepting",
    "changes",
    "counters",
    "exact-pages",
    "expiry",
    "extensions",
    "final",
    "headers",
    "idempotent-insertions",
    "idempotent-reservations",
    "match",
    "priority",
    "repeatable-settlements",
    "results-per-item",
    "run-now",
    "schedules",
    "why",
]


class Limits(Struct):
    """Limits of a request: bytes of a `body`; `jobs` inserted, settled or extended; jobs of a `reservation`, and its
    `queues`; seconds of a `wait` and of a `lease`; `headers` of a job.
    """

    body: int
    jobs: int
    reservation: int
    queues: int
    wait: float
    lease: float
    headers: int


class About(Struct):
    """The version, the time (epoch seconds) by the Redis clock, the limits and the features."""

    version: str
    now: float
    limits: Limits
    features: list[str]


class ProblemType(Struct):
    """A type of problem: its title, status and remedy."""

    type: str
    title: str
    status: int
    detail: str


def add(routes: Routes, leases: Leases, max_body: int) -> None:
    """Declare the routes."""

    @routes.at(
        "GET",
        "/v1",
        summary="The version, the time by which leases run out, the limits and the features.",
        name="about",
        scope=ANY,
        answers={200: About},
    )
    def about(request: Request) -> bytes:
        largest = Limits(
            body=max_body,
            jobs=limits.JOBS,
            reservation=limits.RESERVATION,
            queues=limits.QUEUES,
            wait=params.LONGEST_WAIT,
            lease=limits.LEASE,
            headers=limits.HEADERS,
        )
        return json(request, About(__version__, round(leases.now(), 3), largest, FEATURES))

    @routes.at(
        "GET",
        "/problems/<slug>",
        summary="The meaning of a type of problem, and its remedy.",
        name="explainProblem",
        scope=ANY,
        answers={200: ProblemType},
        refuses=(404,),
    )
    def problem(request: Request, slug: str) -> bytes:
        if slug not in PROBLEMS:
            return error(request, 404, "not found")
        title, status, advice = PROBLEMS[slug]
        return json(request, ProblemType(f"/problems/{slug}", title, status, advice))
