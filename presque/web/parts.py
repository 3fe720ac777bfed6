"""The parts that routes call."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from presque.http.deliveries import Deliveries
    from presque.jobs.jobs import Jobs
    from presque.jobs.leases import Leases
    from presque.jobs.queue_list import QueueList
    from presque.jobs.queues import Queues
    from presque.jobs.schedules import Schedules
    from presque.jobs.waiters import Waiters
    from presque.jobs.workers import Workers


class Parts(NamedTuple):
    """The parts that routes call, the maximum size of a body in bytes, and the checks of readiness by name."""

    queues: Queues
    queue_list: QueueList
    jobs: Jobs
    leases: Leases
    workers: Workers
    schedules: Schedules
    waiting: Waiters
    deliveries: Deliveries
    max_body: int
    checks: Callable[[], Mapping[str, str]]
