"""`GET /v1/queues/<queue>/scale`: what autoscalers read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from presque.jobs.scale import scale
from presque.web import params
from presque.web.answers import json

if TYPE_CHECKING:
    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.figures import QueuesFigures
    from presque.web.all_processes import AllProcesses


class ScaleView(Struct):
    """The ready and leased jobs, consumers that wait, the age of the oldest ready job, the seconds in which the ready
    jobs are done by the consumers that there are, and how many workers do them within the target.
    """

    ready: int
    leased: int
    waiting: int
    oldest_ready_age: float
    drain_seconds: float
    desired_workers: int


def add(routes: Routes, figures: QueuesFigures, processes: AllProcesses) -> None:
    """Declare the route."""

    @routes.at(
        "GET",
        "/v1/queues/<queue>/scale",
        summary="How many workers a queue needs; zeros if it does not exist.",
        name="scaleQueue",
        answers={200: ScaleView},
        query=("target",),
        scope="read",
    )
    async def show(request: Request, queue: str) -> bytes:
        target = params.target(request)
        found = await figures.of(queue)
        return json(request, ScaleView(*scale(found, processes.waiting(queue), target)))
