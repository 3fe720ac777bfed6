"""Jobs in any state: looked up, listed, changed, deleted, and delayed or dead ones made ready.

A method calls one script; a method that concerns any number of jobs calls it for each 1,000. Errors are those of
`presque.jobs.queues`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from presque.errors import (
    InvalidCursor,
    OutcomeUnknown,
    PartlyDone,
    StoreError,
    UnknownJob,
    UnknownQueue,
    WrongState,
)
from presque.jobs.queues import MOST_AT_ONCE
from presque.jobs.records import created_at, live_of, options_of, payload_of
from presque.jobs.words import clock, number, unasked_since
from presque.redis.units import milliseconds, seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from twisted.internet.defer import Deferred

    from presque.redis.connection import Reply
    from presque.redis.store import Store

STATES = ("ready", "delayed", "leased", "dead")
PURGED = ("leased", "delayed", "ready", "dead")  # in this order: a job that changes its state meanwhile is found later


@dataclass(frozen=True)
class Failure:
    """An attempt that failed: which, when (epoch seconds), and why."""

    attempt: int
    at: float
    error: str


@dataclass(frozen=True)
class Why:
    """Why a job is where it is: a code of the contract, and a sentence. `before` is how many jobs will be handed out
    before a ready one, as things stand.
    """

    code: str
    text: str
    before: int | None = None


@dataclass(frozen=True)
class Match:
    """Which jobs a request is about: those whose last error contains `error`, and that were inserted `older_than`
    seconds ago or earlier.
    """

    error: str = ""
    older_than: float | None = None

    def to_store(self) -> tuple[bytes, bytes]:
        """As the scripts take it."""
        age = b"" if self.older_than is None else b"%d" % milliseconds(self.older_than)
        return self.error.encode(errors="surrogatepass"), age


@dataclass(frozen=True)
class Job:
    """Everything known about a job. Times are epoch seconds. `at` is when the job is due, its lease ends or it died;
    None when it is ready, or when that is not known of a job on its way to a consumer. `worker` is the name of the
    worker that holds it, or "". `why` is None for a job that is one of a list.
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
    priority: int
    expires_at: float | None
    headers: dict[str, str]
    why: Why | None = None


class Never:
    """The expiry of a job that does not expire."""


NEVER = Never()
ALL = Match()

_CURSOR = re.compile(r"[0-9]{1,17}:[0-9]{1,17}", re.ASCII)
_MOST = b"%d" % MOST_AT_ONCE


