"""Inserting jobs on the 2010 routes: what `/q` and `/qb` have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from presque.http.request import JSON
from presque.jobs.queues import NewJob
from presque.web import params
from presque.web.answers import answer
from presque.web.bad_request import BadRequest
from presque.web.fingerprint import fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.defer import Deferred

    from presque.http.request import Request
    from presque.web.parts import Parts

NOT_AN_OBJECT = "job must be a valid JSON object"


def body_of(request: Request) -> bytes:
    """The body of an insertion. Raises BadRequest unless it is declared as JSON and not empty."""
    declared = request.headers.get(b"content-type", b"")
    if declared != JSON and declared.partition(b";")[0].strip().lower() != JSON:
        raise BadRequest("content-type must be set to application/json")
    if not request.body:
        raise BadRequest("job is missing")
    return request.body


def insert(request: Request, parts: Parts, queue: str, jobs: Sequence[bytes], uniq: bytes = b"") -> Deferred[bytes]:
    """Insert jobs, all or nothing; once per idempotency key. Fires with the answer."""
    due, key = params.delayed(request), params.idempotency_key(request)
    inserted: Deferred[Any]
    if key:
        new = [NewJob(job, due, uniq=uniq) for job in jobs]
        inserted = parts.queues.insert(queue, new, key, fingerprint_of(request, jobs))
    else:
        inserted = parts.queues.push(queue, jobs, due, uniq)
    return inserted.addCallback(lambda _: answer(request, 201, b""))


def fingerprint_of(request: Request, jobs: Sequence[bytes]) -> bytes:
    """The fingerprint of an insertion: of its method, route, parameters and jobs."""
    verb = request.method + request.path.partition(b"/")[2].partition(b"/")[0]
    parts = (verb, params.query(request, b"delayed"), params.uniq(request), *jobs)
    return fingerprint(b"".join(b"%d:%b" % (len(part), part) for part in parts))
