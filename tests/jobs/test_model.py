"""presque against a plain model of it: whatever the sequence of commands, each has the outcome that the model says, and
after each one Redis holds what the model holds and nothing else.

MODEL_RUNS is the number of sequences; 2000 is the long form. Time stands still: what comes due or runs out later does
so by commands of its own, which change the time in Redis.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
import pytest_twisted
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from pytest_twisted import ensureDeferred as awaiting
from servers import eventually
from twisted.internet import reactor

from presque.background.mover import Mover
from presque.errors import (
    Duplicate,
    IdempotencyMismatch,
    NotAccepting,
    PresqueError,
    QueueFull,
    QueuePaused,
    UnknownJob,
    UnknownQueue,
)
from presque.jobs import queues as queues_module
from presque.jobs.jobs import STATES, Jobs
from presque.jobs.leases import Leases, Settlement
from presque.jobs.policy import Value, lua_parts
from presque.jobs.queue_list import QueueList
from presque.jobs.queues import PAYLOAD_AT, NewJob, Queues
from presque.jobs.workers import Workers
from presque.redis.scripts import load
from presque.redis.store import Store
from presque.redis.url import endpoint_for, parse_redis_url

RUNS = int(os.environ.get("MODEL_RUNS", "60"))
STEPS = 50
RUN_OUT = "the lease ran out"
STORED = {600: "600000", False: "0"}  # a setting -> what is stored of it; the others as they are


@dataclass
class Job:
    number: int
    payload: bytes
    uniq: bytes = b""
    limit: int | None = None
    state: str = ""
    place: tuple[int, ...] = ()  # when ready: whoever has the least is next
    at: float | None = None  # epoch ms, when delayed or dead; None: Redis' clock knows, and it is read from there
    receipt: bytes = b""
    run_out: bool = False
    attempts: int = 0
    run_outs: int = 0
    worker: str = ""  # who reserved it last under a name, or in whose name it is kept
    wait: tuple[float, float] = (3_600_000, 3_600_000)  # ms, when delayed and `at` is not known: the least and the most
    failures: list[tuple[int, str]] = field(default_factory=list)


class Model:
    """What one queue should be. `workers` and `numbers` are those of the whole store."""

    def __init__(self, name: str, workers: dict[str, Worker], numbers: list[int]) -> None:
        self.name, self.workers, self.numbers = name, workers, numbers
        self.order = count()
        self.remembered: dict[bytes, tuple[bytes, list[tuple[str, str]]]] = {}
        self.reserved: dict[bytes, tuple[bytes, list[int]]] = {}
        self.again: set[bytes] = set()  # receipts of reservations that were asked for again
        self.delete()

    def delete(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.uniq: dict[bytes, int] = {}
        self.settings: dict[str, Value] = {}
        self.acked: dict[int, bytes] = {}
        self.settled: dict[tuple[int, bytes], tuple[str, float, float]] = {}
        self.kept: dict[str, list[tuple[int, bytes]]] = {}
        self.processed = self.failed = 0
        self.paused = self.exists = False

    def of(self, state: str) -> list[Job]:
        """The jobs in a state, in their order."""
        jobs = [job for job in self.jobs.values() if job.state == state]
        if state == "ready":
            return sorted(jobs, key=lambda job: job.place)
        return sorted(jobs, key=lambda job: (job.at, f"{job.number:016}" if state == "delayed" else str(job.number)))

    def limit(self, job: Job) -> int:
        return job.limit or int(self.settings.get("max_attempts", 5))

    def held(self, number: int, receipt: bytes) -> Job | None:
        job = self.jobs.get(number)
        return job if job and job.state == "leased" and job.receipt == receipt else None

    def holds(self, number: int, receipt: bytes) -> Job | None:
        """As `held`; but a lease, unlike the hold of a hand-off, is lost as soon as it has run out."""
        job = self.held(number, receipt)
        return None if job and job.run_out and receipt.startswith(b"l") else job

    def insert(self, specs: list[NewJob]) -> list[Job] | PresqueError:
        if self.settings.get("accepting") is False:
            return NotAccepting()
        waiting = len(self.of("ready")) + len(self.of("delayed"))
        if waiting + len(specs) > int(self.settings.get("max_length", 1_000_000)):
            return QueueFull()
        seen = set()
        for spec in specs:
            if spec.uniq in self.uniq:
                return Duplicate(f"{self.name}:{self.uniq[spec.uniq]}")
            if spec.uniq in seen:
                return Duplicate("")
            seen |= {spec.uniq} - {b""}
        self.exists = True
        return [self._insert(spec) for spec in specs]

    def _insert(self, spec: NewJob) -> Job:
        self.numbers.append(len(self.numbers) + 1)
        job = Job(self.numbers[-1], spec.payload, spec.uniq, spec.max_attempts)
        self.jobs[job.number] = job
        if spec.delay:
            self.delay(job, None)
        elif spec.due is None:
            self.ready(job, 2, next(self.order))
        else:
            self.delay(job, spec.due * 1000)
        return job

    def claim(self, job: Job) -> None:
        """The job waits: its uniq key is its own, unless another has it."""
        if job.uniq:
            self.uniq.setdefault(job.uniq, job.number)

    def ready(self, job: Job, *place: int) -> None:
        job.state, job.place, job.receipt, job.run_out = "ready", place, b"", False
        self.claim(job)

    def to_front(self, job: Job) -> None:
        self.ready(job, 0, job.number)

    def delay(self, job: Job, at: float | None, wait: tuple[float, float] = (3_600_000, 3_600_000)) -> None:
        job.wait = wait
        if at is not None and at <= time.time() * 1000:
            self.ready(job, 1, at, job.number)
        else:
            job.state, job.at, job.receipt, job.run_out = "delayed", at, b"", False
            self.claim(job)

    def end(self, job: Job) -> None:
        del self.jobs[job.number]
        if self.uniq.get(job.uniq) == job.number:
            del self.uniq[job.uniq]

    def count_attempt(self, job: Job, why: str, is_final: bool = False) -> bool:
        """Whether it was not the last."""
        job.attempts += 1
        job.failures = [*job.failures, (job.attempts, why)][-10:]
        if not is_final and job.attempts < self.limit(job):
            return True
        job.state, job.at, job.receipt, job.run_out = "dead", None, b"", False
        return False

    def move(self) -> None:
        for job in sorted(self.of("leased"), key=lambda job: str(job.number)):
            was_lease = job.run_out and not job.receipt.startswith(b"h")
            self.failed += was_lease
            if not job.run_out or (was_lease and not self.count_attempt(job, RUN_OUT)):
                continue
            job.run_outs += was_lease
            if was_lease and job.run_outs > 1:
                usual = 5000 * 2 ** (job.attempts - 1)
                self.delay(job, None, (0.8 * usual, 1.2 * usual))
            else:
                self.to_front(job)

    def take(self, most: int, receipt: bytes) -> list[Job]:
        jobs = self.of("ready")[:most]
        for job in jobs:
            job.state, job.receipt, job.at = "leased", receipt, 0
            if self.uniq.get(job.uniq) == job.number:
                del self.uniq[job.uniq]
        self.processed += len(jobs)
        return jobs

    def acknowledge_kept(self, worker: str) -> None:
        for number, receipt in self.kept.pop(worker, []):
            if job := self.held(number, receipt):
                self.end(job)

    def enrol(self, worker: str) -> Worker:
        known = self.workers.setdefault(worker, Worker())
        known.queues.add(self.name)
        return known

    def count(self, worker: str, processed: int = 0, failed: int = 0) -> None:
        """Count on the worker, if it is registered."""
        if known := self.workers.get(worker):
            known.processed += processed
            known.failed += failed

    def settle(self, number: int, receipt: bytes, outcome: str, delay: float | None, error: str) -> str:
        job = self.held(number, receipt)
        if not job or job.run_out:
            if outcome == "ack" and self.acked.get(number) == receipt:
                return "acked"
            word = self.settled.get((number, receipt), ("",))[0]
            if word and {"release": "release"}.get(word, "nack") == outcome.replace("final", "nack"):
                return "released" if word == "release" else word
            return "lease-lost" if number in self.acked or number in self.jobs else "not-found"
        if outcome == "ack":
            self.end(job)
            self.acked[number] = receipt
            return "acked"
        if outcome == "release":
            self.settled[number, receipt] = ("release", 0, 0)
            if delay:
                self.delay(job, None)
            else:
                self.to_front(job)
            return "released"
        self.failed += 1
        is_over = not self.count_attempt(job, error, outcome == "final")
        self.settled[number, receipt] = ("dead" if is_over else "new", 0, 0)
        return "dead" if is_over else "new"


@dataclass
class Worker:
    queues: set[str] = field(default_factory=set)
    processed: int = 0
    failed: int = 0


COMMANDS: list[st.SearchStrategy[tuple[str, dict[str, Any]]]] = []

names = st.sampled_from("aaab")
workers = st.sampled_from(["v", "v", "w", ""])
uniqs = st.sampled_from([b"", b"", b"", b"k", b"l"])
dues = st.sampled_from([None, None, None, 1.0, 2.0, 3.0, 4e9, 4e9 + 1])
which = st.integers(0, 30)  # one of what there is, counted round
some = st.integers(1, 4)
mostly = st.sampled_from([True, True, True, False])
delays = st.sampled_from([None, 0.0, 3600.0])


def command(weight: int = 1, **arguments: st.SearchStrategy[Any]) -> Any:
    """A method of Run that is a command; what it is called with."""

    def add(method: Any) -> Any:
        COMMANDS.extend([st.tuples(st.just(method.__name__), st.fixed_dictionaries(arguments))] * weight)
        return method

    return add


async def outcome(deferred: Any) -> Any:
    """What it fires with, or fails with."""
    try:
        return await deferred
    except PresqueError as error:
        return error


def refused(got: Any, expected: Any) -> bool:
    """Whether it should be refused; then it must have been, for that reason."""
    if not isinstance(expected, PresqueError):
        assert not isinstance(got, PresqueError), got
        return False
    assert (type(got), got.args) == (type(expected), expected.args)
    return True


class Run:
    """One sequence: each command is carried out by presque and by the model, and the outcomes are compared."""

    def __init__(self, store: Store, redis: Any) -> None:
        self.redis = redis
        self.queues = Queues(store, "n")
        self.queue_list = QueueList(store, self.queues)
        tokens = count(1)
        self.leases = Leases(store, lambda: 0.5, lambda: f"t{next(tokens)}")
        self.jobs = Jobs(store)
        self.registry = Workers(store)
        self.workers: dict[str, Worker] = {}
        numbers: list[int] = []
        self.models = {name: Model(name, self.workers, numbers) for name in "ab"}
        self.bodies = (b'{"n":%d}' % n for n in count(1))
        self.taken: list[Any] = []  # all that ever was, of which some is stale

    @command()
    async def nothing(self) -> None:
        pass

    @command(9, name=names, jobs=some, due=dues, uniq=uniqs)
    async def push(self, name: str, jobs: int, due: float | None, uniq: bytes) -> None:
        bodies = [next(self.bodies) for _ in range(1 if uniq else jobs)]
        got = await outcome(self.queues.push(name, bodies, due, uniq))
        inserted = self.models[name].insert([NewJob(body, due, None, uniq) for body in bodies])
        if not refused(got, inserted):
            assert got == [f"{name}:{job.number}" for job in inserted]

    @command(3, name=names, due=dues, uniq=uniqs, worker=workers)
    async def fail(self, name: str, due: float | None, uniq: bytes, worker: str) -> None:
        body, model = next(self.bodies), self.models[name]
        got = await outcome(self.queues.fail(name, body, due, uniq, worker))
        inserted = model.insert([NewJob(body, due, None, uniq)])
        if not refused(got, inserted):
            assert got == [f"{name}:{job.number}" for job in inserted]
            model.failed += 1
            if worker:
                model.acknowledge_kept(worker)
                model.count(worker, failed=1)

    @command(
        5,
        name=names,
        specs=st.lists(st.tuples(dues, delays, uniqs, st.sampled_from([None, 1, 2])), min_size=1, max_size=4),
        key=st.sampled_from([b"", b"", b"i"]),
        fingerprint=st.sampled_from([b"f", b"g"]),
    )
    async def insert(self, name: str, specs: list[Any], key: bytes, fingerprint: bytes) -> None:
        model = self.models[name]
        jobs = [NewJob(next(self.bodies), None if delay else due, delay, *rest) for due, delay, *rest in specs]
        got = await outcome(self.queues.insert(name, jobs, key, fingerprint))
        if key in model.remembered:
            before, answer = model.remembered[key]
            if not refused(got, IdempotencyMismatch() if before != fingerprint else None):
                assert got == answer
            return
        inserted = model.insert(jobs)
        if not refused(got, inserted):
            assert got == [(f"{name}:{job.number}", job.state) for job in inserted]
            if key:
                model.remembered[key] = (fingerprint, got)

    @command(7, name=names, most=some, worker=workers)
    async def take(self, name: str, most: int, worker: str) -> None:
        model = self.models[name]
        got = await outcome(self.queues.take(name, most, worker))
        model.acknowledge_kept(worker)
        if refused(got, QueuePaused() if model.paused else None):
            return
        model.move()
        self._took(model, got, most, worker)
        assert got.on_arrival == ("keep" if worker and "redeliver_after" in model.settings else "deliver")

    @command(
        12,
        name=names,
        most=some,
        worker=workers,
        lease=st.sampled_from([None, 60.0, 3600.0]),
        key=st.sampled_from([b"", b"", b"i", b"j"]),
    )
    async def reserve(self, name: str, most: int, worker: str, lease: float | None, key: bytes) -> None:
        model = self.models[name]
        live = self._live(model, key)
        found = await self.leases.reserved(["b", name] if name == "a" else [name], worker, key) if key else None
        elsewhere = name == "a" and key and self._live(self.models["b"], key)
        assert (found is not None) == bool(key and (live or elsewhere))
        if elsewhere:
            assert found.queue == "b"
            self.models["b"].again.add(found.receipt)
            self.taken.append(found)
        if live and not elsewhere:
            model.again.add(found.receipt)
        got = await self.leases.reserve(name, most, lease, worker, key)
        assert got.asked_again == bool(live)
        if live:
            receipt, _ = model.reserved[key]
            model.again.add(receipt)
            assert (got.receipt, got.numbers) == (receipt, tuple(b"%d" % job.number for job in live))
            assert got.attempts == tuple(job.attempts + 1 for job in live)
            self.taken.append(got)
            return
        if model.paused:
            assert got.numbers == ()
            return
        model.move()
        jobs = self._took(model, got, most, worker)
        for job in jobs if worker else ():
            job.worker = worker
        if key and jobs:
            model.reserved[key] = (got.receipt, [job.number for job in jobs])
        assert {round(left) for left in got.left} <= {60 if lease is None else lease}
        assert got.attempts == tuple(job.attempts + 1 for job in jobs)
        assert got.max_attempts == tuple(model.limit(job) for job in jobs)

    def _live(self, model: Model, key: bytes) -> list[Job]:
        """What was reserved with a key and is leased still."""
        receipt, numbers = model.reserved.get(key, (b"", []))
        jobs = [model.held(number, receipt) for number in numbers]
        return [job for job in jobs if job and not job.run_out]

    def _took(self, model: Model, got: Any, most: int, worker: str) -> list[Job]:
        jobs = model.take(most, got.receipt)
        assert got.numbers == tuple(b"%d" % job.number for job in jobs)
        assert got.payloads == tuple(job.payload for job in jobs)
        if worker:
            model.count(worker, processed=len(jobs))
        if jobs:
            self.taken.append(got)
        return jobs

    @command(3, at=which)
    async def deliver(self, at: int) -> None:
        """It reached its consumer, as did what was taken from that queue before."""
        arrived = [taken for taken in self.taken if taken.on_arrival == "deliver"]
        if not arrived:
            return
        last = arrived[at % len(arrived)]
        some = [taken for taken in arrived[: at % len(arrived) + 1] if taken.queue == last.queue][-2:]
        model = self.models[last.queue]
        held = [model.held(int(number), taken.receipt) for taken in some for number in taken.numbers]
        assert await self.queues.deliver(some) == len(held) - held.count(None)
        for job in filter(None, held):
            model.end(job)

    @command(5, at=which)
    async def keep(self, at: int) -> None:
        """It reached a worker in whose name it is kept until that one comes again."""
        arrived = [taken for taken in self.taken if taken.on_arrival == "keep"]
        if not arrived:
            return
        taken = arrived[-1 - at % len(arrived)]
        model = self.models[taken.queue]
        held = [job for number in taken.numbers if (job := model.held(int(number), taken.receipt))]
        assert await self.queues.keep([taken]) == len(held)
        for job in held:
            if "redeliver_after" not in model.settings:  # any more
                model.end(job)
                continue
            job.receipt = b"k" + taken.receipt[1:]
            job.worker = taken.worker
            job.run_out = False
            model.kept.setdefault(taken.worker, []).append((job.number, job.receipt))

    @command(4, at=which)
    async def give_back(self, at: int) -> None:
        """Its consumer hung up."""
        if not self.taken:
            return
        taken = self.taken[at % len(self.taken)]
        model = self.models[taken.queue]
        held = [job for number in taken.numbers if (job := model.held(int(number), taken.receipt))]
        if taken.asked_again or (taken.key and model.reserved[taken.key][0] in model.again):
            held = []  # another answer may have arrived
        assert await self.queues.give_back(taken) == len(held)
        for job in held:
            model.to_front(job)
        model.processed -= len(held)
        if taken.worker in self.workers:
            worker = self.workers[taken.worker]
            worker.processed = max(0, worker.processed - len(held))  # it may have begun anew meanwhile

    @command(1, at=which)
    async def hold(self, at: int) -> None:
        if not self.taken:
            return
        taken = self.taken[at % len(self.taken)]
        model = self.models[taken.queue]
        held = [job for number in taken.numbers if (job := model.holds(int(number), taken.receipt))]
        assert await self.queues.hold(taken) == len(held)
        for job in held:
            job.run_out = False

    @command(
        14,
        at=which,
        items=st.lists(
            st.tuples(
                which,
                st.sampled_from(["ack", "nack", "nack", "release", "final"]),
                delays,
                mostly,
                st.sampled_from(["", "é\0"]),
            ),
            min_size=1,
            max_size=4,
        ),
    )
    async def settle(self, at: int, items: list[Any]) -> None:
        """Several of one queue; receipts may be stale, or of another job."""
        if not self.taken:
            return
        name = self.taken[at % len(self.taken)].queue
        model = self.models[name]
        pairs = [(number, taken.receipt) for taken in self.taken if taken.queue == name for number in taken.numbers]
        held = [pair for pair in pairs if model.held(int(pair[0]), pair[1])]
        settlements = []
        for index, word, delay, is_right, error in items:
            among = held if held and index % 4 else pairs
            number, receipt = among[index % len(among)]
            settlements.append(Settlement(number, receipt if is_right else b"lx", word, delay, error))
        before = time.time() * 1000
        got = await self.leases.settle(name, settlements)
        passed = time.time() * 1000 - before
        for each, result in zip(settlements, got, strict=True):
            number = int(each.number)
            word = model.settle(number, each.receipt, each.outcome, each.delay, each.error)
            assert result.became == ("delayed" if word == "new" else word)
            assert (result.due_at > 0) == (result.became == "delayed")
            due_at, due_in = round(result.due_at * 1000), round(result.due_in * 1000)
            if word == "delayed":  # as the first time
                assert model.settled[number, each.receipt] == (word, due_at, due_in)
            if word == "new":
                job = model.jobs[number]
                model.settled[number, each.receipt] = ("delayed", due_at, due_in)
                wait = 5000 * 2 ** (job.attempts - 1) if each.delay is None else each.delay * 1000
                assert -1 <= due_at - before - wait <= passed + 1
                model.delay(job, due_at)

    @command(2, at=which, index=which, lease=st.sampled_from([None, 60.0]), is_right=mostly)
    async def extend(self, at: int, index: int, lease: float | None, is_right: bool) -> None:
        if not self.taken:
            return
        taken = self.taken[at % len(self.taken)]
        number = taken.numbers[index % len(taken.numbers)]
        receipt = taken.receipt if is_right else b"lx"
        other = "b" if taken.queue == "a" else "a"
        asked = {taken.queue: [(number, receipt), (b"999999", receipt)], other: [(b"999999", b"lx")]}
        became = await self.leases.extend_several(asked, lease)
        assert became[taken.queue][1].became == became[other][0].became == "not-found"
        got = became[taken.queue][0]
        model = self.models[taken.queue]
        job = model.holds(int(number), receipt)
        assert got.became == ("extended" if job else "lease-lost" if int(number) in model.jobs else "not-found")
        if job:
            assert 59 < got.ends_at - time.time() < 61
            assert got.lease == 60
            job.run_out = False

    @command(3, name=names, at=which, due=st.sampled_from([1000, 1500, 2000, 3000]))
    async def come_due(self, name: str, at: int, due: int) -> None:
        """The time of a delayed job comes."""
        if delayed := self.models[name].of("delayed"):
            job = delayed[at % len(delayed)]
            self.redis("ZADD", f"presque:{{0}}:{name}:delayed", "XX", due, f"{job.number:016}")
            self.redis("ZADD", "presque:{0}/due", "LT", due, name)
            job.state, job.place = "ready", (1, due, job.number)

    @command(5, name=names, at=which)
    async def run_out(self, name: str, at: int) -> None:
        """The lease of a job runs out; nobody has noticed yet."""
        if leased := self.models[name].of("leased"):
            job = leased[at % len(leased)]
            self.redis("ZADD", f"presque:{{0}}:{name}:leased", "XX", 1, str(job.number))
            self.redis("ZADD", "presque:{0}/due", "LT", 1, name)
            job.run_out = True

    @command(3)
    async def tick(self) -> None:
        """The mover's turn."""
        await Mover(self.queues).run_once()
        for model in self.models.values():
            model.move()

    @command(2, name=names, at=which)
    async def cancel(self, name: str, at: int) -> None:
        model = self.models[name]
        number = at + 1 if at % 5 == 0 else 1 + at * len(model.numbers) // 31  # one of all that there ever were
        job = model.jobs.get(number)
        if not refused(await outcome(self.jobs.cancel(name, b"%d" % number)), None if job else UnknownJob()):
            model.end(job)

    @command(2, name=names, at=which)
    async def look_up(self, name: str, at: int) -> None:
        model = self.models[name]
        number = 1 + at * len(model.numbers) // 31
        job = model.jobs.get(number)
        got = await outcome(self.jobs.look_up(name, b"%d" % number))
        if not refused(got, None if job else UnknownJob()):
            self._same(model, got, job)

    def _names(self, model: Model, job: Job) -> bool:
        """Whether the worker named last is the one that holds the job now."""
        said = self.redis("HGET", f"presque:{{0}}:{model.name}:holders", job.number)
        return bool(said) and said == job.receipt + b" " + job.worker.encode()

    def _same(self, model: Model, got: Any, job: Job) -> None:
        assert got.job_id == f"{model.name}:{job.number}"
        assert (got.state, got.payload, got.uniq) == (job.state, job.payload, job.uniq)
        assert (got.attempts, got.max_attempts) == (job.attempts, model.limit(job))
        assert [(failure.attempt, failure.error) for failure in got.failures] == job.failures
        assert got.worker == (job.worker if job.state == "leased" and self._names(model, job) else "")
        assert job.state == "leased" or got.at == (None if job.state == "ready" else int(job.at) / 1000)

    @command(3, name=names, state=st.sampled_from(STATES), first=st.integers(0, 3), most=some)
    async def list_jobs(self, name: str, state: str, first: int, most: int) -> None:
        model = self.models[name]
        reply = await outcome(self.jobs.list_jobs(name, state, first, most))
        if refused(reply, None if model.exists else UnknownQueue()):
            return
        got, following = reply
        jobs = model.of(state)
        wanted = jobs[first : first + most]
        assert following == (first + most if wanted and first + most < len(jobs) else None)
        assert [one.job_id for one in got] == [f"{name}:{job.number}" for job in wanted]
        for one, job in zip(got, wanted, strict=True):
            self._same(model, one, job)

    @command(
        1, name=names, states=st.lists(st.sampled_from(STATES), unique=True, min_size=1).map(tuple) | st.just(STATES)
    )
    async def purge(self, name: str, states: tuple[str, ...]) -> None:
        model = self.models[name]
        jobs = [job for job in model.jobs.values() if job.state in states]
        got = await outcome(self.jobs.purge(name, states))
        if refused(got, None if model.exists else UnknownQueue()):
            return
        assert got == len(jobs)
        for job in jobs:
            model.end(job)

    @command(4, name=names, most=some, chosen=st.none() | st.lists(which, min_size=1, max_size=4))
    async def retry_dead(self, name: str, most: int, chosen: list[int] | None) -> None:
        model = self.models[name]
        jobs = model.of("dead")[:most]
        numbers = None
        if chosen is not None:
            every = model.of("dead") + list(model.jobs.values()) or [Job(1, b"")]
            jobs = list(dict.fromkeys(every[at % len(every)].number for at in chosen))
            numbers = [b"%d" % number for number in jobs]
            jobs = [model.jobs[number] for number in jobs if number in model.jobs]
            jobs = [job for job in jobs if job.state == "dead"]
        got = await outcome(self.jobs.retry_dead(name, numbers, most))
        if refused(got, None if model.exists else UnknownQueue()):
            return
        moved = [b"%d" % job.number for job in jobs]
        assert got == (len(jobs), [number for number in numbers or [] if number not in moved])
        for job in jobs:
            job.attempts = job.run_outs = 0
            came_at = self.redis("ZSCORE", f"presque:{{0}}:{name}:front", f"{job.number:016}")
            model.ready(job, 1, float(came_at), job.number)

    @command(1, name=names)
    async def pause(self, name: str) -> None:
        await self.queues.pause(name)
        self.models[name].paused = self.models[name].exists = True

    @command(3, name=names)
    async def resume(self, name: str) -> None:
        await self.queues.resume(name)
        self.models[name].paused = False

    @command(
        4,
        name=names,
        change=st.sampled_from(
            [("max_attempts", n) for n in (None, 1, 1, 2)]
            + [("max_length", n) for n in (None, None, 6)]
            + [("accepting", value) for value in (None, True, False)]
            + [("redeliver_after", seconds) for seconds in (None, 600, 600)]
        ),
    )
    async def configure(self, name: str, change: tuple[str, Value]) -> None:
        await self.queues.configure(name, dict([change]))
        model = self.models[name]
        settings = {**model.settings, **dict([change])}
        model.settings = {key: value for key, value in settings.items() if value is not None and value is not True}
        model.exists = True

    @command(1, name=names)
    async def delete(self, name: str) -> None:
        assert await self.queues.delete(name) == self.models[name].exists
        self.models[name].delete()

    @command(1, name=names, worker=st.sampled_from("vw"))
    async def register(self, name: str, worker: str) -> None:
        await self.registry.register(name, worker)
        model = self.models[name]
        known = model.enrol(worker)
        known.processed = known.failed = 0
        for number, receipt in model.kept.pop(worker, []):
            if job := model.held(number, receipt):
                model.failed += 1
                if model.count_attempt(job, "the worker registered again"):
                    model.to_front(job)

    @command(2, name=names, worker=st.sampled_from("vw"))
    async def unregister(self, name: str, worker: str) -> None:
        await self.registry.unregister(name, worker)
        self.models[name].acknowledge_kept(worker)
        if worker in self.workers:
            self.workers[worker].queues.discard(name)
            if not self.workers[worker].queues:
                del self.workers[worker]

    async def check(self) -> None:
        """Redis is in order, and holds what the model does."""
        stored = Stored(self.redis)
        for name, model in self.models.items():
            stored.check(name)
            stored.compare(name, model)
            assert (await self.queues.peek(name))[1] == [job.payload for job in model.of("ready")]
            counts = await self.queues.counts(name)
            assert [getattr(counts, state) for state in STATES] == [len(model.of(state)) for state in STATES]
        assert (await self.queue_list.names())[0] == [name for name, model in self.models.items() if model.exists]
        found = {
            each.worker_id: Worker(set(each.queues), each.processed, each.failed)
            async for each in self.registry.all([])
        }
        assert found == self.workers
        assert stored.get("", "last_id", b"0") == b"%d" % len(self.models["a"].numbers)


