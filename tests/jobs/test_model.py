"""presque against a plain model of it: whatever the sequence of commands, each has the outcome that the model says, and
after each one Redis holds what the model holds and nothing else, with the invariants of `presque.redis.keys`.

MODEL_RUNS is the number of sequences, 2000 is the long form; MODEL_SEED repeats those of another run. Time stands
still: what comes due, expires or runs out later does so by commands of its own, which change the time in Redis.
`model.py` is the model, `compare.py` compares Redis with it, `run.py` and this file carry out the commands, `chance.py`
picks them.
"""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chance import Command, Outcome, command, sequence, several, shrunk
from compare import compare
from model import Job, Model, Worker
from pytest_twisted import ensureDeferred as awaiting
from run import (
    Hands,
    names,
    outcome,
    refused,
    some,
    which,
)
from stored import CLASS, ENDS, Stored

from presque.background.mover import Mover
from presque.errors import UnknownJob, UnknownQueue, WrongState
from presque.jobs.jobs import ALL, NEVER, STATES, Match

if TYPE_CHECKING:
    from presque.jobs.policy import Value
    from presque.redis.store import Store

RUNS = int(os.environ.get("MODEL_RUNS", "60"))
STEPS = 80

matches = [ALL] * 3 + [
    Match("such"),
    Match("é"),
    Match("", 3600),
    Match("file", 3600),
    Match("nobody says so"),
    Match("", 0.0),
]


@dataclass
class Walk:
    """All pages of the jobs in one state, read one by one between other commands."""

    name: str
    state: str
    limit: int
    match: Match
    cursor: str = ""
    always: dict[int, Any] | None = None  # those that have been there all the time: number -> what decides on the page
    seen: list[int] = field(default_factory=list)


