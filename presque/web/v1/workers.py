"""Workers under `/v1`: who consumes, and what each holds until when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET, Struct, UnsetType

from presque.web import params
from presque.web.answers import json

if TYPE_CHECKING:
    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.consumers import Consumer, Consumers
    from presque.jobs.waiters import Waiters

MOST_QUEUES = 100  # that are told of a worker, and of which it is told how many consumers wait


class HoldView(Struct):
    """A job that a worker holds, and when it is handed out again unless the worker ends or extends it."""

    id: str
    lease_expires_at: float


class WorkerStatus(Struct):
    """A worker that is registered; or, not `registered`, one that holds jobs under a name, or under none (`id` is
    null). `queues`: up to 100 on which it is registered, or of which it holds jobs. It holds `holding` jobs, of which
    `holds` has up to 100. Times are epoch seconds; they and the counters are null for one that is not registered.
    """

    id: str | None
    registered: bool
    queues: list[str]
    holding: int
    holds: list[HoldView]
    started_at: float | None
    last_seen: float | None
    processed: int | None
    failed: int | None


class WorkerPage(Struct):
    """Some workers: first those that are registered, by id, then the others, by queue, so that one of these may be on
    several pages. `waiting`, on the first page: how many consumers wait now, by queue. Of the `incomplete` queues not
    everything that is held is told, because it is too much. `missing_partitions` did not answer; absent when all did.
    """

    workers: list[WorkerStatus]
    waiting: dict[str, int]
    incomplete: list[str]
    next: str | None
    missing_partitions: list[int] | UnsetType = UNSET


def add(routes: Routes, consumers: Consumers, waiters: Waiters) -> None:
    """Declare the route."""

    @routes.at(
        "GET",
        "/v1/workers",
        summary="List workers, of all queues or of one, with what each holds.",
        name="listConsumers",
        answers={200: WorkerPage},
        query=("queue", "cursor"),
        scope="read:*",
    )
    async def list_workers(request: Request) -> bytes:
        queue, cursor = params.text(request, b"queue"), params.text(request, b"cursor")
        page = await consumers.page(queue, cursor)
        waiting = {} if cursor else _waiting(waiters, queue)
        workers = [_status(each) for each in page.consumers]
        view = WorkerPage(workers, waiting, sorted(page.incomplete), page.following, page.missing or UNSET)
        return json(request, view)


def _waiting(waiters: Waiters, queue: str) -> dict[str, int]:
    by_queue = waiters.by_queue()
    names = [queue] if queue else sorted(by_queue)[:MOST_QUEUES]
    return {name: by_queue[name] for name in names if name in by_queue}


def _status(consumer: Consumer) -> WorkerStatus:
    worker = consumer.worker
    return WorkerStatus(
        consumer.name or None,
        worker is not None,
        list(consumer.queues[:MOST_QUEUES]),
        consumer.holding,
        [HoldView(each.job_id, each.until) for each in consumer.holds],
        *((None,) * 4 if worker is None else (worker.started_at, worker.last_seen, worker.processed, worker.failed)),
    )
