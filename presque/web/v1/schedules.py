"""Schedules under `/v1`: created, changed, shown, listed, run at once, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from presque.errors import Duplicate, NotAccepting, QueueFull, TooManyQueues
from presque.jobs import cron, times
from presque.jobs.records import DEFAULT_PRIORITY
from presque.web import params
from presque.web.answers import answer, json
from presque.web.bad_request import BadRequest
from presque.web.bodies import decode
from presque.web.readable import page_of_schedules
from presque.web.v1.insertion import JobRef, NewJob, new_job, refuse_lone_surrogates

if TYPE_CHECKING:
    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.schedules import Schedule, Schedules

PATH = "/v1/queues/<queue>/schedules/<name>"

Expression = Annotated[str, Meta(max_length=cron.LONGEST)]
Interval = Annotated[float, Meta(ge=times.SHORTEST, le=times.LONGEST)]
Zone = Annotated[str, Meta(max_length=cron.LONGEST_ZONE)]

# Why a schedule inserted no job: see `State` in presque.jobs.schedules.
REASONS = {
    "missed": "the time was missed: no daemon was running, or the store was away",
    "overlap": "the previous job is unfinished",
    "duplicate": Duplicate.message,
    "full": QueueFull.message,
    "large": QueueFull.message,
    "many": TooManyQueues.message,
    "closed": NotAccepting.message,
}


class NewSchedule(Struct, forbid_unknown_fields=True):
    """When to insert which job: either at the times of `cron`, five fields, in `timezone`, or at intervals of `every`
    seconds. `job` is as on insertion, without `run_at` and `expires_at`; `delay` and `expires_in` count from the
    insertion.
    """

    job: NewJob
    cron: Expression | None = None
    every: Interval | None = None
    timezone: Zone = "UTC"
    misfire: Literal["once", "skip", "all"] = "once"
    overlap: Literal["allow", "skip"] = "allow"
    paused: bool = False


class ScheduledJob(Struct, omit_defaults=True):
    """The job that a schedule inserts."""

    payload: Raw
    delay: float | None = None
    unique: str | None = None
    max_attempts: int | None = None
    priority: int | None = None
    expires_in: float | None = None
    headers: dict[str, str] = {}


class ScheduleView(Struct, omit_defaults=True):
    """A schedule and what it has done: how many jobs it inserted (`fired`), and which one last (`last_job`) and when
    (`last_at`); how many times were `skipped`, and why and when the last of them. `next_at` is null if it is paused.
    """

    queue: str
    name: str
    timezone: str
    misfire: Literal["once", "skip", "all"]
    overlap: Literal["allow", "skip"]
    paused: bool
    job: ScheduledJob
    created_at: float
    next_at: float | None
    fired: int
    skipped: int
    cron: str | None = None
    every: float | None = None
    last_at: float | None = None
    last_job: str | None = None
    last_error: str | None = None
    last_error_at: float | None = None


class SchedulePage(Struct):
    """Some schedules, sorted by `<queue>/<name>`; `next` is the cursor of the next page, null on the last.
    `missing_partitions` did not answer, so their schedules are not listed; absent when all answered.
    """

    schedules: list[ScheduleView]
    next: str | None
    missing_partitions: list[int] | UnsetType = UNSET


class Times(Struct):
    """The next times of a schedule."""

    times: list[float]


def add(routes: Routes, schedules: Schedules) -> None:
    """Declare the routes."""
    _add_change(routes, schedules)
    _add_look(routes, schedules)
    _add_run(routes, schedules)


def _add_change(routes: Routes, schedules: Schedules) -> None:
    @routes.at(
        "PUT",
        PATH,
        summary="Create a schedule, or change it; this never fires it.",
        name="putSchedule",
        scope="manage",
        body=NewSchedule,
        answers={200: ScheduleView, 201: ScheduleView},
    )
    async def put(request: Request, queue: str, name: str) -> bytes:
        new = decode(request.body, NewSchedule)
        refuse_lone_surrogates([new.job], request.body)
        if new.job.run_at is not None or new.job.expires_at is not None:
            raise BadRequest("the job of a schedule has delay and expires_in, not run_at and expires_at")
        schedule, is_new = await schedules.put(queue, name, _definition(new), new_job(new.job))
        return json(request, _view(schedule), 201 if is_new else 200)

    @routes.at(
        "DELETE",
        PATH,
        summary="Delete a schedule; jobs that it has inserted stay.",
        name="deleteSchedule",
        scope="manage",
        answers={204: None},
        refuses=(404,),
    )
    async def delete(request: Request, queue: str, name: str) -> bytes:
        await schedules.delete(queue, name)
        return answer(request, 204, b"")


def _add_look(routes: Routes, schedules: Schedules) -> None:
    @routes.at(
        "GET",
        PATH,
        summary="Show a schedule.",
        name="getSchedule",
        scope="read",
        answers={200: ScheduleView},
        refuses=(404, 409),
    )
    async def get(request: Request, queue: str, name: str) -> bytes:
        return json(request, _view(await schedules.get(queue, name)))

    @routes.at(
        "GET",
        "/v1/schedules",
        summary="List all schedules, sorted by <queue>/<name>.",
        name="listSchedules",
        scope="read",
        answers={200: SchedulePage},
        query=("limit", "cursor"),
    )
    async def list_schedules(request: Request) -> bytes:
        asked = params.text(request, b"cursor"), params.limit(request)
        found, following, missing = await page_of_schedules(request, schedules, *asked)
        return json(request, SchedulePage([_view(each) for each in found], following, missing or UNSET))

    @routes.at(
        "GET",
        PATH + "/next",
        summary="List the next times of a schedule, or those that it would have if it is paused.",
        name="nextTimes",
        scope="read",
        answers={200: Times},
        refuses=(404, 409),
        query=("count",),
    )
    async def next_times(request: Request, queue: str, name: str) -> bytes:
        return json(request, Times(await schedules.next_times(queue, name, params.count(request))))


def _add_run(routes: Routes, schedules: Schedules) -> None:
    @routes.at(
        "POST",
        PATH + "/run-now",
        summary="Insert the job of a schedule now, even if the schedule is paused; its times go on as they were.",
        name="runSchedule",
        scope="manage",
        answers={201: JobRef},
        refuses=(404, 409, 429),
        tells=("Location",),
    )
    async def run_now(request: Request, queue: str, name: str) -> bytes:
        job_id, state = await schedules.run_now(queue, name)
        request.set_header(b"Location", b"/v1/jobs/" + job_id.encode())
        return json(request, JobRef(job_id, state), 201)


def _definition(new: NewSchedule) -> times.Definition:
    every = None if new.every is None else round(new.every, 3)
    return times.Definition(new.cron, every, new.timezone, new.misfire, new.overlap, new.paused)


def _view(schedule: Schedule) -> ScheduleView:
    definition, state, job = schedule.definition, schedule.state, schedule.job
    every = definition.every
    return ScheduleView(
        schedule.queue,
        schedule.name,
        definition.timezone,
        definition.misfire,
        definition.overlap,
        definition.paused,
        ScheduledJob(
            Raw(job.payload),
            job.delay,
            job.uniq.decode() or None,
            job.max_attempts,
            None if job.priority == DEFAULT_PRIORITY else job.priority,
            job.expires_in,
            job.headers or {},
        ),
        state.created_at,
        schedule.next_at,
        state.fired,
        state.skipped,
        cron=definition.cron,
        every=int(every) if every and every.is_integer() else every,
        last_at=state.last_at,
        last_job=schedule.last_job,
        last_error=REASONS.get(state.why, state.why) or None,
        last_error_at=state.why_at,
    )
