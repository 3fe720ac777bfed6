"""How many workers a queue needs, for what starts and stops them."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from presque.jobs.figures import QueueFigures

USUAL_RUN = 1.0  # seconds that a job is taken to run while none has been acknowledged under a lease


class Scale(NamedTuple):
    """What a queue needs. `drain_seconds` is how long its ready jobs take with the consumers that it has, or with one;
    `desired_workers` how many run its jobs within the target. Zeros for a queue that does not exist.
    """

    ready: int
    leased: int
    waiting: int
    oldest_ready_age: float
    drain_seconds: float
    desired_workers: int


def scale(found: QueueFigures, waiting: int, target: float) -> Scale:
    """What a queue needs on which so many consumers wait, to run its jobs in `target` seconds. A stopped one hands
    nothing out, so it needs only those workers that have jobs.
    """
    runs = found.times("run")
    each = runs.total / runs.count if runs.count else USUAL_RUN
    drain = found.ready * each / max(1, found.leased + waiting)
    to_run = found.leased if found.paused else found.leased + found.ready
    desired = max(1, ceil(to_run * each / target)) if to_run else 0
    return Scale(found.ready, found.leased, waiting, found.oldest, round(drain, 3), desired)
