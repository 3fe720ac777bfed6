"""The routes of `/v1`: at-least-once, with leases. Errors are problems (RFC 9457)."""

from __future__ import annotations

from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from presque.errors import InvalidName, LeaseLost, UnknownJob, UnknownQueue
from presque.leases import Settlement
from presque.queues import STATES, NewJob
from presque.web import models, params
from presque.web.answers import answer, json
from presque.web.params import BadRequest

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from presque.leases import Job, Leased, Leases, Settled
    from presque.queues import Counts, Queues
    from presque.waiting import Waiting
    from presque.web.handoff import Handoff
    from presque.web.routing import Routes
    from presque.web.site import Request

MOST_QUEUES = 20  # in one reservation
RESULTS = {"ack": "acked", "release": "released", "lost": "lease-lost", "gone": "not-found"}

# Setting of PATCH -> (its name in the store, what makes its unit from seconds)
_SETTINGS = {"lease": 1000, "max_attempts": 1, "max_length": 1, "redeliver_after": 1000}
_BACKOFF = {"first": 1000, "factor": 1, "max": 1000}
_DEAD_KEEP = {"count": 1, "age": 1000}


def add(routes: Routes, queues: Queues, leases: Leases, waiting: Waiting, handoff: Handoff) -> None:
    """Declare the routes of `/v1`."""
    _add_insertion(routes, queues)
    _add_reservation(routes, leases, waiting, handoff)
    _add_settlement(routes, leases)
    _add_settlements(routes, leases)
    _add_jobs(routes, leases)
    _add_queues(routes, queues, leases)
    _add_queue(routes, queues, leases)
    _add_upkeep(routes, queues)


def _add_insertion(routes: Routes, queues: Queues) -> None:
    @routes.at(
        "POST",
        "/v1/queues/<queue>/jobs",
        summary="Insert a job, or up to 1000, all or none.",
        body=models.NewJob | models.NewJobs,
        answers={201: models.JobRef | models.JobRefs},
        headers=("Idempotency-Key",),
    )
    async def insert(request: Request, queue: str) -> bytes:
        body = params.body(request)
        several = isinstance(params.parse(body, dict[str, msgspec.Raw]).get("jobs"), msgspec.Raw)
        specs = params.parse(body, models.NewJobs).jobs if several else [params.parse(body, models.NewJob)]
        key = params.idempotency_key(request)
        fingerprint = blake2b(body, digest_size=16).hexdigest().encode()
        inserted = await queues.insert(queue, [_new_job(spec) for spec in specs], key, fingerprint)
        if several:
            return json(request, {"jobs": [{"id": job_id, "state": state} for job_id, state in inserted]}, 201)
        ((job_id, state),) = inserted
        request.setHeader(b"Location", b"/v1/jobs/" + job_id.encode())
        return json(request, {"id": job_id, "state": state}, 201)


def _new_job(spec: models.NewJob) -> NewJob:
    if spec.delay is not None and spec.run_at is not None:
        raise BadRequest("delay and run_at exclude each other")
    return NewJob(bytes(spec.payload), spec.run_at, spec.delay, (spec.unique or "").encode(), spec.max_attempts)


def _add_reservation(routes: Routes, leases: Leases, waiting: Waiting, handoff: Handoff) -> None:
    @routes.at(
        "POST",
        "/v1/queues/<queues>/reservations",
        summary="Lease jobs of the first of these queues (separated by commas) that has any, or wait for one.",
        body=models.Reserve,
        answers={200: models.Reservation},
        takes=True,
    )
    def reserve(request: Request, queues: str) -> Deferred[bytes]:
        asked = params.parse(params.body(request) or b"{}", models.Reserve)
        names = list(dict.fromkeys(queues.split(",")))
        if len(names) > MOST_QUEUES:
            raise BadRequest(f"at most {MOST_QUEUES} queues in one reservation")
        worker = params.worker(request, asked.worker_id)

        def compose(leased: Leased) -> bytes:
            return json(request, models.Reservation(_reserved(leased)))

        taking = waiting.take(names, lambda name: leases.reserve(name, asked.max, asked.lease, worker), asked.wait)
        return handoff.deliver(request, taking, asked.wait > 0, compose)


def _reserved(leased: Leased) -> list[models.ReservedJob]:
    receipt, ends_at = leased.receipt.decode(), leased.ends_at / 1000
    rows = zip(leased.numbers, leased.payloads, leased.attempts, leased.limits, leased.created, strict=True)
    return [
        models.ReservedJob(
            f"{leased.queue}:{number.decode()}",
            leased.queue,
            msgspec.Raw(payload),
            receipt,
            attempt,
            limit,
            created / 1000,
            ends_at,
        )
        for number, payload, attempt, limit, created in rows
    ]