class Jobs:
    """All jobs of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def look_up(self, queue: str, number: bytes) -> Deferred[Job]:
        """Everything known about one job. Fails with UnknownJob."""
        return self._store.on_queue("look_up", queue, number).addCallback(_found, queue)

    def run_now(self, queue: str, number: bytes) -> Deferred[Job]:
        """Make a delayed or dead job ready, as if it had come due now; a dead one with no attempts counted. Fires with
        the job as it is then. Fails with UnknownJob, or WrongState if it is ready or leased.
        """
        return self._store.on_queue("run_now", queue, number).addCallback(_found, queue)

    def change(
        self,
        queue: str,
        number: bytes,
        due: float | None = None,
        delay: float | None = None,
        priority: int | None = None,
        expires: float | Never | None = None,
    ) -> Deferred[Job]:
        """Change when a ready or delayed job is due (`due`, epoch seconds, or in `delay` seconds), its priority, and
        when it expires (epoch seconds, or NEVER); None leaves each as it is. Fires with the job as it is then. Fails
        with UnknownJob, or WrongState if it is leased or dead.
        """
        due_at = _milliseconds(due) if delay is None else b"+" + _milliseconds(delay)
        expiry = b"-" if isinstance(expires, Never) else _milliseconds(expires)
        args = number, due_at, b"" if priority is None else b"%d" % priority, expiry
        return self._store.on_queue("change", queue, *args).addCallback(_found, queue)

    async def list_jobs(
        self, queue: str, state: str, cursor: str, limit: int, match: Match = ALL
    ) -> tuple[list[Job], str | None]:
        """A page of the jobs in a state: up to `limit` (1,000) that match, from a `cursor` on, "" for the first page.
        Returns the jobs, and the cursor of the next page, None after the last. A page may have fewer jobs, or none,
        and not be the last: the store looks at a bounded number. Whatever is taken, deleted or added meanwhile, a job
        that stays in the state, and is not changed, is on exactly one page. Raises UnknownQueue or InvalidCursor.
        """
        if cursor and not _CURSOR.fullmatch(cursor):
            raise InvalidCursor
        args = state.encode(), cursor.replace(":", " ").encode(), b"%d" % limit, *match.to_store()
        reply: Reply = 1
        while reply == 1:  # many jobs have come due, and one call moves a thousand
            reply = await self._store.on_queue("list_jobs", queue, *args)
        following, *rows = _known(reply)
        return [_job(queue, row) for row in rows], following.decode().replace(" ", ":") or None

    def cancel(self, queue: str, number: bytes) -> Deferred[None]:
        """Delete a job in any state. Fails with UnknownJob."""

        def cancelled(found: Reply) -> None:
            if not found:
                raise UnknownJob

        return self._store.on_queue("cancel", queue, number).addCallback(cancelled)

    async def purge(self, queue: str, states: Iterable[str] = PURGED, match: Match = ALL) -> int:
        """Delete the jobs in these states that match; the queue stays. Returns how many. Raises UnknownQueue, or
        PartlyDone when the store went away and some may be deleted.
        """
        purged = 0
        for state in states:
            cursor: bytes | None = b""
            while cursor is not None:
                asked = self._store.on_queue("purge", queue, state.encode(), cursor, _MOST, *match.to_store())
                reply = await _part(asked, "purged", purged)
                some, following = _known(reply) if reply or not purged else (0, b"")  # it was deleted in between
                purged += some
                cursor = following or None
        return purged

    async def retry_dead(
        self, queue: str, numbers: Sequence[bytes] | None = None, limit: int | None = None, match: Match = ALL
    ) -> tuple[int, list[bytes]]:
        """Make dead jobs ready again, with no attempts counted: those of `numbers`, or up to `limit` that match, or all
        that match and are dead now. Returns how many, and which of `numbers` were not dead. Raises UnknownQueue, or
        PartlyDone when the store went away and some may be ready.
        """
        if numbers is not None:
            moved, _, _, *missing = _known(await self._store.on_queue("retry_dead", queue, b"", *numbers))
            return moved, missing
        moved, left, cursor = 0, MOST_AT_ONCE if limit is None else limit, b""
        while left > 0:
            most = b"%d" % min(left, MOST_AT_ONCE)
            reply = await _part(
                self._store.on_queue("retry_dead", queue, most, cursor, *match.to_store()), "moved", moved
            )
            some, dead, cursor = _known(reply) if reply or not moved else (0, 0, b"")  # it was deleted in between
            if limit is None:
                left = limit = some + dead  # the number of jobs dead now
            moved += some
            left = left - some if cursor else 0
        return moved, []


def _milliseconds(seconds: float | None) -> bytes:
    return b"" if seconds is None else b"%d" % milliseconds(max(0, seconds))


def _found(reply: Reply, queue: str) -> Job:
    """The reply of `look_up`, `run_now` and `change`."""
    if reply == 0:
        raise WrongState
    if not reply:
        raise UnknownJob
    row, off, before, unasked = reply
    job = _job(queue, row)
    return replace(job, why=_why(job, off.decode(), before, unasked))


def _why(job: Job, off: str, before: int, unasked: int) -> Why | None:
    """Why the job is where it is. `off` is why the queue hands nothing out, `before` how many jobs are before it, and
    `unasked` since when nobody has asked for it, see `parts/unasked.lua`.
    """
    last = job.failures[-1].error if job.failures else ""
    at = "" if job.at is None else clock(job.at)
    until = f" until {at}" if at else ""
    if job.state == "dead":
        return Why("dead", f"since {at}, after {number(job.attempts, 'failed attempt')}: {last}")
    if job.state == "leased":
        return Why("leased", f"{job.worker or 'a worker'} has it{until}")
    if job.state == "delayed":
        if job.failures:
            return Why("backing-off", f"it waits{until} for its next try after: {last}")
        return Why("delayed", f"it waits{until}")
    if off:
        return Why(off, "the queue is paused", before)
    if unasked >= 0:
        return Why("no-consumer", unasked_since(unasked), before)
    return Why("waiting-turn", f"{number(before, 'job')} before it" if before else "it is next", before)


def _job(queue: str, row: Reply) -> Job:
    """A job from its row, see `parts/describe.lua`."""
    number, state, record, text, at, max_attempts, worker = row
    options, live = options_of(record), live_of(text)
    return Job(
        f"{queue}:{number.decode()}",
        state.decode(),
        payload_of(record),
        created_at(record),
        live.attempts,
        options.limit or int(max_attempts),
        seconds(int(at)) if at else None,
        tuple(Failure(attempt, seconds(when), why) for attempt, when, why in live.failures),
        options.uniq,
        worker.decode() or live.worker,
        options.priority,
        None if options.expires is None else seconds(options.expires),
        options.headers,
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
