"""Jobs under `/v1`: inserted, looked up, listed, deleted."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from presque.jobs.queues import STATES, NewJob
from presque.web import params, surrogates
from presque.web.answers import answer, json
from presque.web.parameters import IDEMPOTENCY_KEY
from presque.web.params import BadRequest
from presque.web.v1 import models

if TYPE_CHECKING:
    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.jobs import Job, Jobs
    from presque.jobs.queues import Queues


def add(routes: Routes, queues: Queues, jobs: Jobs) -> None:
    """Declare the routes."""
    _add_insertion(routes, queues)
    _add_jobs(routes, jobs)


def _add_insertion(routes: Routes, queues: Queues) -> None:
    @routes.at(
        "POST",
        "/v1/queues/<queue>/jobs",
        summary="Insert a job, or up to 1000, all or none.",
        body=models.NewJob | models.NewJobs,
        name="insert",
        answers={201: models.JobRef | models.JobRefs},
        refuses=(409, 422, 429),
        headers=(IDEMPOTENCY_KEY,),
        tells=("Location",),
    )
    async def insert(request: Request, queue: str) -> bytes:
        body = params.body(request)
        several = isinstance(params.parse(body, dict[str, msgspec.Raw]).get("jobs"), msgspec.Raw)
        specs = params.parse(body, models.NewJobs).jobs if several else [params.parse(body, models.NewJob)]
        if any(spec.unique and "\ufffd" in spec.unique for spec in specs) and surrogates.has_lone(body):
            raise BadRequest("unique must have no lone surrogates")
        key = params.idempotency_key(request)
        fingerprint = blake2b(body, digest_size=16).hexdigest().encode()
        inserted = await queues.insert(queue, [_new_job(spec) for spec in specs], key, fingerprint)
        if several:
            return json(request, {"jobs": [{"id": job_id, "state": state} for job_id, state in inserted]}, 201)
        ((job_id, state),) = inserted
        request.set_header(b"Location", b"/v1/jobs/" + job_id.encode())
        return json(request, {"id": job_id, "state": state}, 201)


def _new_job(spec: models.NewJob) -> NewJob:
    if spec.delay is not None and spec.run_at is not None:
        raise BadRequest("delay and run_at exclude each other")
    return NewJob(bytes(spec.payload), spec.run_at, spec.delay, (spec.unique or "").encode(), spec.max_attempts)


def _add_jobs(routes: Routes, jobs: Jobs) -> None:
    @routes.at(
        "GET",
        "/v1/jobs/<job_id>",
        summary="All that is known of a job.",
        name="lookUp",
        answers={200: models.JobView},
        refuses=(404,),
    )
    async def look_up(request: Request, job_id: str) -> bytes:
        return json(request, _view(await jobs.look_up(*params.job_id(job_id))))

    @routes.at(
        "DELETE",
        "/v1/jobs/<job_id>",
        summary="Delete a job, whatever its state.",
        name="cancel",
        answers={204: None},
        refuses=(404,),
    )
    async def cancel(request: Request, job_id: str) -> bytes:
        await jobs.cancel(*params.job_id(job_id))
        return answer(request, 204, b"")

    @routes.at(
        "GET",
        "/v1/queues/<queue>/jobs",
        summary="The jobs of a state (ready, delayed, leased, dead), a page at a time.",
        name="listJobs",
        answers={200: models.JobPage},
        refuses=(404,),
        query=("state", "limit", "cursor"),
    )
    async def list_jobs(request: Request, queue: str) -> bytes:
        state = params.text(request, b"state") or "ready"
        if state not in STATES:
            raise BadRequest(f"state must be one of {', '.join(STATES)}")
        cursor = params.text(request, b"cursor") or "0"
        if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 16):
            raise BadRequest("cursor must be the next of the page before")
        found, following = await jobs.list_jobs(queue, state, int(cursor), params.limit(request))
        return json(request, models.JobPage(list(map(_view, found)), None if following is None else str(following)))


def _view(job: Job) -> models.JobView:
    state: Any = job.state
    return models.JobView(
        job.job_id,
        job.job_id.rpartition(":")[0],
        state,
        msgspec.Raw(job.payload),
        job.attempts,
        job.max_attempts,
        job.created_at,
        due_at=job.at if state == "delayed" else None,
        lease_expires_at=job.at if state == "leased" else None,
        worker=job.worker or None,
        died_at=job.at if state == "dead" else None,
        unique=job.uniq.decode(errors="replace") or None,
        last_error=job.failures[-1].error if job.failures else None,
        history=[models.FailedAttempt(each.attempt, each.at, each.error) for each in job.failures],
    )
