"""The parts that routes call."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from presque.http.deliveries import Deliveries
    from presque.jobs.consumers import Consumers
    from presque.jobs.diagnosis import Diagnosis
    from presque.jobs.history import History
    from presque.jobs.jobs import Jobs
    from presque.jobs.leases import Leases
    from presque.jobs.queue_list import QueueList
    from presque.jobs.queues import Queues
    from presque.jobs.schedules import Schedules
    from presque.jobs.waiters import Waiters
    from presque.jobs.workers import Workers
    from presque.web.system import System


class Parts(NamedTuple):
    """The parts that routes call, the maximum size of a body in bytes, and what operators ask."""

    queues: Queues
    queue_list: QueueList
    jobs: Jobs
    leases: Leases
    workers: Workers
    schedules: Schedules
    waiting: Waiters
    deliveries: Deliveries
    max_body: int
    consumers: Consumers
    diagnosis: Diagnosis
    history: History
    system: System
