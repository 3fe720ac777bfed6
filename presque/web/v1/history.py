"""History under `/v1`: what has happened to a queue, or to all of them, in the last hour and the last day."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET, Struct, UnsetType

from presque.web.answers import json

if TYPE_CHECKING:
    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.history import History, Past, Row


class RowView(Struct):
    """A minute, or ten of them, from `at` (epoch seconds) on. Per minute: jobs inserted, jobs ended (delivered for good
    or acknowledged), attempts failed, jobs died. At the end: jobs by state, and the age of the oldest ready one
    (seconds; null without any).
    """

    at: int
    inserted: float
    ended: float
    failed: float
    died: float
    ready: int
    delayed: int
    leased: int
    dead: int
    oldest_ready_age: int | None


class HistoryView(Struct):
    """The last 60 minutes, and the last 144 times of ten minutes, the oldest first. `missing_partitions` did not
    answer, so their queues are not counted; absent when all answered.
    """

    minutes: list[RowView]
    ten_minutes: list[RowView]
    missing_partitions: list[int] | UnsetType = UNSET


def add(routes: Routes, history: History) -> None:
    """Declare the routes."""

    @routes.at(
        "GET",
        "/v1/queues/<queue>/history",
        summary="Show a queue's last hour by the minute, and its last day by ten minutes.",
        name="showHistory",
        answers={200: HistoryView},
        refuses=(404,),
        scope="read",
    )
    async def of_queue(request: Request, queue: str) -> bytes:
        return json(request, _view(await history.of(queue)))

    @routes.at(
        "GET",
        "/v1/history",
        summary="Show the last hour of all queues together by the minute, and the last day by ten minutes.",
        name="showAllHistory",
        answers={200: HistoryView},
        scope="read:*",
    )
    async def of_all(request: Request) -> bytes:
        past, missing = await history.of_all()
        return json(request, _view(past, missing))


def _view(past: Past, missing: list[int] | None = None) -> HistoryView:
    return HistoryView([_row(row) for row in past.minutes], [_row(row) for row in past.tens], missing or UNSET)


def _row(row: Row) -> RowView:
    counted = row.inserted, row.ended, row.failed, row.died
    inserted, ended, failed, died = (round(count / row.minutes, 2) for count in counted)
    return RowView(row.at, inserted, ended, failed, died, row.ready, row.delayed, row.leased, row.dead, row.oldest)