def _add_settlement(routes: Routes, leases: Leases) -> None:
    @routes.at("POST", "/v1/jobs/<job_id>/ack", summary="The job ends.", body=models.Ack, answers={204: None})
    async def ack(request: Request, job_id: str) -> bytes:
        await _settle_one(leases, job_id, "ack", params.parse(params.body(request), models.Ack))
        return answer(request, 204, b"")

    @routes.at(
        "POST",
        "/v1/jobs/<job_id>/nack",
        summary="The attempt failed: the job waits for its next try, or is dead.",
        body=models.Nack,
        answers={200: models.NackResult},
    )
    async def nack(request: Request, job_id: str) -> bytes:
        settled = await _settle_one(leases, job_id, "nack", params.parse(params.body(request), models.Nack))
        state: Any = settled.word
        return json(request, models.NackResult(state, settled.due_at / 1000 if state == "delayed" else None))

    @routes.at(
        "POST",
        "/v1/jobs/<job_id>/release",
        summary="The job goes back, and the attempt is not counted.",
        body=models.Release,
        answers={204: None},
    )
    async def release(request: Request, job_id: str) -> bytes:
        await _settle_one(leases, job_id, "release", params.parse(params.body(request), models.Release))
        return answer(request, 204, b"")

    @routes.at(
        "POST",
        "/v1/jobs/<job_id>/extend",
        summary="The lease begins anew; the receipt stays the same.",
        body=models.Extend,
        answers={200: models.Extended},
    )
    async def extend(request: Request, job_id: str) -> bytes:
        queue, number = params.job_id(job_id)
        asked = params.parse(params.body(request), models.Extend)
        ends_at = await leases.extend(queue, number, asked.receipt.encode(), asked.lease)
        return json(request, models.Extended(ends_at / 1000))


def _add_settlements(routes: Routes, leases: Leases) -> None:
    @routes.at(
        "POST",
        "/v1/settlements",
        summary="Settle up to 1000 jobs, each for itself; one script call a queue.",
        body=models.Settlements,
        answers={200: models.SettleResults},
    )
    async def settle(request: Request) -> bytes:
        said = params.parse(params.body(request), models.Settlements).settlements
        by_queue: dict[str, list[tuple[int, Settlement]]] = {}
        results = [models.SettleResult(each.id, "not-found") for each in said]
        for place, each in enumerate(said):
            with suppress(UnknownJob):
                queue, number = params.job_id(each.id)
                settlement = Settlement(number, each.receipt.encode(), each.outcome, each.delay, each.error)
                by_queue.setdefault(queue, []).append((place, settlement))
        for queue, places in by_queue.items():
            try:
                settled = await leases.settle(queue, [settlement for _, settlement in places])
            except InvalidName:
                continue  # no job can have such an id
            for (place, _), became in zip(places, settled, strict=True):
                word: Any = RESULTS.get(became.word, became.word)
                due_at = became.due_at / 1000 if became.word == "delayed" else None
                results[place] = models.SettleResult(said[place].id, word, due_at)
        return json(request, {"results": results})


async def _settle_one(
    leases: Leases, job_id: str, outcome: str, said: models.Ack | models.Nack | models.Release
) -> Settled:
    queue, number = params.job_id(job_id)
    delay, why = getattr(said, "delay", None), getattr(said, "error", "")
    (settled,) = await leases.settle(queue, [Settlement(number, said.receipt.encode(), outcome, delay, why)])
    if settled.word == "lost":
        raise LeaseLost
    if settled.word == "gone":
        raise UnknownJob
    return settled


def _add_jobs(routes: Routes, leases: Leases) -> None:
    @routes.at("GET", "/v1/jobs/<job_id>", summary="All that is known of a job.", answers={200: models.JobView})
    async def look_up(request: Request, job_id: str) -> bytes:
        return json(request, _job_view(await leases.look_up(*params.job_id(job_id))))

    @routes.at("DELETE", "/v1/jobs/<job_id>", summary="Delete a job, whatever its state.", answers={204: None})
    async def cancel(request: Request, job_id: str) -> bytes:
        await leases.cancel(*params.job_id(job_id))
        return answer(request, 204, b"")


def _job_view(job: Job) -> models.JobView:
    at = None if job.at is None else job.at / 1000
    state: Any = job.state
    return models.JobView(
        job.job_id,
        job.job_id.rpartition(":")[0],
        state,
        msgspec.Raw(job.payload),
        job.attempts,
        job.limit,
        job.created / 1000,
        due_at=at if state == "delayed" else None,
        lease_expires_at=at if state == "leased" else None,
        died_at=at if state == "dead" else None,
        unique=job.uniq.decode(errors="replace") or None,
        last_error=job.failures[-1].error if job.failures else None,
        history=[models.FailedAttempt(each.attempt, each.at / 1000, each.error) for each in job.failures],
    )


