"""Jobs under `/v1`: inserted, looked up, listed, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Raw, Struct

from presque.jobs import queues as rules
from presque.jobs.jobs import STATES
from presque.web import limits, params, surrogates
from presque.web.answers import answer, json
from presque.web.bad_request import BadRequest
from presque.web.bodies import decode
from presque.web.fingerprint import fingerprint
from presque.web.parameters import IDEMPOTENCY_KEY
from presque.web.types import Attempts, Epoch, Seconds, UniqueKey

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.jobs import Job, Jobs
    from presque.jobs.queues import Queues


class NewJob(Struct, forbid_unknown_fields=True):
    """A job to insert. `payload` is any JSON, and comes back byte for byte; not both of `delay` and `run_at`."""

    payload: Raw
    delay: Seconds | None = None
    run_at: Epoch | None = None
    unique: UniqueKey | None = None
    max_attempts: Attempts | None = None


class NewJobs(Struct, forbid_unknown_fields=True):
    """Jobs to insert, all or nothing."""

    jobs: Annotated[list[NewJob], Meta(min_length=1, max_length=limits.JOBS)]


class JobRef(Struct):
    """An inserted job."""

    id: str
    state: Literal["ready", "delayed"]


class JobRefs(Struct):
    """Inserted jobs, in the order of the request."""

    jobs: list[JobRef]


class FailedAttempt(Struct):
    """An attempt that failed."""

    attempt: int
    at: float
    error: str


class JobView(Struct, omit_defaults=True):
    """Everything known about a job. `attempts` have failed so far; `history` has the last ten. `worker` holds the job,
    if its name is known.
    """

    id: str
    queue: str
    state: Literal["ready", "delayed", "leased", "dead"]
    payload: Raw
    attempts: int
    max_attempts: int
    created_at: float
    due_at: float | None = None
    lease_expires_at: float | None = None
    worker: str | None = None
    died_at: float | None = None
    unique: str | None = None
    last_error: str | None = None
    history: list[FailedAttempt] = []


class JobPage(Struct):
    """Jobs in one state; `next` is the cursor of the next page, null on the last."""

    jobs: list[JobView]
    next: str | None


def add(routes: Routes, queues: Queues, jobs: Jobs) -> None:
    """Declare the routes."""
    _add_insertion(routes, queues)
    _add_jobs(routes, jobs)


def _add_insertion(routes: Routes, queues: Queues) -> None:
    @routes.at(
        "POST",
        "/v1/queues/<queue>/jobs",
        summary="Insert a job, or up to 1000, all or nothing.",
        body=NewJob | NewJobs,
        name="insert",
        answers={201: JobRef | JobRefs},
        refuses=(409, 422, 429),
        headers=(IDEMPOTENCY_KEY,),
        tells=("Location",),
    )
    def insert(request: Request, queue: str) -> Deferred[bytes]:
        body = request.body
        several = _is_of_several(body)
        specs = decode(body, NewJobs).jobs if several else [_job_in(body)]
        if any(spec.unique and "\ufffd" in spec.unique for spec in specs) and surrogates.has_lone(body):
            raise BadRequest("unique must have no lone surrogates")
        key = params.idempotency_key(request)

        def compose(inserted: list[tuple[str, Any]]) -> bytes:
            refs = [JobRef(*each) for each in inserted]
            if several:
                return json(request, JobRefs(refs), 201)
            request.set_header(b"Location", b"/v1/jobs/" + refs[0].id.encode())
            return json(request, refs[0], 201)

        new = [_new_job(spec) for spec in specs]
        return queues.insert(queue, new, key, fingerprint(body) if key else b"").addCallback(compose)


def _is_of_several(body: bytes) -> bool:
    """Whether a body has a member `jobs`, even if its name is written with escapes."""
    if b"jobs" not in body and b"\\" not in body:
        return False
    return isinstance(decode(body, dict[str, Raw]).get("jobs"), Raw)


def _job_in(body: bytes) -> NewJob:
    """The job in a body. A body that is not a JSON object is refused as such, before any field."""
    try:
        return decode(body, NewJob)
    except BadRequest:
        decode(body, dict[str, Raw])
        raise


def _new_job(spec: NewJob) -> rules.NewJob:
    if spec.delay is not None and spec.run_at is not None:
        raise BadRequest("delay and run_at exclude each other")
    return rules.NewJob(bytes(spec.payload), spec.run_at, spec.delay, (spec.unique or "").encode(), spec.max_attempts)


def _add_jobs(routes: Routes, jobs: Jobs) -> None:
    @routes.at(
        "GET",
        "/v1/jobs/<job_id>",
        summary="Look up a job.",
        name="lookUp",
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
        answers={204: None},
        refuses=(404,),
    )
    async def cancel(request: Request, job_id: str) -> bytes:
        await jobs.cancel(*params.job_id(job_id))
        return answer(request, 204, b"")

    @routes.at(
        "GET",
        "/v1/queues/<queue>/jobs",
        summary="List the jobs in a state (ready, delayed, leased, dead), page by page.",
        name="listJobs",
        answers={200: JobPage},
        refuses=(404,),
        query=("state", "limit", "cursor"),
    )
    async def list_jobs(request: Request, queue: str) -> bytes:
        state = params.text(request, b"state") or "ready"
        if state not in STATES:
            raise BadRequest(f"state must be one of {', '.join(STATES)}")
        cursor = params.text(request, b"cursor")
        found, following = await jobs.list_jobs(queue, state, cursor, params.limit(request))
        return json(request, JobPage(list(map(_view, found)), following))


def _view(job: Job) -> JobView:
    state: Any = job.state
    return JobView(
        job.job_id,
        job.job_id.rpartition(":")[0],
        state,
        Raw(job.payload),
        job.attempts,
        job.max_attempts,
        job.created_at,
        due_at=job.at if state == "delayed" else None,
        lease_expires_at=job.at if state == "leased" else None,
        worker=job.worker or None,
        died_at=job.at if state == "dead" else None,
        unique=job.uniq.decode(errors="replace") or None,
        last_error=job.failures[-1].error if job.failures else None,
        history=[FailedAttempt(each.attempt, each.at, each.error) for each in job.failures],
    )