class Run(Hands):
    """One sequence: each command is carried out by presque and by the model, and the outcomes are compared."""

    def __init__(self, store: Store, redis: Any) -> None:
        super().__init__(store, redis)
        self.walks: list[Walk] = []

    @command(3)
    async def tick(self) -> None:
        """The mover's turn."""
        await Mover(self.queues).run_once()
        for model in self.models.values():
            model.move()

    # One job

    def _any(self, name: str, at: int) -> tuple[bytes, Job | None]:
        """One of all jobs that there ever were."""
        model = self.models[name]
        jobs = list(model.jobs)
        number = jobs[at % len(jobs)] if jobs and at % 5 else 1 + at * model.last // 31
        return b"%d" % number, model.jobs.get(number)

    @command(6, name=names, at=which)
    async def cancel(self, name: str, at: int) -> None:
        number, job = self._any(name, at)
        if not refused(await outcome(self.jobs.cancel(name, number)), None if job else UnknownJob()):
            self.models[name].end(job, "deleted")

    @command(2, name=names, at=which)
    async def look_up(self, name: str, at: int) -> None:
        number, job = self._any(name, at)
        got = await outcome(self.jobs.look_up(name, number))
        if not refused(got, None if job else UnknownJob()):
            self._same(self.models[name], got, job)
            self._why(self.models[name], got, job)

    @command(3, name=names, at=which)
    async def run_now(self, name: str, at: int) -> None:
        number, job = self._any(name, at)
        got = await outcome(self.jobs.run_now(name, number))
        if refused(got, self._state_error(job, "delayed", "dead")):
            return
        self.models[name].run_now(job, self._came_due_at(name, job))
        self._same(self.models[name], got, job)
        self._why(self.models[name], got, job)

    @command(
        14,
        name=names,
        at=which,
        due=[None] * 8 + [2.0, 4e9],
        delay=[None] * 8 + [0.0, 3600.0],
        priority=[None, 0, 5, 5, 5, 9],
        expires=[None, None, None, 1.0, 5e9, 6e9, NEVER],
    )
    async def change(self, name: str, at: int, **changes: Any) -> None:
        if changes["delay"] is not None:
            changes["due"] = None
        number, job = self._any(name, at)
        error = self._state_error(job, "ready", "delayed")
        if error is None and job.has_expired():
            error = WrongState()
        if refused(await outcome(self.jobs.change(name, number, **changes)), error):
            return
        got = await self.jobs.look_up(name, number)
        model = self.models[name]
        model.change(job, **changes)
        if changes["delay"] == 0:
            model.ready(job, 1, self._came_due_at(name, job), job.number)
        self._same(model, got, job)
        self._why(model, got, job)

    def _state_error(self, job: Job | None, *right: str) -> Exception | None:
        """Why something cannot be done to the job that is for one in the `right` states."""
        if not job:
            return UnknownJob()
        return None if job.state in right else WrongState()

    def _came_due_at(self, name: str, job: Job) -> float:
        """When Redis made it ready, by its rank; that is now."""
        key = "front" if job.priority >= 5 else "behind"
        rank = float(self.redis("ZSCORE", f"presque:{{0}}:{name}:{key}", f"{job.number:016}"))
        at = rank - (9 - job.priority) * CLASS - 2**47
        assert abs(at - time.time() * 1000) < 2000
        return at

    def _same(self, model: Model, got: Any, job: Job) -> None:
        assert got.job_id == f"{model.name}:{job.number}"
        assert (got.state, got.payload, got.uniq) == (job.state, job.payload, job.uniq)
        assert (got.attempts, got.max_attempts) == (job.attempts, model.limit(job))
        assert [(failure.attempt, failure.error) for failure in got.failures] == job.failures
        assert (got.priority, got.headers) == (job.priority, job.headers)
        assert got.expires_at == (None if job.expires is None else job.expires / 1000)
        assert got.created_at == job.created / 1000
        assert got.worker == (job.worker if job.kind in ("lease", "kept") else "")
        if job.at is not None:
            assert job.state == "leased" or got.at == (None if job.state == "ready" else int(job.at) / 1000)

    def _why(self, model: Model, got: Any, job: Job) -> None:
        code, before = model.why(job)
        if code == "waiting-turn" and not model.was_asked and got.created_at < time.time() - 11:
            held = [self.redis("ZCARD", f"presque:{{0}}:{model.name}:{key}") for key in ("leased", "held")]
            code = "waiting-turn" if any(held) else "no-consumer"
        assert got.why.code == code
        assert got.why.text
        if not self.redis("ZCOUNT", f"presque:{{0}}:{model.name}:delayed", "-inf", int(time.time() * 1000)):
            assert got.why.before == before  # what has come due and was not moved yet is counted nearly

    # Many jobs

    @command(1, name=names)
    async def peek(self, name: str) -> None:
        model = self.models[name]
        model.move()
        assert (await self.queues.peek(name))[1] == [job.payload for job in model.of("ready")]

    @command(5, name=names, state=STATES, most=some, match=matches)
    async def list_jobs(self, name: str, state: str, most: int, match: Match) -> None:
        """All pages, one after the other, with nothing in between."""
        model = self.models[name]
        model.move()
        got: list[Any] = []
        cursor: str | None = ""
        while cursor is not None:
            reply = await outcome(self.jobs.list_jobs(name, state, cursor, most, match))
            if refused(reply, None if model.exists else UnknownQueue()):
                return
            page, cursor = reply
            assert len(page) <= most
            may_be_short = match != ALL or state in ("ready", "leased")  # where some deleted ones are left out
            assert len(page) == most or cursor is None or may_be_short
            got += page
        self._learn(name)
        jobs = [job for job in model.of(state) if model.matches(job, match)]
        if state == "leased":
            got.sort(key=lambda one: int(one.job_id.split(":")[1]))
            jobs.sort(key=lambda job: job.number)
        assert [one.job_id for one in got] == [f"{name}:{job.number}" for job in jobs]
        for one, job in zip(got, jobs, strict=True):
            self._same(model, one, job)

    @command(3, name=names, state=STATES, limit=range(1, 4), match=matches)
    async def begin_walk(self, name: str, state: str, limit: int, match: Match) -> None:
        walk = Walk(name, state, limit, match)
        self.walks = [*self.walks[-2:], walk]
        await self._turn(walk)

    @command(9, at=which)
    async def turn(self, at: int) -> None:
        """The next page of a list that somebody reads."""
        if self.walks:
            await self._turn(self.walks[at % len(self.walks)])

    async def _turn(self, walk: Walk) -> None:
        model = self.models[walk.name]
        model.move()
        reply = await outcome(self.jobs.list_jobs(walk.name, walk.state, walk.cursor, walk.limit, walk.match))
        if refused(reply, None if model.exists else UnknownQueue()):
            self.walks.remove(walk)
            return
        self._learn(walk.name)
        self._stay(walk)
        page, following = reply
        assert len(page) <= walk.limit
        for one in page:
            job = model.jobs[int(one.job_id.split(":")[1])]
            assert job.state == walk.state
            assert model.matches(job, walk.match)
            self._same(model, one, job)
            walk.seen.append(job.number)
        if following is not None:
            walk.cursor = following
            return
        self.walks.remove(walk)
        seen = {number: walk.seen.count(number) for number in walk.always}
        assert set(seen.values()) <= {1}, f"each job that was {walk.state} all the time is on one page: {seen}"

    def _learn(self, name: str) -> None:
        """The model learns times that only Redis' clock knows."""
        compare(Stored(self.redis).of(name), self.models[name])

    def _stay(self, walk: Walk) -> None:
        """Whoever is not there now has not been there all the time."""
        there = self._there(walk)
        if walk.always is None:
            walk.always = there
        walk.always = {number: place for number, place in walk.always.items() if there.get(number) == place}

    def _there(self, walk: Walk) -> dict[int, Any]:
        """The jobs that the walk concerns, each with what its page depends on if somebody changes it on purpose."""
        model = self.models[walk.name]
        jobs = [job for job in model.of(walk.state) if model.matches(job, walk.match)]
        place = {
            "ready": lambda job: (job.priority, job.place),
            "delayed": lambda job: job.at,
            "leased": lambda job: job.receipt,
            "dead": lambda job: job.at,
        }
        return {job.number: place[walk.state](job) for job in jobs}

    @command(1, name=names, states=lambda chance: tuple(chance.sample(STATES, chance.randint(1, 4))), match=matches)
    async def purge(self, name: str, states: tuple[str, ...], match: Match) -> None:
        model = self.models[name]
        model.move()
        jobs = [job for job in model.jobs.values() if job.state in states and model.matches(job, match)]
        got = await outcome(self.jobs.purge(name, states, match))
        if refused(got, None if model.exists else UnknownQueue()):
            return
        assert got == len(jobs)
        for job in jobs:
            model.end(job, "deleted")

    @command(4, name=names, most=some, chosen=[None, several(which, 4)], match=matches)
    async def retry_dead(self, name: str, most: int, chosen: list[int] | None, match: Match) -> None:
        model = self.models[name]
        jobs = [job for job in model.of("dead") if model.matches(job, match)][:most]
        numbers = None
        if chosen is not None:
            every = model.of("dead") + list(model.jobs.values()) or [Job(1, b"")]
            asked = list(dict.fromkeys(every[at % len(every)].number for at in chosen))
            numbers = [b"%d" % number for number in asked]
            found = [model.jobs[number] for number in asked if number in model.jobs]
            jobs = [job for job in found if job.state == "dead"]
        got = await outcome(self.jobs.retry_dead(name, numbers, most, match))
        if refused(got, None if model.exists else UnknownQueue()):
            return
        moved = [b"%d" % job.number for job in jobs]
        assert got == (len(jobs), [number for number in numbers or [] if number not in moved])
        for job in jobs:
            model.run_now(job, self._came_due_at(name, job))

    # Queues and workers

    @command(1, name=names)
    async def pause(self, name: str) -> None:
        await self.queues.pause(name)
        self.models[name].exist()
        self.models[name].paused = True

    @command(3, name=names)
    async def resume(self, name: str) -> None:
        await self.queues.resume(name)
        self.models[name].paused = False

    @command(
        5,
        name=names,
        change=(
            [("max_attempts", n) for n in (None, 1, 1, 2)]
            + [("max_length", n) for n in (None, None, 6)]
            + [("accepting", value) for value in (None, True, False)]
            + [("redeliver_after", seconds) for seconds in (None, 600, 600)]
            + [("dead_keep.count", n) for n in (None, 1)]
            + [("expired", value) for value in (None, "drop", "dead", "dead")]
        ),
    )
    async def configure(self, name: str, change: tuple[str, Value]) -> None:
        await self.queues.configure(name, dict([change]))
        model = self.models[name]
        model.settings |= dict([change])
        if change[1] is None or change[1] is True or change[1] == "drop":  # the default
            del model.settings[change[0]]
        model.exist()

    @command(1, name=names)
    async def delete(self, name: str) -> None:
        assert await self.queues.delete(name) == self.models[name].exists
        self.models[name].delete()

    @command(2, name=names, worker="vw")
    async def register(self, name: str, worker: str) -> None:
        await self.registry.register(name, worker)
        known = self.models[name].enrol(worker)
        known.processed = known.failed = 0
        self.models[name].restart(worker)

    @command(2, name=names, worker="vw")
    async def unregister(self, name: str, worker: str) -> None:
        await self.registry.unregister(name, worker)
        self.models[name].acknowledge_kept(worker)
        if known := self.whole.workers.get(worker):
            known.queues.discard(name)
            if not known.queues:
                del self.whole.workers[worker]

    async def check(self) -> None:
        """Redis is in order, and holds what the model does."""
        stored = Stored(self.redis)
        stored.check(self.models)
        for name, model in self.models.items():
            compare(stored.of(name), model)
            assert model.is_conserved(), "what was inserted is there, or was counted as it ended"
            counts = await self.queues.counts(name)
            assert [getattr(counts, state) for state in STATES] == [len(model.of(state)) for state in STATES]
            assert [getattr(counts, end) for end in ENDS] == [model.counts[end] for end in ENDS]
            assert (counts.inserted, counts.processed) == (model.last - model.base, model.processed)
        assert (await self.queue_list.names())[0] == [name for name, model in self.models.items() if model.exists]
        found = {
            each.worker_id: Worker(set(each.queues), each.processed, each.failed)
            async for each in self.registry.all([])
        }
        assert found == self.whole.workers
        assert int(stored.get("", "floor", 0)) == self.whole.floor
        for walk in self.walks:
            self._stay(walk)


@awaiting
async def test_presque_does_what_its_model_does(store, session):
    seed = int(os.environ.get("MODEL_SEED") or random.randrange(2**32))
    print(f"MODEL_SEED={seed}")

    async def attempt(commands: list[Command]) -> Outcome:
        session("FLUSHALL")
        run = Run(store, session)
        for count, (name, arguments) in enumerate(commands, 1):
            try:
                await getattr(run, name)(**arguments)
                await run.check()
            except Exception as error:
                return error, count
        return None, len(commands)

    for number in range(RUNS):
        chance = random.Random(f"{seed} {number}")
        keeps = [("configure", {"name": "a", "change": ("redeliver_after", 600)})] if chance.random() < 0.5 else []
        commands = keeps + sequence(chance, STEPS)
        error, _ = await attempt(commands)
        if error is not None:
            commands = await shrunk(commands, attempt)
            error, _ = await attempt(commands)
            lines = "\n".join(f"    {name} {arguments}" for name, arguments in commands)
            raise AssertionError(f"MODEL_SEED={seed}, sequence {number}, shrunk:\n{lines}") from error
