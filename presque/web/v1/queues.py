"""Queues under `/v1`: described, set, stopped, purged, deleted, and their dead retried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from presque.errors import UnknownJob, UnknownQueue
from presque.jobs.queues import PURGED
from presque.web import params
from presque.web.answers import answer, json
from presque.web.bad_request import BadRequest
from presque.web.bodies import decode
from presque.web.v1 import models

if TYPE_CHECKING:
    from collections.abc import Sequence

    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.queues import Counts, Queues

# Setting of PATCH -> (its name in the store, what makes its unit from seconds)
_SETTINGS = {"lease": 1000, "max_attempts": 1, "max_length": 1, "redeliver_after": 1000}
_BACKOFF = {"first": 1000, "factor": 1, "max": 1000}
_DEAD_KEEP = {"count": 1, "age": 1000}


def add(routes: Routes, queues: Queues) -> None:
    """Declare the routes."""
    _add_queues(routes, queues)
    _add_policy(routes, queues)
    _add_upkeep(routes, queues)


def _add_queues(routes: Routes, queues: Queues) -> None:
    @routes.at(
        "GET",
        "/v1/queues",
        summary="All queues, by name.",
        name="listQueues",
        answers={200: models.QueuePage},
        query=("limit", "cursor"),
    )
    async def names(request: Request) -> bytes:
        most, after = params.limit(request), params.text(request, b"cursor")
        found, missing = await queues.names(after, most + 1)
        page = found[:most]
        counts, more_missing = await queues.overview(page)
        views = [_queue_view(name, counts[name]) for name in page if name in counts]
        absent = sorted({*missing, *more_missing})
        return json(request, models.QueuePage(views, page[-1] if len(found) > most else None, absent or UNSET))

    @routes.at(
        "GET",
        "/v1/queues/<queue>",
        summary="A queue in numbers, with its policy and settings.",
        name="describeQueue",
        answers={200: models.QueueView},
        refuses=(404,),
    )
    async def describe(request: Request, queue: str) -> bytes:
        counts = await queues.counts(queue)
        if not counts.exists:
            raise UnknownQueue
        return json(request, _queue_view(queue, counts))

    @routes.at(
        "PATCH",
        "/v1/queues/<queue>",
        summary="Change a queue's settings; the queue begins with it if need be.",
        name="configureQueue",
        body=models.QueueSettings,
        answers={200: models.QueueView},
    )
    async def configure(request: Request, queue: str) -> bytes:
        changes = _changes(decode(request.body, models.QueueSettings))
        return json(request, _queue_view(queue, await queues.configure(queue, changes)))

    @routes.at(
        "DELETE",
        "/v1/queues/<queue>",
        summary="Delete a queue with everything in it.",
        name="deleteQueue",
        answers={204: None},
        refuses=(404,),
    )
    async def delete(request: Request, queue: str) -> bytes:
        if not await queues.delete(queue):
            raise UnknownQueue
        return answer(request, 204, b"")


def _changes(asked: models.QueueSettings) -> dict[str, str]:
    """The settings that a PATCH names, as `presque.redis.keys` measures them; "" for the default."""
    changes: dict[str, str] = {}

    def note(name: str, value: Any, unit: int) -> None:
        if value is not UNSET:
            changes[name] = "" if value is None else f"{round(value * unit, 6):.15g}"

    for name, unit in _SETTINGS.items():
        note(name, getattr(asked, name), unit)
    if asked.accepting is not UNSET:
        changes["accepting"] = "0" if asked.accepting is False else ""
    for prefix, group, units in (("backoff", asked.backoff, _BACKOFF), ("dead", asked.dead_keep, _DEAD_KEEP)):
        for name, unit in units.items():
            note(f"{prefix}_{name}", None if group is None else getattr(group, name, UNSET), unit)
    return changes


def _queue_view(name: str, counts: Counts) -> models.QueueView:
    def value(setting: str, unit: int) -> Any:
        text = counts.settings[setting]
        number = float(text) / unit if text else None
        return int(number) if number is not None and number == int(number) else number

    settings = models.QueueSettings(
        **{name: value(name, unit) for name, unit in _SETTINGS.items()},
        backoff=models.Backoff(**{name: value(f"backoff_{name}", unit) for name, unit in _BACKOFF.items()}),
        dead_keep=models.DeadKeep(**{name: value(f"dead_{name}", unit) for name, unit in _DEAD_KEEP.items()}),
        accepting=counts.settings["accepting"] != "0",
    )
    figures = (counts.ready, counts.delayed, counts.leased, counts.dead, counts.processed, counts.failed)
    return models.QueueView(name, "closed" if counts.paused else "open", *figures, counts.oldest, settings)


def _add_policy(routes: Routes, queues: Queues) -> None:
    @routes.at(
        "POST",
        "/v1/queues/<queue>/pause",
        summary="Stop a queue, which begins with it if need be: it takes insertions and hands nothing out.",
        name="pause",
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
        answers={204: None},
        refuses=(404,),
    )
    async def resume(request: Request, queue: str) -> bytes:
        if await queues.resume(queue) < 0:
            raise UnknownQueue
        return answer(request, 204, b"")


def _add_upkeep(routes: Routes, queues: Queues) -> None:
    @routes.at(
        "POST",
        "/v1/queues/<queue>/purge",
        summary="Delete a queue's jobs of a state, or all; the queue stays.",
        name="purge",
        body=models.Purge,
        refuses=(404,),
        answers={200: models.Purged},
    )
    async def purge(request: Request, queue: str) -> bytes:
        state = decode(request.body, models.Purge).state
        return json(request, models.Purged(await queues.purge(queue, PURGED if state == "all" else [state])))

    @routes.at(
        "POST",
        "/v1/queues/<queue>/retry-dead",
        summary="Make dead jobs ready again, with all their attempts before them.",
        name="retryDead",
        body=models.RetryDead,
        refuses=(404,),
        answers={200: models.Moved},
    )
    async def retry_dead(request: Request, queue: str) -> bytes:
        asked = decode(request.body, models.RetryDead)
        if [asked.ids is not None, asked.limit is not None, asked.all].count(True) != 1:
            raise BadRequest("give exactly one of ids, limit and all")
        if asked.ids is None:
            moved, _ = await queues.retry_dead(queue, None, asked.limit)
            return json(request, models.Moved(moved, []))
        numbers = _numbers(queue, asked.ids)
        moved, missing = await queues.retry_dead(queue, list(dict.fromkeys(filter(None, numbers.values()))))
        not_found = [each for each, number in numbers.items() if number is None or number in missing]
        return json(request, models.Moved(moved, not_found))


def _numbers(queue: str, ids: Sequence[str]) -> dict[str, bytes | None]:
    """The numbers of these jobs, None for what is no job of this queue."""
    found: dict[str, bytes | None] = {}
    for each in ids:
        try:
            of, number = params.job_id(each)
            found[each] = number if of == queue else None
        except UnknownJob:
            found[each] = None
    return found
