"""Single jobs, in whatever state: looked up, listed, deleted. One script call a queue. Failures as in
`presque.jobs.queues`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from presque.errors import UnknownJob, UnknownQueue
from presque.jobs.queues import HEAD
from presque.redis.units import seconds

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from presque.redis.connection import Reply
    from presque.redis.store import Store

_NOTED = msgspec.msgpack.Decoder(list[tuple[int, float, str]])


@dataclass(frozen=True)
class Failure:
    """An attempt that failed: which, when (epoch seconds), and why."""

    attempt: int
    at: float
    error: str


@dataclass(frozen=True)
class Job:
    """All that is known of a job. Times are epoch seconds. `at` is when it is due, its lease ends or it died; None when
    it is ready. `worker` holds it, where that is known.
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
        """All that is known of one job. Fails with UnknownJob."""

        def found(row: Reply) -> Job:
            if not row:
                raise UnknownJob
            return _job(queue, number, row)

        return self._store.on_queue("look_up", queue, number).addCallback(found)

    def list_jobs(self, queue: str, state: str, first: int, limit: int) -> Deferred[tuple[list[Job], int | None]]:
        """Up to `limit` (1,000) jobs of a state, from number `first` of its list on (0 is the first), and where the
        next page begins, None after the last. Fails with UnknownQueue.
        """

        def found(reply: Reply) -> tuple[list[Job], int | None]:
            if not reply:
                raise UnknownQueue
            following, *rows = reply
            return [_job(queue, number, row) for number, *row in rows], None if following < 0 else following

        return self._store.on_queue("list_jobs", queue, state.encode(), b"%d" % first, b"%d" % limit).addCallback(found)

    def cancel(self, queue: str, number: bytes) -> Deferred[None]:
        """Delete a job, whatever its state. Fails with UnknownJob."""

        def cancelled(found: Reply) -> None:
            if not found:
                raise UnknownJob

        return self._store.on_queue("cancel", queue, number).addCallback(cancelled)


def _job(queue: str, number: bytes, row: Reply) -> Job:
    """A job from its row, see `parts/describe.lua`."""
    state, job, attempts, max_attempts, at, history, uniq, worker = row
    noted = _NOTED.decode(history) if history else []
    failures = tuple(Failure(attempt, seconds(int(when)), why) for attempt, when, why in noted)
    return Job(
        f"{queue}:{number.decode()}",
        state.decode(),
        job[HEAD:],
        seconds(int(job[: HEAD - 1])),
        int(attempts),
        int(max_attempts),
        seconds(int(float(at))) if at else None,
        failures,
        uniq,
        worker.decode(),
    )
