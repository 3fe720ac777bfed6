"""The queues that a request may read, of all that there are: page by page, so that other requests get their turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presque.jobs.queues import MOST_AT_ONCE
from presque.web.auth import is_restricted, may

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from presque.http.request import Request
    from presque.jobs.queue_list import QueueList
    from presque.jobs.schedules import Schedule, Schedules

SCHEDULES = 250  # that are looked at together


async def page_of_names(
    request: Request, queue_list: QueueList, after: str, limit: int
) -> tuple[list[str], str | None, list[int]]:
    """The sorted names of up to `limit` queues after the name `after`; the name after which the next page begins, None
    on the last; and the partitions that did not answer. Raises InvalidName.
    """
    if not is_restricted(request, "read"):
        names, missing = await queue_list.names(after, limit + 1)
        page = names[:limit]
        return page, page[-1] if len(names) > limit else None, missing
    page, absent = [], set[int]()
    while True:
        names, missing = await queue_list.names(after, MOST_AT_ONCE)
        absent.update(missing)
        for name in names:
            if may(request, "read", name):
                if len(page) == limit:  # the cursor is a name that was shown: it tells of no other queue
                    return page, page[-1], sorted(absent)
                page.append(name)
        if len(names) < MOST_AT_ONCE:
            return page, None, sorted(absent)
        after = names[-1]


async def page_of_schedules(
    request: Request, schedules: Schedules, cursor: str, limit: int
) -> tuple[list[Schedule], str | None, list[int]]:
    """As Schedules.list_schedules, of the queues that the request may read."""
    if not is_restricted(request, "read"):
        return await schedules.list_schedules(cursor, limit)
    page: list[Schedule] = []
    absent, following = set[int](), cursor
    while True:
        found, more, missing = await schedules.list_schedules(following, SCHEDULES)
        absent.update(missing)
        for schedule in found:
            if may(request, "read", schedule.queue):
                if len(page) == limit:
                    return page, f"{page[-1].queue}/{page[-1].name}", sorted(absent)
                page.append(schedule)
        if more is None:
            return page, None, sorted(absent)
        following = more


async def all_names(request: Request, queue_list: QueueList, missing: list[int]) -> AsyncIterator[list[str]]:
    """As QueueList.all_names, of the queues that the request may read."""
    async for names in queue_list.all_names(missing):
        yield [name for name in names if may(request, "read", name)] if request.token else names


async def sums(request: Request, queue_list: QueueList) -> tuple[int, int, list[int]]:
    """The jobs handed out and failed, summed over the queues that the request may read, and the partitions that did not
    answer.
    """
    processed = failed = 0
    missing: list[int] = []
    async for names in all_names(request, queue_list, missing):
        counts, more_missing = await queue_list.overview(names)
        missing += more_missing
        processed += sum(each.processed for each in counts.values())
        failed += sum(each.failed for each in counts.values())
    return processed, failed, sorted(set(missing))
