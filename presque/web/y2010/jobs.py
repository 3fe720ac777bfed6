"""Jobs on the routes of 2010: `/q/<queue>`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from presque.web import params
from presque.web.answers import answer, error
from presque.web.parameters import IDEMPOTENCY_KEY, WORKER
from presque.web.y2010.insertion import fingerprint, insert

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from presque.http.deliveries import Deliveries
    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.queues import Queues, Taken
    from presque.jobs.waiters import Waiters

Job = dict[str, Any]  # any JSON object


def add(routes: Routes, queues: Queues, waiting: Waiters, deliveries: Deliveries) -> None:
    """Declare the routes."""

    @routes.at(
        "POST",
        "/q/<queue>",
        summary="Insert a job, once for an idempotency key.",
        name="pushJob",
        body=Job,
        answers={201: None},
        refuses=(409, 422, 429),
        query=("delayed", "uniq"),
        headers=(IDEMPOTENCY_KEY,),
    )
    def push(request: Request, queue: str) -> Deferred[bytes]:
        pushed = insert(request, queues, queue, [params.job(request)], params.uniq(request))
        return pushed.addCallback(lambda ids: answer(request, 201, b""))

    @routes.at(
        "PUT",
        "/q/<queue>",
        summary="Insert a job that a worker failed at, and count the failure, once for an idempotency key.",
        name="failJob",
        body=Job,
        answers={201: None},
        refuses=(409, 422, 429),
        query=("delayed", "uniq", "worker_id"),
        headers=(WORKER, IDEMPOTENCY_KEY),
    )
    def fail(request: Request, queue: str) -> Deferred[bytes]:
        job, due, uniq = params.job(request), params.delayed(request), params.uniq(request)
        key = params.idempotency_key(request)
        said = fingerprint(request, [job]) if key else b""
        failed = queues.fail(queue, job, due, uniq, params.worker(request), key, said)
        return failed.addCallback(lambda ids: answer(request, 201, b""))

    @routes.at(
        "GET",
        "/q/<queue>",
        summary="Take a job for good.",
        name="takeJob",
        takes=True,
        answers={200: Job},
        refuses=(404,),
        query=("wait", "worker_id"),
        headers=(WORKER,),
    )
    def take(request: Request, queue: str) -> Deferred[bytes]:

        def compose(taken: Taken) -> bytes:
            return answer(request, 200, taken.payloads[0]) if taken.payloads else error(request, 404, "no job")

        wait, worker = params.wait(request), params.worker(request)
        taking = waiting.take([queue], lambda name, daemon: queues.take(name, 1, worker, daemon), wait)
        return deliveries.deliver(request, taking, wait > 0, compose)

    @routes.at(
        "DELETE", "/q/<queue>", summary="Delete a queue with everything in it.", name="dropQueue", answers={204: None}
    )
    def delete(request: Request, queue: str) -> Deferred[bytes]:
        return queues.delete(queue).addCallback(lambda _: answer(request, 204, b""))
