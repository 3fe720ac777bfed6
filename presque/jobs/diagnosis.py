"""Why the jobs of a queue do not run, from facts in the store: a list of reasons, what stops everything first.

Errors are those of `presque.jobs.queues`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from presque.errors import UnknownQueue
from presque.jobs.jobs import Why
from presque.jobs.queues import counts_of
from presque.jobs.records import live_of
from presque.jobs.words import clock, number, unasked_since
from presque.redis.units import seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from presque.jobs.queues import Counts
    from presque.jobs.records import Live
    from presque.redis.connection import Reply
    from presque.redis.store import Store

CODES = (
    "paused",
    "not-accepting",
    "full",
    "no-consumer",
    "delayed",
    "backing-off",
    "leased",
    "waiting-turn",
    "lease-run-outs",
    "dead",
    "ok",
)
LONGEST = 300  # characters of an error in a sentence
LONG = 60.0  # seconds that the oldest ready job has waited before that is worth a word
TIME = 600.0  # seconds of each count of `run_outs`
TIMES = 6  # counts of an hour


class Marked(NamedTuple):
    """A job that stands for others in its state: its time (epoch seconds), and what `live` has of it."""

    at: float
    live: Live

    @property
    def error(self) -> str:
        """The first line of its last error, or ""."""
        lines = self.live.failures[-1][2].splitlines() if self.live.failures else []
        return lines[0][:LONGEST] if lines else ""


class Facts(NamedTuple):
    """What a diagnosis is made of. `unasked` is as in `parts/unasked.lua`, `run_outs` how many leases ran out within
    the last hour; `delayed` is the job that is due next, `leased` the one whose lease ends first, `dead` the one that
    died last.
    """

    counts: Counts
    unasked: int
    run_outs: int
    delayed: Marked | None
    leased: Marked | None
    dead: Marked | None


class Diagnosis:
    """The diagnosis of each queue of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def of(self, queue: str) -> list[Why]:
        """Why the jobs of a queue do not run; or, with the code `ok`, that all is well. Raises UnknownQueue."""
        facts = _facts(await self._store.on_queue("diagnose", queue))
        if not facts.counts.exists:
            raise UnknownQueue
        counts = facts.counts
        return [*_insertions(counts), *_ready(facts), *_others(facts)] or [Why("ok", _all_is_well(counts))]


def _facts(reply: Reply) -> Facts:
    counted, unasked, now, run_outs, *marked = reply
    delayed, leased, dead = (Marked(seconds(int(each[0])), live_of(each[1])) if each else None for each in marked)
    return Facts(counts_of(counted), unasked, _within_an_hour(run_outs, seconds(now)), delayed, leased, dead)


def _within_an_hour(text: bytes, now: float) -> int:
    """How many leases ran out: see `run_outs` in presque.redis.keys."""
    if not text:
        return 0
    time, *counts = map(int, text.split())
    passed = max(0, int(now // TIME) - time)
    return sum(counts[: max(0, TIMES - passed)])


def _insertions(counts: Counts) -> Iterator[Why]:
    """What stops the whole queue, or insertions into it."""
    if counts.paused:
        yield Why("paused", "the queue is paused: it accepts jobs and hands none out")
    if counts.settings["accepting"] is False:
        yield Why("not-accepting", "the queue accepts no jobs (accepting is false); those that it has are handed out")
    most = counts.settings["max_length"]
    if most is not None and counts.ready + counts.delayed >= float(most):
        waiting = number(counts.ready + counts.delayed, "job")
        yield Why("full", f"{waiting} of {most} (max_length) wait: insertions are refused")


def _ready(facts: Facts) -> Iterator[Why]:
    """Why ready jobs wait."""
    counts, oldest = facts.counts, facts.counts.oldest
    if not counts.ready or counts.paused:
        return
    waiting = f"{number(counts.ready, 'ready job')} {'waits' if counts.ready == 1 else 'wait'}"
    if facts.unasked >= 0:
        yield Why("no-consumer", f"{waiting}: {unasked_since(facts.unasked)}")
    elif oldest is not None and oldest >= LONG:
        yield Why("waiting-turn", f"{waiting} for a consumer, the oldest for {oldest:.0f} s; {_with_consumers(counts)}")


def _with_consumers(counts: Counts) -> str:
    return f"{counts.leased} more are with consumers" if counts.leased else "consumers ask"


def _others(facts: Facts) -> Iterator[Why]:
    """Why there is nothing ready, and what goes wrong."""
    counts = facts.counts
    if facts.delayed is not None and counts.delayed:
        wait = f"{number(counts.delayed, 'job')} {'waits' if counts.delayed == 1 else 'wait'}"
        until = f"until {clock(facts.delayed.at)}"
        if facts.delayed.error:
            yield Why("backing-off", f"{wait}, the next {until} for its next try after: {facts.delayed.error}")
        elif not counts.ready and not counts.leased:
            yield Why("delayed", f"{wait} for a time, the next {until}")
    if counts.leased and not counts.ready and not counts.delayed:
        yield Why("leased", _leased(facts))
    if facts.run_outs:
        how = "lease has" if facts.run_outs == 1 else "leases have"
        why = "a worker died, or took longer than its lease"
        yield Why("lease-run-outs", f"{facts.run_outs} {how} run out within the last hour: {why}")
    if facts.dead is not None and counts.dead:
        last = f"the last died at {clock(facts.dead.at)} after: {facts.dead.error}"
        yield Why("dead", f"{number(counts.dead, 'job')} {'is' if counts.dead == 1 else 'are'} dead; {last}")


def _leased(facts: Facts) -> str:
    leased = f"{number(facts.counts.leased, 'job')} {'is' if facts.counts.leased == 1 else 'are'} with consumers"
    if facts.leased is None:
        return leased
    worker = f", with {facts.leased.live.worker}" if facts.leased.live.worker else ""
    return f"{leased}, none waits; the first lease ends at {clock(facts.leased.at)}{worker}"


def _all_is_well(counts: Counts) -> str:
    if not counts.ready and not counts.leased:
        return "all is well: no job waits"
    return f"all is well: {number(counts.ready, 'job')} ready, {counts.leased} with consumers"
