"""Jobs in any state: looked up, listed, deleted, and dead ones made ready again.

A method calls one script; a method that concerns any number of jobs calls it for each 1,000. Errors are those of
`presque.jobs.queues`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from presque.errors import OutcomeUnknown, PartlyDone, StoreError, UnknownJob, UnknownQueue
from presque.jobs.queues import MOST_AT_ONCE, PAYLOAD_AT
from presque.redis.units import seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from twisted.internet.defer import Deferred

    from presque.redis.connection import Reply
    from presque.redis.store import Store

STATES = ("ready", "delayed", "leased", "dead")
PURGED = (
    "leased",
    "delayed",
    "ready",
    "dead",
)  # in this order, so that a job that changes its state meanwhile is found later

_NOTED = msgspec.msgpack.Decoder(list[tuple[int, float, str]])


@dataclass(frozen=True)
class Failure:
    """An attempt that failed: which, when (epoch seconds), and why."""

    attempt: int
    at: float
    error: str


@dataclass(frozen=True)
class Job:
    """Everything known about a job. Times are epoch seconds. `at` is when the job is due, its lease ends or it died;
    None when it is ready. `worker` is the name of the worker that holds it, or "".
    """

    job_id: str
    state: str
    payload: bytes
    created_at: float
    attempts: int
    max_attempts: int
    at: float | None
    failures: tuple[Failure, ...]
    uniq: bytes
    worker: str


class Jobs:
    """All jobs of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def look_up(self, queue: str, number: bytes) -> Deferred[Job]:
        """Everything known about one job. Fails with UnknownJob."""

        def found(row: Reply) -> Job:
            if not row:
                raise UnknownJob
            return _job(queue, number, row)

        return self._store.on_queue("look_up", queue, number).addCallback(found)

    def list_jobs(self, queue: str, state: str, first: int, limit: int) -> Deferred[tuple[list[Job], int | None]]:
        """A page of the jobs in a state: up to `limit` (1,000), beginning with the one at `first` (from 0). Fires with
        the jobs, and with where the next page begins, None after the last. Fails with UnknownQueue.
        """

        def found(reply: Reply) -> tuple[list[Job], int | None]:
            if not reply:
                raise UnknownQueue
            following, *rows = reply
            return [_job(queue, number, row) for number, *row in rows], None if following < 0 else following

        return self._store.on_queue("list_jobs", queue, state.encode(), b"%d" % first, b"%d" % limit).addCallback(found)

    def cancel(self, queue: str, number: bytes) -> Deferred[None]:
        """Delete a job in any state. Fails with UnknownJob."""

        def cancelled(found: Reply) -> None:
            if not found:
                raise UnknownJob

        return self._store.on_queue("cancel", queue, number).addCallback(cancelled)

    async def purge(self, queue: str, states: Iterable[str] = PURGED) -> int:
        """Delete the jobs in these states; the queue stays. Returns how many. Raises UnknownQueue, or PartlyDone when
        the store went away in between.
        """
        purged = 0
        for state in states:
            some = MOST_AT_ONCE
            while some:
                asked = self._store.on_queue("purge", queue, state.encode(), b"%d" % MOST_AT_ONCE)
                some = await _part(asked, "purged", purged)
                if some < 0 and not purged:
                    raise UnknownQueue
                some = max(some, 0)  # it was deleted in between
                purged += some
        return purged

    async def retry_dead(
        self, queue: str, numbers: Sequence[bytes] | None = None, limit: int | None = None
    ) -> tuple[int, list[bytes]]:
        """Make dead jobs ready again, with no attempts counted: those of `numbers`, or up to `limit`, or all that are
        dead now. Returns how many, and which of `numbers` were not dead. Raises UnknownQueue, or PartlyDone
        when the store went away in between.
        """
        if numbers is not None:
            moved, _, *missing = _known(await self._store.on_queue("retry_dead", queue, b"", *numbers))
            return moved, missing
        moved, left = 0, MOST_AT_ONCE if limit is None else limit
        while left > 0:
            asked = self._store.on_queue("retry_dead", queue, b"%d" % min(left, MOST_AT_ONCE))
            reply = await _part(asked, "moved", moved)
            some, dead = _known(reply) if reply or not moved else (0, 0)  # it was deleted in between
            if limit is None:
                left = limit = some + dead  # the number of jobs dead now
            moved += some
            left = left - some if some and dead else 0
        return moved, []


def _job(queue: str, number: bytes, row: Reply) -> Job:
    """A job from its row, see `parts/describe.lua`."""
    state, job, attempts, max_attempts, at, history, uniq, worker = row
    noted = _NOTED.decode(history) if history else []
    failures = tuple(Failure(attempt, seconds(int(when)), why) for attempt, when, why in noted)
    return Job(
        f"{queue}:{number.decode()}",
        state.decode(),
        job[PAYLOAD_AT:],
        seconds(int(job[: PAYLOAD_AT - 1])),
        int(attempts),
        int(max_attempts),
        seconds(int(float(at))) if at else None,
        failures,
        uniq,
        worker.decode(),
    )


def _known(reply: Reply) -> Reply:
    if not reply:
        raise UnknownQueue
    return reply


async def _part(asked: Deferred[Reply], verb: str, count: int) -> Reply:
    """Await one of several parts of a request. Raises PartlyDone if it fails after `count` jobs were `verb`."""
    try:
        return await asked
    except OutcomeUnknown:
        raise PartlyDone(verb, count) from None
    except StoreError:
        if count:
            raise PartlyDone(verb, count) from None
        raise
