"""Jobs under `/v1`: looked up, changed, listed, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from msgspec import UNSET, Raw, Struct, UnsetType

from presque.jobs.jobs import NEVER, STATES, Match
from presque.web import params
from presque.web.answers import answer, json
from presque.web.bad_request import BadRequest
from presque.web.bodies import decode
from presque.web.types import Epoch, Priority, Seconds

if TYPE_CHECKING:
    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.jobs import Job, Jobs, Why


class FailedAttempt(Struct):
    """An attempt that failed."""

    attempt: int
    at: float
    error: str


class WhyView(Struct, omit_defaults=True):
    """Why a job is where it is: a code, and a sentence. `before` is how many jobs are handed out before it."""

    code: Literal["paused", "delayed", "backing-off", "leased", "waiting-turn", "no-consumer", "dead"]
    text: str
    before: int | None = None


class JobView(Struct, omit_defaults=True):
    """Everything known about a job. `attempts` have failed so far; `history` has the last ten. `worker` holds the job,
    if its name is known. `why` is absent in lists.
    """

    id: str
    queue: str
    state: Literal["ready", "delayed", "leased", "dead"]
    payload: Raw
    headers: dict[str, str]
    priority: int
    attempts: int
    max_attempts: int
    created_at: float
    due_at: float | None = None
    expires_at: float | None = None
    lease_expires_at: float | None = None
    worker: str | None = None
    died_at: float | None = None
    unique: str | None = None
    last_error: str | None = None
    history: list[FailedAttempt] = []
    why: WhyView | None = None


class JobChange(Struct, forbid_unknown_fields=True):
    """What to change in a job; not both of `delay` and `run_at`. With null in `expires_at` it never expires."""

    run_at: Epoch | UnsetType = UNSET
    delay: Seconds | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    expires_at: Epoch | UnsetType | None = UNSET


class JobPage(Struct):
    """Jobs in one state; `next` is the cursor of the next page, null on the last. With `error` or `older_than` a page
    may have fewer jobs than its limit, and even none, before the last.
    """

    jobs: list[JobView]
    next: str | None


def add(routes: Routes, jobs: Jobs) -> None:
    """Declare the routes."""
    _add_one(routes, jobs)
    _add_changes(routes, jobs)
    _add_list(routes, jobs)


def _add_one(routes: Routes, jobs: Jobs) -> None:
    @routes.at(
        "GET",
        "/v1/jobs/<job_id>",
        summary="Look up a job.",
        name="lookUp",
        scope="read",
        answers={200: JobView},
        refuses=(404,),
    )
    async def look_up(request: Request, job_id: str) -> bytes:
        return json(request, _view(await jobs.look_up(*params.job_id(job_id))))

    @routes.at(
        "DELETE",
        "/v1/jobs/<job_id>",
        summary="Delete a job, whatever its state.",
        name="cancel",
        scope="manage",
        answers={204: None},
        refuses=(404,),
    )
    async def cancel(request: Request, job_id: str) -> bytes:
        await jobs.cancel(*params.job_id(job_id))
        return answer(request, 204, b"")


def _add_changes(routes: Routes, jobs: Jobs) -> None:
    @routes.at(
        "POST",
        "/v1/jobs/<job_id>/run-now",
        summary="Make a delayed or dead job ready, with no attempts counted if it was dead.",
        name="runNow",
        scope="manage",
        answers={200: JobView},
        refuses=(404, 409),
    )
    async def run_now(request: Request, job_id: str) -> bytes:
        return json(request, _view(await jobs.run_now(*params.job_id(job_id))))

    @routes.at(
        "PATCH",
        "/v1/jobs/<job_id>",
        summary="Change when a ready or delayed job is due, its priority, or when it expires.",
        name="change",
        scope="manage",
        body=JobChange,
        answers={200: JobView},
        refuses=(404, 409),
    )
    async def change(request: Request, job_id: str) -> bytes:
        queue, number = params.job_id(job_id)
        changed = await jobs.change(queue, number, **_changes(decode(request.body, JobChange)))
        return json(request, _view(changed))


def _changes(asked: JobChange) -> dict[str, Any]:
    """The arguments of Jobs.change. Raises BadRequest."""
    if asked == JobChange():
        raise BadRequest("give at least one of run_at, delay, priority and expires_at")
    if asked.delay is not UNSET and asked.run_at is not UNSET:
        raise BadRequest("delay and run_at exclude each other")
    expires = NEVER if asked.expires_at is None else asked.expires_at
    given = {"due": asked.run_at, "delay": asked.delay, "priority": asked.priority, "expires": expires}
    return {name: value for name, value in given.items() if value is not UNSET}


def _add_list(routes: Routes, jobs: Jobs) -> None:
    @routes.at(
        "GET",
        "/v1/queues/<queue>/jobs",
        summary="List the jobs in a state (ready, delayed, leased, dead), page by page.",
        name="listJobs",
        scope="read",
        answers={200: JobPage},
        refuses=(404,),
        query=("state", "error", "older_than", "limit", "cursor"),
    )
    async def list_jobs(request: Request, queue: str) -> bytes:
        state = params.text(request, b"state") or "ready"
        if state not in STATES:
            raise BadRequest(f"state must be one of {', '.join(STATES)}")
        match = Match(params.error(request), params.older_than(request))
        cursor, limit = params.cursor(request), params.limit(request)
        found, following = await jobs.list_jobs(queue, state, cursor, limit, match)
        return json(request, JobPage(list(map(_view, found)), following))


def _view(job: Job) -> JobView:
    state: Any = job.state
    return JobView(
        job.job_id,
        job.job_id.rpartition(":")[0],
        state,
        Raw(job.payload),
        job.headers,
        job.priority,
        job.attempts,
        job.max_attempts,
        job.created_at,
        due_at=job.at if state == "delayed" else None,
        expires_at=job.expires_at,
        lease_expires_at=job.at if state == "leased" else None,
        worker=job.worker or None,
        died_at=job.at if state == "dead" else None,
        unique=job.uniq.decode(errors="replace") or None,
        last_error=job.failures[-1].error if job.failures else None,
        history=[FailedAttempt(each.attempt, each.at, each.error) for each in job.failures],
        why=_why(job.why),
    )


def _why(why: Why | None) -> WhyView | None:
    code: Any = None if why is None else why.code
    return None if why is None else WhyView(code, why.text, why.before)
