"""Batches on the routes of 2010: `/qb/<queue>`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from presque.web import params
from presque.web.answers import answer, error, json
from presque.web.parameters import IDEMPOTENCY_KEY, WORKER
from presque.web.y2010.insertion import insert

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from presque.http.deliveries import Deliveries
    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.queues import Queues, Taken
    from presque.jobs.waiters import Waiters


class Batch2010(Struct):
    """Jobs to insert, all or none."""

    jobs: list[dict[str, Any]]


def add(routes: Routes, queues: Queues, waiting: Waiters, deliveries: Deliveries) -> None:
    """Declare the routes."""

    @routes.at(
        "POST",
        "/qb/<queue>",
        summary="Insert jobs, all or none, once for an idempotency key.",
        name="pushJobs",
        body=Batch2010,
        answers={201: None},
        refuses=(409, 422, 429),
        query=("delayed",),
        headers=(IDEMPOTENCY_KEY,),
    )
    def push(request: Request, queue: str) -> Deferred[bytes]:
        pushed = insert(request, queues, queue, params.jobs(request), b"")
        return pushed.addCallback(lambda ids: answer(request, 201, b""))

    @routes.at(
        "GET",
        "/qb/<queue>",
        summary="Take several jobs for good; each comes as the text that it was.",
        name="takeJobs",
        takes=True,
        answers={200: list[str]},
        refuses=(404,),
        query=("batch_size", "wait", "worker_id"),
        headers=(WORKER,),
    )
    def take(request: Request, queue: str) -> Deferred[bytes]:

        def compose(taken: Taken) -> bytes:
            texts = [payload.decode() for payload in taken.payloads]
            return json(request, texts) if texts else error(request, 404, "no job")

        wait, worker, most = params.wait(request), params.worker(request), params.batch_size(request)
        taking = waiting.take([queue], lambda name, daemon: queues.take(name, most, worker, daemon), wait)
        return deliveries.deliver(request, taking, wait > 0, compose)

    @routes.at("PUT", "/qb/<queue>", "/qb", "/qb/", summary="Not supported.")
    def fail(request: Request, queue: str = "") -> bytes:
        return error(request, 400, "PUT is not supported in batch mode")

    @routes.at("DELETE", "/qb/<queue>", "/qb", "/qb/", summary="Not supported.")
    def delete(request: Request, queue: str = "") -> bytes:
        return error(request, 400, "DELETE is not supported in batch mode")
