"""The parts that routes call."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from presque.http.deliveries import Deliveries
    from presque.jobs.consumers import Consumers
    from presque.jobs.diagnosis import Diagnosis
    from presque.jobs.figures import QueuesFigures
    from presque.jobs.history import History
    from presque.jobs.jobs import Jobs
    from presque.jobs.leases import Leases
    from presque.jobs.queue_list import QueueList
    from presque.jobs.queues import Queues
    from presque.jobs.schedules import Schedules
    from presque.jobs.waiters import Waiters
    from presque.jobs.workers import Workers
    from presque.web.all_processes import AllProcesses
    from presque.web.prometheus.exposition import Exposition
    from presque.web.system import System


class Parts(NamedTuple):
    """The parts that routes call, the maximum size of a body in bytes, the checks of readiness by name, what tells the
    figures, and what operators ask.
    """

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
    figures: QueuesFigures
    processes: AllProcesses
    exposition: Exposition
    consumers: Consumers
    diagnosis: Diagnosis
    history: History
    system: System
