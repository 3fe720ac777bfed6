"""The 2010 routes, which existing producers and workers use: `/q /qb /status /j /control /w`.
One module per noun.

docs/http-2010.md specifies their answers, to the byte. They parse, call and answer; the rules of queues are in
`presque.jobs.queues`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from presque.web.y2010 import batches, control, jobs, nameless, status, workers

if TYPE_CHECKING:
    from presque.http.routes import Routes
    from presque.web.parts import Parts


def add(routes: Routes, parts: Parts) -> None:
    """Declare the 2010 routes."""
    jobs.add(routes, parts)
    batches.add(routes, parts)
    status.add(routes, parts)
    control.add(routes, parts)
    workers.add(routes, parts)
    nameless.add(routes)
