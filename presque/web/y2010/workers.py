"""Workers on the 2010 routes: `/w`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, Struct, UnsetType

from presque.errors import UnknownWorker
from presque.jobs.workers import check_worker
from presque.web import params
from presque.web.answers import answer, encode, joined, json, missing_partitions
from presque.web.auth import is_restricted, may
from presque.web.bad_request import BadRequest
from presque.web.bodies import decode
from presque.web.parameters import WORKER
from presque.web.readable import sums

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.queue_list import QueueList
    from presque.jobs.workers import Worker, Workers
    from presque.web.parts import Parts


class Worker2010(Struct):
    """A worker that registers."""

    worker_id: str


class WorkerView(Struct):
    """One worker; its counters are strings, as in 2010."""

    worker_id: str
    started_at: float
    processed: str
    failed: str
    queues: list[str]
    last_seen: float
    missing_partitions: list[int] | UnsetType = UNSET  # partitions that did not answer


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
    missing_partitions: list[int] | UnsetType = UNSET  # partitions that did not answer


def add(routes: Routes, parts: Parts) -> None:
    """Declare the routes."""

    @routes.at(
        "POST",
        "/w/<queue>",
        summary="Register a worker. Jobs that the queue kept for it go back to the front.",
        name="registerWorker",
        scope="consume",
        body=Worker2010,
        needs_body=False,
        answers={201: None},
        query=("worker_id",),
        headers=(WORKER,),
    )
    async def register(request: Request, queue: str) -> bytes:
        await parts.workers.register(queue, _worker_of(request))
        return answer(request, 201, b"")

    @routes.at(
        "DELETE",
        "/w/<queue>",
        summary="Remove a worker from a queue.",
        name="unregisterWorker",
        scope="consume",
        answers={204: None},
        query=("worker_id",),
        headers=(WORKER,),
    )
    def unregister(request: Request, queue: str) -> Deferred[bytes]:
        unregistered = parts.workers.unregister(queue, _worker_of(request))
        return unregistered.addCallback(lambda _: answer(request, 204, b""))

    @routes.at(
        "GET",
        "/w/<queue>",
        summary="List the workers of a queue.",
        name="listQueueWorkers",
        scope="read",
        answers={200: QueueWorkers},
    )
    async def list_of_queue(request: Request, queue: str) -> bytes:
        return await _of_queue(request, parts.workers, queue)

    @routes.at(
        "GET",
        "/w",
        "/w/",
        summary="List all workers, one worker, or those of a queue.",
        name="listWorkers",
        scope="read",
        answers={200: AllWorkers | QueueWorkers | WorkerView},
        refuses=(404,),
        query=("worker_id", "queue_name"),
    )
    async def list_workers(request: Request) -> bytes:
        if worker_id := params.text(request, b"worker_id"):
            return await _one(request, parts.workers, worker_id)
        if queue := params.text(request, b"queue_name"):
            return await _of_queue(request, parts.workers, queue)
        return await _all(request, parts.workers, parts.queue_list)


async def _one(request: Request, workers: Workers, worker_id: str) -> bytes:
    worker, missing = await workers.one(worker_id)
    if (shown := _readable(request, worker)) is None:
        raise UnknownWorker
    return answer(request, 200, encode(_description(shown))[:-1] + missing_partitions(missing) + b"}")


async def _of_queue(request: Request, workers: Workers, queue: str) -> bytes:
    ids, processed, failed = await workers.on_queue(queue)
    return json(request, {"queue_name": queue, "workers_list": ids, "processed": processed, "failed": failed})


async def _all(request: Request, workers: Workers, queue_list: QueueList) -> bytes:
    """All workers, one after another, so that other requests are served in between."""
    ids, descriptions, missing = [], [], list[int]()
    async for worker in workers.all(missing):
        if (shown := _readable(request, worker)) is not None:
            ids.append(encode(shown.worker_id))
            descriptions.append(encode(_description(shown)))
    summed = sums(request, queue_list) if is_restricted(request, "read") else workers.sums()
    processed, failed, more_missing = await summed
    lists, absent = (joined(ids), joined(descriptions)), missing_partitions([*missing, *more_missing])
    body = b'{"workers_list":[%b],"workers":[%b],"processed":%d,"failed":%d%b}' % (*lists, processed, failed, absent)
    return answer(request, 200, body)


def _readable(request: Request, worker: Worker) -> Worker | None:
    """A worker with those of its queues that the request may read; None if there are none."""
    if not is_restricted(request, "read"):
        return worker
    queues = tuple(queue for queue in worker.queues if may(request, "read", queue))
    return replace(worker, queues=queues) if queues else None


def _worker_of(request: Request) -> str:
    """The worker named in the header, in the query, or else in the body, whatever its content type."""
    if name := params.worker(request):
        return name
    if not (name := _worker_in(request.body)):
        raise BadRequest("worker_id is missing")
    check_worker(name)
    return name


def _worker_in(body: bytes) -> str:
    try:
        name = decode(body, dict[str, Any], by_msgspec=True).get("worker_id")
    except BadRequest:
        return ""
    return str(name) if isinstance(name, str | int) and not isinstance(name, bool) else ""


def _description(worker: Worker) -> dict[str, Any]:
    return {
        "worker_id": worker.worker_id,
        "started_at": worker.started_at,
        "processed": str(worker.processed),
        "failed": str(worker.failed),
        "queues": list(worker.queues),
        "last_seen": worker.last_seen,
    }
