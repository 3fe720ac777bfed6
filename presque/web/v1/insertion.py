"""Jobs inserted under `/v1`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Raw, Struct

from presque.jobs import queues as rules
from presque.web import limits, params, surrogates
from presque.web.answers import json
from presque.web.bad_request import BadRequest
from presque.web.bodies import decode
from presque.web.fingerprint import fingerprint
from presque.web.parameters import IDEMPOTENCY_KEY, TRACEPARENT
from presque.web.types import Attempts, Epoch, Headers, Priority, Seconds, UniqueKey
from presque.web.v1 import headers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.defer import Deferred

    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.queues import Queues


class NewJob(Struct, forbid_unknown_fields=True):
    """A job to insert. `payload` is any JSON, and comes back byte for byte; not both of `delay` and `run_at`, nor of
    `expires_in` and `expires_at`. A larger `priority` is handed out first; 5 without one. `headers` are up to 16
    strings of up to 1024 bytes together, names included; their names consist of A-Z a-z 0-9 . _ -
    """

    payload: Raw
    delay: Seconds | None = None
    run_at: Epoch | None = None
    unique: UniqueKey | None = None
    max_attempts: Attempts | None = None
    priority: Priority | None = None
    expires_in: Seconds | None = None
    expires_at: Epoch | None = None
    headers: Headers | None = None


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


def add(routes: Routes, queues: Queues) -> None:
    """Declare the route."""

    @routes.at(
        "POST",
        "/v1/queues/<queue>/jobs",
        summary="Insert a job, or up to 1000, all or nothing.",
        body=NewJob | NewJobs,
        name="insert",
        scope="produce",
        answers={201: JobRef | JobRefs},
        refuses=(409, 422, 429),
        headers=(IDEMPOTENCY_KEY, TRACEPARENT),
        tells=("Location",),
    )
    def insert(request: Request, queue: str) -> Deferred[bytes]:
        body = request.body
        several = _is_of_several(body)
        specs = decode(body, NewJobs).jobs if several else [_job_in(body)]
        refuse_lone_surrogates(specs, body)
        key, trace = params.idempotency_key(request), headers.trace(request)

        def compose(inserted: list[tuple[str, Any]]) -> bytes:
            refs = [JobRef(*each) for each in inserted]
            if several:
                return json(request, JobRefs(refs), 201)
            request.set_header(b"Location", b"/v1/jobs/" + refs[0].id.encode())
            return json(request, refs[0], 201)

        new = [new_job(spec, trace) for spec in specs]
        return queues.insert(queue, new, key, fingerprint(body) if key else b"").addCallback(compose)


def new_job(spec: NewJob, trace: str = "") -> rules.NewJob:
    """The job that a body describes, with `trace` among its headers. Raises BadRequest."""
    if spec.delay is not None and spec.run_at is not None:
        raise BadRequest("delay and run_at exclude each other")
    if spec.expires_in is not None and spec.expires_at is not None:
        raise BadRequest("expires_in and expires_at exclude each other")
    if spec.headers:
        headers.check(spec.headers)
    return rules.NewJob(
        bytes(spec.payload),
        spec.run_at,
        spec.delay,
        (spec.unique or "").encode(),
        spec.max_attempts,
        spec.priority,
        spec.expires_at,
        spec.expires_in,
        headers.with_trace(spec.headers, trace) if trace else spec.headers,
    )


def refuse_lone_surrogates(specs: Sequence[NewJob], body: bytes) -> None:
    """Raise BadRequest if one of these jobs, which `body` describes, has a lone surrogate outside its payload."""
    if b"\\u" not in body:
        return
    perhaps = [name for spec in specs for name in _replaced(spec)]
    if perhaps and surrogates.has_lone(body):
        raise BadRequest(f"{perhaps[0]} must have no lone surrogates")


def _replaced(spec: NewJob) -> list[str]:
    """The fields with U+FFFD, as which a lone surrogate is decoded."""
    found = ["unique"] if spec.unique and "\ufffd" in spec.unique else []
    texts = (*spec.headers, *spec.headers.values()) if spec.headers else ()
    return [*found, "headers"] if any("\ufffd" in text for text in texts) else found


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
