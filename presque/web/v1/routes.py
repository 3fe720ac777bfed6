"""The routes of `/v1`: at-least-once, with leases. Errors are problems (RFC 9457). A module a noun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presque.web.v1 import about as v1_about
from presque.web.v1 import jobs as v1_jobs
from presque.web.v1 import leases as v1_leases
from presque.web.v1 import queues as v1_queues
from presque.web.v1 import settlements as v1_settlements

if TYPE_CHECKING:
    from presque.http.deliveries import Deliveries
    from presque.http.routes import Routes
    from presque.jobs.leases import Leases
    from presque.jobs.queues import Queues
    from presque.jobs.waiters import Waiters


def add(
    routes: Routes, queues: Queues, leases: Leases, waiting: Waiters, deliveries: Deliveries, max_body: int
) -> None:
    """Declare the routes of `/v1`."""
    v1_about.add(routes, leases, max_body)
    v1_jobs.add(routes, queues, leases)
    v1_leases.add(routes, leases, waiting, deliveries)
    v1_settlements.add(routes, leases)
    v1_queues.add(routes, queues)
