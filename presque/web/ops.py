"""What an operator asks: whether the process lives, and whether it can serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from presque.web.answers import UNAVAILABLE, json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from presque.http.request import Request
    from presque.http.routes import Routes

OK = "ok"


class Live(Struct):
    """The process runs."""

    live: bool


class Checks(Struct):
    """Each check is `ok`, or a sentence that says what is wrong and what to do about it. `store`: Redis answers;
    `writable`: it accepts writes; `memory`, `disk`: there is room; `scripts`: it runs our scripts; `mover`: due jobs
    become ready; `draining`: the process is not stopping.
    """

    store: str
    writable: str
    memory: str
    disk: str
    scripts: str
    mover: str
    draining: str


class Readiness(Struct):
    """Whether all checks are `ok`, as of at most 1 s ago."""

    ready: bool
    checks: Checks


def add(routes: Routes, checks: Callable[[], Mapping[str, str]]) -> None:
    """Declare the routes."""

    @routes.at(
        "GET",
        "/health/live",
        summary="Whether the process runs.",
        name="getLiveness",
        answers={200: Live},
    )
    def live(request: Request) -> bytes:
        return json(request, Live(True))

    @routes.at(
        "GET",
        "/health/ready",
        summary="Whether this process can serve, and if not, why.",
        name="getReadiness",
        answers={200: Readiness, 503: Readiness},
    )
    def ready(request: Request) -> bytes:
        found = checks()
        is_ready = all(why == OK for why in found.values())
        return json(request, Readiness(is_ready, Checks(**found)), 200 if is_ready else UNAVAILABLE)
