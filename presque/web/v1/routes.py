"""The routes of `/v1`: at-least-once, with leases. Errors are problems (RFC 9457). One module per noun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presque.web.v1 import about as v1_about
from presque.web.v1 import diagnosis as v1_diagnosis
from presque.web.v1 import history as v1_history
from presque.web.v1 import insertion as v1_insertion
from presque.web.v1 import jobs as v1_jobs
from presque.web.v1 import leases as v1_leases
from presque.web.v1 import me as v1_me
from presque.web.v1 import queues as v1_queues
from presque.web.v1 import scale as v1_scale
from presque.web.v1 import schedules as v1_schedules
from presque.web.v1 import settlements as v1_settlements
from presque.web.v1 import system as v1_system
from presque.web.v1 import workers as v1_workers

if TYPE_CHECKING:
    from presque.http.routes import Routes
    from presque.web.parts import Parts


def add(routes: Routes, parts: Parts) -> None:
    """Declare the routes of `/v1`."""
    v1_about.add(routes, parts.leases, parts.max_body)
    v1_me.add(routes)
    v1_insertion.add(routes, parts.queues)
    v1_jobs.add(routes, parts.jobs)
    v1_leases.add(routes, parts.leases, parts.waiting, parts.deliveries)
    v1_settlements.add(routes, parts.leases)
    v1_queues.add(routes, parts.queues, parts.queue_list, parts.jobs)
    v1_scale.add(routes, parts.figures, parts.processes)
    v1_schedules.add(routes, parts.schedules)
    v1_diagnosis.add(routes, parts.diagnosis)
    v1_history.add(routes, parts.history)
    v1_workers.add(routes, parts.consumers, parts.waiting)
    v1_system.add(routes, parts.queue_list, parts.system)
