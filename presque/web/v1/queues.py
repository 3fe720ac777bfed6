"""Queues under `/v1`: described, configured, stopped, purged, deleted, and their dead jobs retried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from presque.errors import UnknownJob, UnknownQueue
from presque.jobs.jobs import ALL, PURGED, Match
from presque.web import limits, params
from presque.web.answers import answer, json
from presque.web.bad_request import BadRequest
from presque.web.bodies import decode
from presque.web.readable import page_of_names
from presque.web.types import ErrorPart, Seconds
from presque.web.v1 import settings
from presque.web.v1.settings import QueueSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.jobs import Jobs
    from presque.jobs.queue_list import QueueList
    from presque.jobs.queues import Counts, Queues


class QueueView(Struct):
    """The counts, policy and settings of a queue. Of the `inserted` jobs those that are not there any more were
    `delivered` for good, `acked`, `expired` or `deleted`. `died` counts deaths, `failed` failed attempts, `processed`
    jobs handed out. `oldest_ready_age` (seconds) is null without a ready job.
    """

    name: str
    policy: Literal["open", "closed"]
    ready: int
    delayed: int
    leased: int
    dead: int
    inserted: int
    delivered: int
    acked: int
    processed: int
    failed: int
    died: int
    expired: int
    deleted: int
    oldest_ready_age: float | None
    settings: QueueSettings  # type: ignore[valid-type]  # made from the rows


class QueuePage(Struct):
    """Some queues, by name; `next` is the cursor of the next page, null on the last. `missing_partitions` did
    not answer, so their queues are not listed; absent when all answered.
    """

    queues: list[QueueView]
    next: str | None
    missing_partitions: list[int] | UnsetType = UNSET


class MatchJobs(Struct, forbid_unknown_fields=True):
    """Which jobs are meant: those whose last error contains `error`, and that were inserted at least `older_than`
    seconds ago; at least one of both.
    """

    error: ErrorPart | None = None
    older_than: Seconds | None = None


class Purge(Struct, forbid_unknown_fields=True):
    """Which jobs to delete: those in a state, or all; of these, those that match."""

    state: Literal["ready", "delayed", "leased", "dead", "all"]
    match: MatchJobs | None = None


class Purged(Struct):
    """The number of deleted jobs."""

    purged: int


class RetryDead(Struct, forbid_unknown_fields=True):
    """Which dead jobs to make ready again: these, or up to `limit`, the longest dead first, or all; with `limit` and
    `all`, those that match.
    """

    ids: Annotated[list[str], Meta(max_length=limits.JOBS)] | None = None
    limit: Annotated[int, Meta(ge=1, le=limits.JOBS)] | None = None
    all: bool = False
    match: MatchJobs | None = None


class Moved(Struct):
    """The number of moved jobs, and the ids that were not dead jobs of this queue."""

    moved: int
    not_found: list[str]


def add(routes: Routes, queues: Queues, queue_list: QueueList, jobs: Jobs) -> None:
    """Declare the routes."""
    _add_list(routes, queue_list)
    _add_queues(routes, queues)
    _add_policy(routes, queues)
    _add_upkeep(routes, jobs)


def _add_list(routes: Routes, queue_list: QueueList) -> None:
    @routes.at(
        "GET",
        "/v1/queues",
        summary="List all queues, by name.",
        name="listQueues",
        scope="read",
        answers={200: QueuePage},
        query=("limit", "cursor"),
    )
    async def names(request: Request) -> bytes:
        limit, after = params.limit(request), params.text(request, b"cursor")
        page, following, missing = await page_of_names(request, queue_list, after, limit)
        counts, more_missing = await queue_list.overview(page)
        views = [_queue_view(name, counts[name]) for name in page if name in counts]
        absent = sorted({*missing, *more_missing})
        return json(request, QueuePage(views, following, absent or UNSET))


def _add_queues(routes: Routes, queues: Queues) -> None:
    @routes.at(
        "GET",
        "/v1/queues/<queue>",
        summary="Describe a queue: its counts, policy and settings.",
        name="describeQueue",
        scope="read",
        answers={200: QueueView},
        refuses=(404,),
    )
    async def counts(request: Request, queue: str) -> bytes:
        counted = await queues.counts(queue)
        if not counted.exists:
            raise UnknownQueue
        return json(request, _queue_view(queue, counted))

    @routes.at(
        "PATCH",
        "/v1/queues/<queue>",
        summary="Change a queue's settings; creates the queue if necessary.",
        name="configureQueue",
        scope="manage",
        body=QueueSettings,
        answers={200: QueueView},
    )
    async def configure(request: Request, queue: str) -> bytes:
        changes = settings.changes(decode(request.body, QueueSettings))
        return json(request, _queue_view(queue, await queues.configure(queue, changes)))

    @routes.at(
        "DELETE",
        "/v1/queues/<queue>",
        summary="Delete a queue with everything in it.",
        name="deleteQueue",
        scope="manage",
        answers={204: None},
        refuses=(404,),
    )
    async def delete(request: Request, queue: str) -> bytes:
        if not await queues.delete(queue):
            raise UnknownQueue
        return answer(request, 204, b"")


def _queue_view(name: str, counts: Counts) -> QueueView:
    return QueueView(
        name,
        "closed" if counts.paused else "open",
        counts.ready,
        counts.delayed,
        counts.leased,
        counts.dead,
        counts.inserted,
        counts.delivered,
        counts.acked,
        counts.processed,
        counts.failed,
        counts.died,
        counts.expired,
        counts.deleted,
        counts.oldest,
        settings.view(counts.settings),
    )


def _add_policy(routes: Routes, queues: Queues) -> None:
    @routes.at(
        "POST",
        "/v1/queues/<queue>/pause",
        summary="Stop a queue, which accepts insertions and hands nothing out; creates the queue if necessary.",
        name="pause",
        scope="manage",
        answers={204: None},
    )
    async def pause(request: Request, queue: str) -> bytes:
        await queues.pause(queue)
        return answer(request, 204, b"")

    @routes.at(
        "POST",
        "/v1/queues/<queue>/resume",
        summary="Open a queue again.",
        name="resume",
        scope="manage",
        answers={204: None},
        refuses=(404,),
    )
    async def resume(request: Request, queue: str) -> bytes:
        if await queues.resume(queue) < 0:
            raise UnknownQueue
        return answer(request, 204, b"")


def _add_upkeep(routes: Routes, jobs: Jobs) -> None:
    @routes.at(
        "POST",
        "/v1/queues/<queue>/purge",
        summary="Delete a queue's jobs in a state, or all; the queue stays.",
        name="purge",
        scope="manage",
        body=Purge,
        refuses=(404,),
        answers={200: Purged},
    )
    async def purge(request: Request, queue: str) -> bytes:
        asked = decode(request.body, Purge)
        states = PURGED if asked.state == "all" else [asked.state]
        return json(request, Purged(await jobs.purge(queue, states, _match(asked.match))))

    @routes.at(
        "POST",
        "/v1/queues/<queue>/retry-dead",
        summary="Make dead jobs ready again, with no attempts counted.",
        name="retryDead",
        scope="manage",
        body=RetryDead,
        refuses=(404,),
        answers={200: Moved},
    )
    async def retry_dead(request: Request, queue: str) -> bytes:
        asked = decode(request.body, RetryDead)
        if [asked.ids is not None, asked.limit is not None, asked.all].count(True) != 1:
            raise BadRequest("give exactly one of ids, limit and all")
        if asked.ids is not None and asked.match is not None:
            raise BadRequest("ids and match exclude each other")
        if asked.ids is None:
            moved, _ = await jobs.retry_dead(queue, None, asked.limit, _match(asked.match))
            return json(request, Moved(moved, []))
        numbers = _numbers(queue, asked.ids)
        moved, missing = await jobs.retry_dead(queue, list(dict.fromkeys(filter(None, numbers.values()))))
        not_found = [each for each, number in numbers.items() if number is None or number in missing]
        return json(request, Moved(moved, not_found))


def _match(asked: MatchJobs | None) -> Match:
    """Which jobs are meant; all without a match. Raises BadRequest."""
    if asked is None:
        return ALL
    if asked.error is None and asked.older_than is None:
        raise BadRequest("match needs error or older_than")  # an empty one may be a mistake, and would mean all
    return Match(asked.error or "", asked.older_than)


def _numbers(queue: str, ids: Sequence[str]) -> dict[str, bytes | None]:
    """The numbers of these jobs; None for ids of other queues and invalid ones."""
    found: dict[str, bytes | None] = {}
    for each in ids:
        try:
            of, number = params.job_id(each)
            found[each] = number if of == queue else None
        except UnknownJob:
            found[each] = None
    return found