DUMP = """
local read = { list = 'LRANGE', zset = 'ZRANGE', hash = 'HGETALL', set = 'SMEMBERS', string = 'GET' }
local reply = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind = redis.call('TYPE', key).ok
  local range = kind == 'list' and { 0, -1 } or kind == 'zset' and { 0, -1, 'WITHSCORES' } or {}
  reply[#reply + 1] = { key, kind, redis.call(read[kind], key, unpack(range)) }
end
return reply
"""


class Stored:
    """All that is in Redis at one moment: hashes and sorted sets as dicts, sets as sets."""

    def __init__(self, redis: Any) -> None:
        make = {
            b"hash": lambda flat: dict(zip(flat[::2], flat[1::2], strict=True)),
            b"zset": lambda flat: dict(zip(flat[::2], map(float, flat[1::2]), strict=True)),
            b"set": set,
        }
        self.keys = {
            key.decode().removeprefix("presque:{0}"): make.get(kind, lambda value: value)(value)
            for key, kind, value in redis("EVAL", DUMP, 0)
        }

    def get(self, queue: str, key: str, default: Any = ()) -> Any:
        return self.keys.get(f":{queue}:{key}" if queue else f"/{key}", default)

    def numbers(self, queue: str, key: str) -> list[int]:
        return [int(member) for member in self.get(queue, key)]

    def check(self, queue: str) -> None:
        """The invariants: what must hold of any queue."""
        jobs, uniq, uniq_of = (self.get(queue, key, {}) for key in ("jobs", "uniq", "uniq_of"))
        places = Counter(n for key in ("ready", "front", "delayed", "leased", "dead") for n in self.numbers(queue, key))
        assert set(places.values()) <= {1}, "each job is in one place"
        assert set(places) == set(self.numbers(queue, "jobs")), "each job has a body, and nothing else has"
        assert set(self.get(queue, "leased")) == set(self.get(queue, "receipts")), "who is leased has a receipt"
        waiting = {n for key in ("ready", "front", "delayed") for n in self.numbers(queue, key)}
        assert {int(number) for number in uniq.values()} <= waiting, "a uniq key is a waiting job's"
        assert all(uniq_of[number] == key for key, number in uniq.items()), "and its own"
        assert set(uniq_of) == {number for number, job in jobs.items() if job[PAYLOAD_AT - 1 : PAYLOAD_AT] == b"u"}
        for key in ("attempts", "limits", "history", "run_outs", "holders"):
            assert set(self.get(queue, key)) <= set(jobs), f"{key} are of jobs that there are"
        deadlines = [at for key in ("delayed", "leased") for at in self.get(queue, key, {}).values()]
        due = self.get("", "due", {}).get(queue.encode(), float("inf"))
        assert due <= min(deadlines, default=float("inf")), "the mover comes in time"
        for key in ("processed", "failed", "worker_processed", "worker_failed"):
            assert all(int(n) >= 0 for n in self.get("", key, {}).values()), f"{key} is a count"

    def compare(self, queue: str, model: Model) -> None:
        """The queue is what the model says; the model learns when jobs come due or died, where it only knows that."""
        now = time.time() * 1000
        delayed, dead = self.get(queue, "delayed", {}), self.get(queue, "dead", {})
        states = {int(n): "ready" for key in ("ready", "front") for n in self.get(queue, key)}
        states |= {int(n): "ready" if at <= now else "delayed" for n, at in delayed.items()}
        states |= {n: state for state in ("leased", "dead") for n in self.numbers(queue, state)}
        assert states == {job.number: job.state for job in model.jobs.values()}
        for job in model.jobs.values():
            if job.state == "delayed":
                at = delayed[b"%016d" % job.number]
                least, most = job.wait
                assert at == job.at or (job.at is None and least - 2000 < at - now < most + 2000)
                job.at = at
            elif job.state == "dead":
                at = dead[b"%d" % job.number]
                assert at == job.at or (job.at is None and abs(at - now) < 2000)
                job.at = at
            elif job.state == "leased":
                job.at = self.get(queue, "leased")[b"%d" % job.number]
        bodies = {int(number): job[PAYLOAD_AT:] for number, job in self.get(queue, "jobs", {}).items()}
        assert bodies == {job.number: job.payload for job in model.jobs.values()}
        receipts = {int(number): receipt for number, receipt in self.get(queue, "receipts", {}).items()}
        assert receipts == {job.number: job.receipt for job in model.jobs.values() if job.state == "leased"}
        uniq = {key: int(number) for key, number in self.get(queue, "uniq", {}).items()}
        assert uniq == model.uniq
        attempts = {int(number): int(n) for number, n in self.get(queue, "attempts", {}).items()}
        assert attempts == {job.number: job.attempts for job in model.jobs.values() if job.attempts}
        configured = {key.decode(): value.decode() for key, value in self.get(queue, "settings", {}).items()}
        assert configured == {name: STORED.get(value, f"{value}") for name, value in model.settings.items()}
        run_outs = {int(number): int(n) for number, n in self.get(queue, "run_outs", {}).items()}
        assert run_outs == {job.number: job.run_outs for job in model.jobs.values() if job.run_outs}
        said = {b"%d" % number: receipt for number, receipt in model.acked.items()}
        for (number, receipt), (word, due_at, due_in) in model.settled.items():
            said[b"%d %b" % (number, receipt)] = b"%b %d %d" % (word.encode(), due_at, due_in)
        assert self.get(queue, "acked_by", {}) == said
        assert set(self.get(queue, "acked")) == set(said)
        assert int(self.get("", "processed", {}).get(queue.encode(), 0)) == model.processed
        assert int(self.get("", "failed", {}).get(queue.encode(), 0)) == model.failed
        assert (queue.encode() in self.get("", "paused")) == model.paused


@pytest_twisted.async_yield_fixture(scope="module")
async def store(redis):
    url = parse_redis_url(redis.url)
    store = Store(reactor, url, endpoint_for(reactor, url), 1, load(lua_parts()))
    store.start()

    async def is_up():
        return store.is_up

    await eventually(is_up, "Redis")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queues_module, "HOLD", 600.0)  # no hold runs out by itself
        yield store
    await store.stop()


@pytest.fixture(scope="module")
def session(redis):
    return redis.session()


@settings(
    max_examples=RUNS,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],  # to explain takes too long
)
@given(
    keeps=st.booleans(),
    commands=st.lists(st.sampled_from(COMMANDS).flatmap(lambda chosen: chosen), min_size=STEPS, max_size=STEPS),
)
@awaiting
async def test_presque_does_what_its_model_does(store, session, keeps, commands):
    session("FLUSHALL")
    run = Run(store, session)
    if keeps:
        await run.configure("a", ("redeliver_after", 600))
    for name, arguments in commands:
        if name != "nothing":
            note(f"{name} {arguments}")
            await getattr(run, name)(**arguments)
            await run.check()
