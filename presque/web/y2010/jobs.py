"""Jobs on the 2010 routes: `/q/<queue>`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from presque.web import params
from presque.web.answers import answer
from presque.web.bodies import Object, decode
from presque.web.parameters import IDEMPOTENCY_KEY, WORKER
from presque.web.y2010.insertion import NOT_AN_OBJECT, body_of, fingerprint_of, insert
from presque.web.y2010.taking import take

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.defer import Deferred

    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.web.parts import Parts

Job = dict[str, Any]  # any JSON object


def add(routes: Routes, parts: Parts) -> None:
    """Declare the routes."""

    @routes.at(
        "POST",
        "/q/<queue>",
        summary="Insert a job; once per idempotency key.",
        name="pushJob",
        scope="produce",
        body=Job,
        answers={201: None},
        refuses=(409, 422, 429),
        query=("delayed", "uniq"),
        headers=(IDEMPOTENCY_KEY,),
    )
    def push(request: Request, queue: str) -> Deferred[bytes]:
        return insert(request, parts, queue, [job_of(request)], params.uniq(request))

    @routes.at(
        "PUT",
        "/q/<queue>",
        summary="Put a failed job back and count the failure; once per idempotency key.",
        name="failJob",
        scope="produce",
        body=Job,
        answers={201: None},
        refuses=(409, 422, 429),
        query=("delayed", "uniq", "worker_id"),
        headers=(WORKER, IDEMPOTENCY_KEY),
    )
    def fail(request: Request, queue: str) -> Deferred[bytes]:
        job, due, uniq = job_of(request), params.delayed(request), params.uniq(request)
        key = params.idempotency_key(request)
        fingerprint = fingerprint_of(request, [job]) if key else b""
        failed = parts.queues.fail(queue, job, due, uniq, params.worker(request), key, fingerprint)
        return failed.addCallback(lambda _: answer(request, 201, b""))

    @routes.at(
        "GET",
        "/q/<queue>",
        summary="Take a job for good.",
        name="takeJob",
        scope="consume",
        takes=True,
        answers={200: Job},
        refuses=(404,),
        query=("wait", "worker_id"),
        headers=(WORKER,),
    )
    def take_one(request: Request, queue: str) -> Deferred[bytes]:
        wait, worker = params.wait(request), params.worker(request)
        return take(request, parts, queue, _compose, wait=wait, worker=worker, limit=1)

    @routes.at(
        "DELETE",
        "/q/<queue>",
        summary="Delete a queue and everything in it.",
        name="dropQueue",
        scope="manage",
        answers={204: None},
    )
    def delete(request: Request, queue: str) -> Deferred[bytes]:
        return parts.queues.delete(queue).addCallback(lambda _: answer(request, 204, b""))


def job_of(request: Request) -> bytes:
    """The body, which is one job, validated and unchanged. Raises BadRequest."""
    job = body_of(request)
    decode(job, Object, NOT_AN_OBJECT)
    return job


def _compose(request: Request, payloads: Sequence[bytes]) -> bytes:
    return answer(request, 200, payloads[0])
