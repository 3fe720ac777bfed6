"""`GET /metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presque.web.answers import answer

if TYPE_CHECKING:
    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.web.prometheus.exposition import Exposition

TEXT = b"text/plain; version=0.0.4; charset=utf-8"


def add(routes: Routes, exposition: Exposition) -> None:
    """Declare the route."""

    @routes.at(
        "GET", "/metrics", summary="All figures, for Prometheus.", name="getMetrics", answers={200: str}, scope="read:*"
    )
    async def metrics(request: Request) -> bytes:
        return answer(request, 200, await exposition.text(), TEXT)