def _add_queues(routes: Routes, queues: Queues, leases: Leases) -> None:
    @routes.at(
        "GET", "/v1/queues", summary="All queues, by name.", answers={200: models.QueuePage}, query=("limit", "cursor")
    )
    async def names(request: Request) -> bytes:
        most, after = params.limit(request), params.text(request, b"cursor")
        found = await queues.names(after, most + 1)
        page = found[:most]
        views = list(map(_queue_view, page, await queues.overview(page)))
        return json(request, models.QueuePage(views, page[-1] if len(found) > most else None))

    @routes.at(
        "GET",
        "/v1/queues/<queue>",
        summary="A queue in numbers, with its policy and settings.",
        answers={200: models.QueueView},
    )
    async def describe(request: Request, queue: str) -> bytes:
        counts = await queues.counts(queue)
        if not counts.exists:
            raise UnknownQueue
        return json(request, _queue_view(queue, counts))


def _add_queue(routes: Routes, queues: Queues, leases: Leases) -> None:
    @routes.at(
        "PATCH",
        "/v1/queues/<queue>",
        summary="Change a queue's settings; the queue begins with it if need be.",
        body=models.QueueSettings,
        answers={200: models.QueueView},
    )
    async def configure(request: Request, queue: str) -> bytes:
        changes = _changes(params.parse(params.body(request), models.QueueSettings))
        return json(request, _queue_view(queue, await queues.configure(queue, changes)))

    @routes.at("DELETE", "/v1/queues/<queue>", summary="Delete a queue with everything in it.", answers={204: None})
    async def delete(request: Request, queue: str) -> bytes:
        await queues.delete(queue)
        return answer(request, 204, b"")

    @routes.at(
        "GET",
        "/v1/queues/<queue>/jobs",
        summary="The jobs of a state (ready, delayed, leased, dead), a page at a time.",
        answers={200: models.JobPage},
        query=("state", "limit", "cursor"),
    )
    async def jobs(request: Request, queue: str) -> bytes:
        state = params.text(request, b"state") or "ready"
        if state not in STATES:
            raise BadRequest(f"state must be one of {', '.join(STATES)}")
        cursor = params.text(request, b"cursor") or "0"
        if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 16):
            raise BadRequest("cursor must be the next of the page before")
        page, following = await leases.page(queue, state, int(cursor), params.limit(request))
        views = [_job_view(job) for job in page]
        return json(request, models.JobPage(views, None if following is None else str(following)))


def _changes(asked: models.QueueSettings) -> dict[str, str]:
    """The settings that a PATCH names, as `presque.keys` measures them; "" for the default."""
    changes: dict[str, str] = {}

    def note(name: str, value: Any, unit: int) -> None:
        if value is not UNSET:
            changes[name] = "" if value is None else f"{round(value * unit, 6):.15g}"

    for name, unit in _SETTINGS.items():
        note(name, getattr(asked, name), unit)
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
    )
    figures = (counts.ready, counts.delayed, counts.leased, counts.dead, counts.processed, counts.failed)
    return models.QueueView(name, "closed" if counts.paused else "open", *figures, counts.oldest, settings)


def _add_upkeep(routes: Routes, queues: Queues) -> None:
    @routes.at(
        "POST",
        "/v1/queues/<queue>/pause",
        summary="Stop a queue: it takes insertions and hands nothing out.",
        answers={204: None},
    )
    async def pause(request: Request, queue: str) -> bytes:
        await queues.pause(queue)
        return answer(request, 204, b"")

    @routes.at("POST", "/v1/queues/<queue>/resume", summary="Open a queue again.", answers={204: None})
    async def resume(request: Request, queue: str) -> bytes:
        await queues.resume(queue)
        return answer(request, 204, b"")

    @routes.at(
        "POST",
        "/v1/queues/<queue>/purge",
        summary="Delete a queue's jobs of a state, without one all; the queue stays.",
        body=models.Purge,
        answers={204: None},
    )
    async def purge(request: Request, queue: str) -> bytes:
        state = params.parse(params.body(request) or b"{}", models.Purge).state
        await (queues.purge(queue) if state is None else queues.purge(queue, [state]))
        return answer(request, 204, b"")

    @routes.at(
        "POST",
        "/v1/queues/<queue>/retry-dead",
        summary="Make dead jobs ready again, with all their attempts before them.",
        body=models.RetryDead,
        answers={200: models.Moved},
    )
    async def retry_dead(request: Request, queue: str) -> bytes:
        asked = params.parse(params.body(request), models.RetryDead)
        if (asked.ids is None) == (asked.limit is None):
            raise BadRequest("either ids or limit")
        numbers = None
        if asked.ids is not None:
            ids = [params.job_id(each) for each in asked.ids]
            numbers = [number for of, number in ids if of == queue]
        return json(request, models.Moved(await queues.retry_dead(queue, numbers, asked.limit or 0)))
