"""What all insertions on the routes of 2010 do."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from presque.jobs.queues import NewJob
from presque.web import params

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from presque.http.request import Request
    from presque.jobs.queues import Queues


def insert(request: Request, queues: Queues, queue: str, jobs: list[bytes], uniq: bytes) -> Deferred[Any]:
    """Insert jobs, all or none, once for an idempotency key."""
    due, key = params.delayed(request), params.idempotency_key(request)
    if not key:
        return queues.push(queue, jobs, due, uniq)
    specs = [NewJob(job, due, uniq=uniq) for job in jobs]
    return queues.insert(queue, specs, key, fingerprint(request, jobs))


def fingerprint(request: Request, jobs: list[bytes]) -> bytes:
    """What tells this request from another with its idempotency key: the verb, the parameters and the jobs."""
    said = blake2b(digest_size=16)
    verb = request.method + request.path.partition(b"/")[2].partition(b"/")[0]
    for part in (verb, params.query(request, b"delayed"), params.uniq(request), *jobs):
        said.update(b"%d:%b" % (len(part), part))
    return said.hexdigest().encode()
