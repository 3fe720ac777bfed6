"""Batches on the 2010 routes: `/qb/<queue>`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Raw, Struct

from presque.http.routes import ANY
from presque.web import params
from presque.web.answers import error, json
from presque.web.bad_request import BadRequest
from presque.web.bodies import Object, decode
from presque.web.parameters import IDEMPOTENCY_KEY, WORKER
from presque.web.y2010.insertion import NOT_AN_OBJECT, body_of, insert
from presque.web.y2010.taking import take

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.defer import Deferred

    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.web.parts import Parts

LARGEST_INSERTION = 10_000  # jobs in one request, so that no script blocks Redis for long


class Batch2010(Struct):
    """Jobs to insert, all or nothing."""

    jobs: list[dict[str, Any]]


def add(routes: Routes, parts: Parts) -> None:
    """Declare the routes."""

    @routes.at(
        "POST",
        "/qb/<queue>",
        summary="Insert jobs, all or nothing; once per idempotency key.",
        name="pushJobs",
        scope="produce",
        body=Batch2010,
        answers={201: None},
        refuses=(409, 422, 429),
        query=("delayed",),
        headers=(IDEMPOTENCY_KEY,),
    )
    def push(request: Request, queue: str) -> Deferred[bytes]:
        return insert(request, parts, queue, jobs_of(request))

    @routes.at(
        "GET",
        "/qb/<queue>",
        summary="Take several jobs for good; each comes back as its original text.",
        name="takeJobs",
        scope="consume",
        takes=True,
        answers={200: list[str]},
        refuses=(404,),
        query=("batch_size", "wait", "worker_id"),
        headers=(WORKER,),
    )
    def take_several(request: Request, queue: str) -> Deferred[bytes]:
        wait, worker, limit = params.wait(request), params.worker(request), params.batch_size(request)
        return take(request, parts, queue, _compose, wait=wait, worker=worker, limit=limit)

    @routes.at("PUT", "/qb/<queue>", "/qb", "/qb/", summary="Not supported.", scope=ANY)
    def fail(request: Request, queue: str = "") -> bytes:
        return error(request, 400, "PUT is not supported in batch mode")

    @routes.at("DELETE", "/qb/<queue>", "/qb", "/qb/", summary="Not supported.", scope=ANY)
    def delete(request: Request, queue: str = "") -> bytes:
        return error(request, 400, "DELETE is not supported in batch mode")


def jobs_of(request: Request) -> list[bytes]:
    """The jobs in the body `{"jobs":[…]}`, checked. Each is a slice of the body."""
    listed = bytes(decode(body_of(request), dict[str, Raw], NOT_AN_OBJECT).get("jobs", b"null"))
    jobs = decode(listed, list[Raw], "jobs should be an array of job")
    if len(jobs) > LARGEST_INSERTION:
        raise BadRequest(f"jobs should be at most {LARGEST_INSERTION}")
    decode(listed, list[Object], NOT_AN_OBJECT)
    return [bytes(job) for job in jobs]


def _compose(request: Request, payloads: Sequence[bytes]) -> bytes:
    return json(request, [payload.decode() for payload in payloads])
