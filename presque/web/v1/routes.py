"""The routes of `/v1`: at-least-once, with leases. Errors are problems (RFC 9457). A module a noun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presque.web.v1 import about as v1_about
from presque.web.v1 import jobs as v1_jobs
from presque.web.v1 import leases as v1_leases
from presque.web.v1 import queues as v1_queues
from presque.web.v1 import settlements as v1_settlements

if TYPE_CHECKING:
    from presque.http.deliveries import Handoff
    from presque.http.routes import Routes
    from presque.jobs.leases import Leases
    from presque.jobs.queues import Queues
    from presque.jobs.waiters import Waiting


def add(routes: Routes, queues: Queues, leases: Leases, waiting: Waiting, handoff: Handoff, max_body: int) -> None:
    """Declare the routes of `/v1`."""
    v1_about.add(routes, leases, max_body)
    v1_jobs.add(routes, queues, leases)
    v1_leases.add(routes, leases, waiting, handoff)
    v1_settlements.add(routes, leases)
    v1_queues.add(routes, queues)
