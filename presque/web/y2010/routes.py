"""The routes of 2010, which existing producers and workers use: `/q /qb /status /j /control /w`. A module a noun.

docs/http-2010.md says what each of them answers, to the byte. They parse, call and answer; the rules of queues
are in `presque.jobs.queues`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from presque.web.y2010 import batches, control, jobs, nameless, status, workers

if TYPE_CHECKING:
    from presque.http.routes import Routes
    from presque.web.parts import Parts


def add(routes: Routes, parts: Parts) -> None:
    """Declare the routes of 2010."""
    jobs.add(routes, parts)
    batches.add(routes, parts)
    status.add(routes, parts)
    control.add(routes, parts)
    workers.add(routes, parts)
    nameless.add(routes)
