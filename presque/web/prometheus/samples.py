"""Figures as samples: rows of a metric's name with its suffix, its labels, and a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from presque import metrics
from presque.jobs import counters
from presque.web.prometheus.families import PROCESS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from presque.jobs.figures import QueueFigures, StoreFigures, Times
    from presque.jobs.store_facts import StoreFacts
    from presque.metrics import Figures

Sample = tuple[str, dict[str, str], float]
Samples = dict[str, list[Sample]]  # by the name of the metric

OTHER = "(other)"  # no queue can have this name
REFUSALS = ("full", "closed", "duplicate")


class Collected:
    """The samples of all metrics."""

    def __init__(self) -> None:
        self.samples: Samples = {}

    def add(self, name: str, value: float, suffix: str = "", **labels: str) -> None:
        """Add a sample."""
        self.samples.setdefault(name, []).append((name + suffix, labels, value))

    def add_queue(self, queue: str, found: QueueFigures, waiting: int) -> None:
        """Add what is known of a queue."""
        counted = found.counters
        for state in ("ready", "delayed", "leased", "dead"):
            self.add("presque_queue_jobs", getattr(found, state), queue=queue, state=state)
        self.add("presque_queue_oldest_ready_age_seconds", found.oldest, queue=queue)
        self.add("presque_queue_paused", found.paused, queue=queue)
        self.add("presque_queue_waiting_consumers", waiting, queue=queue)
        for name in ("inserted", "delivered", "acked", "released", "died", "expired", "deleted"):
            self.add(f"presque_queue_{name}_total", counted[name], queue=queue)
        for reason, count in failures(counted).items():
            self.add("presque_queue_failed_total", count, queue=queue, reason=reason)
        self.add("presque_queue_lease_expired_total", counted["failed_lease"], queue=queue)
        for reason in REFUSALS:
            if count := counted[f"refused_{reason}"]:
                self.add("presque_queue_refused_total", count, queue=queue, reason=reason)
        for name in ("wait", "run"):
            times = found.times(name)
            self.add(f"presque_queue_{name}_seconds", times.total, "_sum", queue=queue)
            self.add(f"presque_queue_{name}_seconds", times.count, "_count", queue=queue)

    def add_store(self, facts: StoreFacts, found: StoreFigures) -> None:
        """Add what is known of the store."""
        self.add("presque_store_writable", facts.is_writable)
        self.add("presque_store_memory_bytes", facts.memory)
        self.add("presque_store_memory_limit_bytes", facts.memory_limit)
        self.add("presque_store_aof_delayed_fsync_total", facts.delayed_fsyncs)
        self.add("presque_store_queues", len(found.named) + found.others.queues)
        self.add("presque_store_unlabelled_queues", found.others.queues)
        for name, times in (("wait", found.wait), ("run", found.run)):
            self._add_histogram(f"presque_store_{name}_seconds", counters.BOUNDS, times)

    def _add_histogram(self, name: str, bounds: Sequence[float], times: Times | Spent, **labels: str) -> None:
        so_far = 0
        for bound, count in zip((*map(str, bounds), "+Inf"), times.buckets, strict=True):
            so_far += count
            self.add(name, so_far, "_bucket", **labels, le=bound)
        self.add(name, so_far, "_count", **labels)
        self.add(name, times.total, "_sum", **labels)

    def add_process(self, process: str, said: Figures) -> None:
        """Add what a process says of itself, under that name."""
        labels = {"version": said.labels.get("version", ""), "python": said.labels.get("python", "")}
        self.add("presque_build_info", 1, process=process, **labels)
        for route, method, code, count in said.requests:
            route = route.replace("<", "{").replace(">", "}")
            answered = {"process": process, "route": route, "method": method, "code": str(code)}
            self.add("presque_http_requests_total", count, **answered)
        for kind, (total, buckets) in said.seconds.items():
            if len(buckets) == len(metrics.BOUNDS) + 1:
                spent = Spent(total, buckets)
                self._add_histogram("presque_http_request_seconds", metrics.BOUNDS, spent, process=process, kind=kind)
        for script, (calls, total) in said.scripts.items():
            self.add("presque_script_seconds", total, "_sum", process=process, script=script)
            self.add("presque_script_seconds", calls, "_count", process=process, script=script)
        self._add_limits(process, said)
        for generation, (runs, collected, uncollectable) in enumerate(said.collections):
            of = {"process": process, "generation": str(generation)}
            self.add("python_gc_collections_total", runs, **of)
            self.add("python_gc_objects_collected_total", collected, **of)
            self.add("python_gc_objects_uncollectable_total", uncollectable, **of)
        for name, value in said.values.items():
            if name in PLAIN:  # not what a later release says
                self.add(name, value, process=process)

    def _add_limits(self, process: str, said: Figures) -> None:
        for limit, (maximum, used, refused) in said.limits.items():
            if maximum is not None:
                self.add("presque_limit", maximum, process=process, limit=limit)
            if used is not None:
                self.add("presque_limit_used", used, process=process, limit=limit)
            self.add("presque_limit_refused_total", refused, process=process, limit=limit)


class Spent:
    """How long requests took: as `Times`."""

    def __init__(self, total: float, buckets: Sequence[int]) -> None:
        self.total = total
        self.buckets = buckets


PLAIN = {family.name for family in PROCESS if family.labels == ("process",)}


def failures(counted: Mapping[str, int]) -> dict[str, int]:
    """Failed attempts by reason. Those of which no reason was counted were nacks."""
    lease, worker = counted["failed_lease"], counted["failed_worker"]
    return {"nack": max(0, counted["failed"] - lease - worker), "lease_expired": lease, "worker": worker}


def waiting_consumers(processes: Iterable[Figures], named: Mapping[str, Any]) -> dict[str, int]:
    """How many consumers wait, by queue of those `named`; OTHER stands for the others."""
    found = dict.fromkeys((*named, OTHER), 0)
    for said in processes:
        for queue, count in said.waiting.items():
            found[queue if queue in named else OTHER] += count
    return found
