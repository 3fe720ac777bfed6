"""The routes of `/v1`: at-least-once, with leases. Errors are problems (RFC 9457). A module a noun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presque.web import v1_about, v1_jobs, v1_leases, v1_queues, v1_settlements

if TYPE_CHECKING:
    from presque.leases import Leases
    from presque.queues import Queues
    from presque.waiting import Waiting
    from presque.web.handoff import Handoff
    from presque.web.routing import Routes


def add(routes: Routes, queues: Queues, leases: Leases, waiting: Waiting, handoff: Handoff) -> None:
    """Declare the routes of `/v1`."""
    v1_about.add(routes, leases)
    v1_jobs.add(routes, queues, leases)
    v1_leases.add(routes, leases, waiting, handoff)
    v1_settlements.add(routes, leases)
    v1_queues.add(routes, queues)
