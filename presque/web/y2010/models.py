"""What goes in and out of the routes of 2010, as `/openapi.json` describes it. The routes read these bodies and compose
these answers themselves, because a job is opaque and some parts of the answers come and go.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType


class QueueNames(Struct):
    """The names of the queues, sorted."""

    queues: list[str]
    size: int
    missing_partitions: list[int] | UnsetType = UNSET  # that gave no answer


class QueueStatus(Struct):
    """How many jobs are ready, and the policy. `jobs` are their texts, when they were asked for."""

    queue: str
    size: int
    policy: Literal["open", "closed"]
    jobs: list[str] | UnsetType = UNSET


class JobCounts(Struct):
    """How many jobs are ready, have failed, and were handed out."""

    queue_name: str
    job_count: int
    job_failed: int
    job_processed: int


class Policy(Struct):
    """Whether a queue hands jobs out: "1" yes, "0" no."""

    queue: str
    status: Literal["0", "1"]


class PolicyChanged(Struct):
    """The policy is as wanted."""

    response: Literal["updated"]
    queue: str


class WorkerView(Struct):
    """One worker; its counters are strings, as in 2010."""

    worker_id: str
    started_at: float
    processed: str
    failed: str
    queues: list[str]
    last_seen: float
    missing_partitions: list[int] | UnsetType = UNSET  # that gave no answer


class QueueWorkers(Struct):
    """The workers of a queue, with the queue's counters."""

    queue_name: str
    workers_list: list[str]
    processed: int
    failed: int


class AllWorkers(Struct):
    """All workers, with the sums over all queues."""

    workers_list: list[str]
    workers: list[WorkerView]
    processed: int
    failed: int
    missing_partitions: list[int] | UnsetType = UNSET  # that gave no answer


class Batch2010(Struct):
    """Jobs to insert, all or none."""

    jobs: list[dict[str, Any]]


class Control2010(Struct):
    """What a queue's policy is to be."""

    status: Literal["stop", "start"]


class Worker2010(Struct):
    """A worker that registers."""

    worker_id: str
