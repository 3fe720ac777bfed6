"""Every metric, one row each: docs/metrics.md lists the same, and a test compares them."""

from __future__ import annotations

from typing import NamedTuple

COUNTER, GAUGE, SUMMARY, HISTOGRAM = "counter", "gauge", "summary", "histogram"


class Family(NamedTuple):
    """A metric: its name (of a counter with `_total`), its type, the names of its labels, and what it means."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str

    @property
    def unit(self) -> str:
        """What its values count in: its name says it, as Prometheus wants."""
        words = self.name.split("_")
        return next((unit for unit in ("seconds", "bytes") if unit in words), "")


def _family(name: str, kind: str, labels: str, meaning: str) -> Family:
    return Family(name, kind, tuple(labels.split()), meaning)


QUEUE = (
    _family("presque_queue_jobs", GAUGE, "queue state", "Jobs by state: ready, delayed, leased, dead."),
    _family("presque_queue_oldest_ready_age_seconds", GAUGE, "queue", "Age of the oldest ready job, 0 if none is."),
    _family("presque_queue_paused", GAUGE, "queue", "1 while the queue is stopped; of (other), how many are."),
    _family("presque_queue_waiting_consumers", GAUGE, "queue", "Consumers that wait for a job, up to 5 s ago."),
    _family("presque_queue_inserted_total", COUNTER, "queue", "Jobs inserted."),
    _family("presque_queue_delivered_total", COUNTER, "queue", "Jobs that were taken for good, and received."),
    _family("presque_queue_acked_total", COUNTER, "queue", "Jobs acknowledged."),
    _family("presque_queue_released_total", COUNTER, "queue", "Jobs that a worker released."),
    _family(
        "presque_queue_failed_total",
        COUNTER,
        "queue reason",
        "Attempts that failed: nack, lease_expired, or worker (it registered again, or put the job back by PUT).",
    ),
    _family("presque_queue_lease_expired_total", COUNTER, "queue", "Leases that ran out."),
    _family("presque_queue_died_total", COUNTER, "queue", "Jobs that became dead."),
    _family("presque_queue_expired_total", COUNTER, "queue", "Jobs that expired before they were handed out."),
    _family("presque_queue_deleted_total", COUNTER, "queue", "Jobs that were deleted, dead ones forgotten included."),
    _family(
        "presque_queue_refused_total",
        COUNTER,
        "queue reason",
        "Insertions refused, a batch counted once: full, closed (not accepting), duplicate; absent while 0.",
    ),
    _family(
        "presque_queue_wait_seconds", SUMMARY, "queue", "Time from insertion, or from when it came due, to hand-out."
    ),
    _family("presque_queue_run_seconds", SUMMARY, "queue", "Time from hand-out to acknowledgement."),
)
STORE = (
    _family("presque_store_up", GAUGE, "", "1 while the store answers."),
    _family("presque_store_writable", GAUGE, "", "1 while the store accepts insertions."),
    _family("presque_store_queues", GAUGE, "", "Queues."),
    _family("presque_store_unlabelled_queues", GAUGE, "", 'Queues that are summed up as queue="(other)".'),
    _family("presque_store_memory_bytes", GAUGE, "", "Memory that Redis uses."),
    _family("presque_store_memory_limit_bytes", GAUGE, "", "Memory that Redis may use, 0 for no limit."),
    _family("presque_store_aof_delayed_fsync_total", COUNTER, "", "Syncs of Redis' file that a slow disk delayed."),
    _family(
        "presque_store_wait_seconds", HISTOGRAM, "", "As presque_queue_wait_seconds, of all queues that ever were."
    ),
    _family("presque_store_run_seconds", HISTOGRAM, "", "As presque_queue_run_seconds, of all queues that ever were."),
)
PROCESS = (
    _family(
        "presque_http_requests_total", COUNTER, "process route method code", "Requests answered; route none: refused."
    ),
    _family(
        "presque_http_request_seconds",
        HISTOGRAM,
        "process kind",
        "Time from a whole request to its answer, without the wait for a job, by what its token must allow.",
    ),
    _family("presque_http_client_gone_total", COUNTER, "process", "Clients that left before their answer."),
    _family("presque_stale_receipts_total", COUNTER, "process", "Settlements and extensions refused as lease-lost."),
    _family("presque_auth_failures_total", COUNTER, "process", "Requests with a wrong token, or without one."),
    _family("presque_limit", GAUGE, "process limit", "The maximum that a limit allows."),
    _family("presque_limit_used", GAUGE, "process limit", "How much of it is used; absent where nothing is used up."),
    _family("presque_limit_refused_total", COUNTER, "process limit", "What was refused because of a limit."),
    _family("presque_script_seconds", SUMMARY, "process script", "Time of a script in Redis, with its round trip."),
    _family("presque_store_reconnects_total", COUNTER, "process", "Connections to Redis that were made again."),
    _family("presque_mover_lag_seconds", GAUGE, "process", "Time by which the mover is late."),
    _family("presque_reactor_lag_seconds", GAUGE, "process", "Largest lateness of a timer in the last 5 to 10 s."),
    _family(
        "presque_certificate_not_after_seconds", GAUGE, "process", "When the certificate ends (epoch); absent without."
    ),
    _family("presque_build_info", GAUGE, "process version python", "1, with the versions as labels."),
    _family("process_cpu_seconds_total", COUNTER, "process", "CPU time, user and system."),
    _family("process_resident_memory_bytes", GAUGE, "process", "Resident memory."),
    _family("process_virtual_memory_bytes", GAUGE, "process", "Virtual memory."),
    _family("process_start_time_seconds", GAUGE, "process", "When the process started (epoch)."),
    _family("process_open_fds", GAUGE, "process", "Open file descriptors."),
    _family("process_max_fds", GAUGE, "process", "Most file descriptors that it may open."),
    _family("python_gc_collections_total", COUNTER, "process generation", "Garbage collections."),
    _family("python_gc_objects_collected_total", COUNTER, "process generation", "Objects collected."),
    _family("python_gc_objects_uncollectable_total", COUNTER, "process generation", "Objects that could not be."),
)
FAMILIES = (*QUEUE, *STORE, *PROCESS)
