"""Reports about queues on the 2010 routes: `/status` and `/j/<queue>`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import UNSET, Struct, UnsetType

from presque.web import params
from presque.web.answers import answer, encode, joined, json, missing_partitions
from presque.web.readable import all_names

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.queues import Counts
    from presque.web.parts import Parts


class QueueNames(Struct):
    """The names of the queues, sorted."""

    queues: list[str]
    size: int
    missing_partitions: list[int] | UnsetType = UNSET  # partitions that did not answer


class QueueStatus(Struct):
    """The number of ready jobs, and the policy. `jobs` are the texts of ready jobs, if requested."""

    queue: str
    size: int
    policy: Literal["open", "closed"]
    jobs: list[str] | UnsetType = UNSET


class JobCounts(Struct):
    """The numbers of jobs that are ready, have failed, and were handed out."""

    queue_name: str
    job_count: int
    job_failed: int
    job_processed: int


def add(routes: Routes, parts: Parts) -> None:
    """Declare the routes."""

    @routes.at(
        "GET",
        "/status",
        "/status/",
        summary="List the names of all queues.",
        name="listQueueNames",
        scope="read",
        answers={200: QueueNames},
    )
    async def names(request: Request) -> bytes:
        pages, size, missing = [], 0, list[int]()
        async for names in all_names(request, parts.queue_list, missing):
            pages.append(encode(names)[1:-1])
            size += len(names)
        return answer(request, 200, b'{"queues":[%b],"size":%d%b}' % (joined(pages), size, missing_partitions(missing)))

    @routes.at(
        "GET",
        "/status/<queue>",
        summary="Show the number of ready jobs, and the policy.",
        name="showStatus",
        scope="read",
        answers={200: QueueStatus},
        query=("with_desc",),
    )
    async def status(request: Request, queue: str) -> bytes:
        if params.flag(request, b"with_desc"):
            counts, payloads = await parts.queues.peek(queue)
            jobs = {"jobs": [payload.decode() for payload in payloads]}
        else:
            counts, jobs = await parts.queues.counts(queue), {}
        policy = "closed" if counts.paused else "open"
        return json(request, {"queue": queue, "size": counts.ready, "policy": policy, **jobs})

    @routes.at(
        "GET",
        "/j/<queue>",
        summary="Show the numbers of jobs that are ready, were handed out, and failed.",
        name="countJobs",
        scope="read",
        answers={200: JobCounts},
    )
    def jobs(request: Request, queue: str) -> Deferred[bytes]:

        def compose(counts: Counts) -> bytes:
            figures = {"job_count": counts.ready, "job_failed": counts.failed, "job_processed": counts.processed}
            return json(request, {"queue_name": queue, **figures})

        return parts.queues.counts(queue).addCallback(compose)
