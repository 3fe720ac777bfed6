"""The commands of producers and consumers, carried out by presque and by the model: see test_model.py."""

from __future__ import annotations

import time
from itertools import count
from typing import TYPE_CHECKING, Any

from chance import command, each_of, several
from model import Job, Model, Whole
from stored import Hold, Record

from presque.errors import IdempotencyMismatch, PresqueError, QueuePaused
from presque.jobs.jobs import Jobs
from presque.jobs.leases import Leases, Settlement
from presque.jobs.queue_list import QueueList
from presque.jobs.queues import NewJob, Queues
from presque.jobs.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from presque.redis.store import Store

# What arguments may be: see `pick`.
names = "aaab"
workers = ["v", "v", "w", ""]
uniqs = [b"", b"", b"", b"k", b"l"]
dues = [None] * 5 + [1.0, 2.0, 3.0, 4e9, 4e9 + 1]
which = range(31)  # one of what there is, counted round
some = range(1, 5)
mostly = [True, True, True, False]
delays = [None, 0.0, 0.0, 3600.0]
options = {
    "due": dues,
    "delay": [None, None, None, 0.0, 3600.0],
    "uniq": uniqs,
    "max_attempts": [None, None, 1, 2],
    "priority": [None] * 5 + [0, 4, 5, 6, 9],
    "expires": [None] * 6 + [1.0, 5e9, 5e9 + 1],
    "expires_in": [None] * 6 + [3600.0],
    "headers": [None, None, None, {"traceparent": "00-1-2-3"}, {"a": "é\0", "b": ""}],
}
ERRORS = ["", "é\0", "no such file"]


async def outcome(deferred: Awaitable[Any]) -> Any:
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


class Hands:
    """The commands of producers, consumers and workers on the queues a and b."""

    def __init__(self, store: Store, redis: Any) -> None:
        self.redis = redis
        self.queues = Queues(store, "n")
        self.queue_list = QueueList(store, self.queues)
        tokens = count(1)
        self.leases = Leases(store, lambda: 0.5, lambda: f"t{next(tokens)}")
        self.jobs = Jobs(store)
        self.registry = Workers(store)
        self.whole = Whole()
        self.models = {name: Model(name, self.whole) for name in "ab"}
        self.bodies = (b'{"n":%d}' % n for n in count(1))
        self.taken: list[Any] = []  # all that ever was, of which some is stale

    # Insertion

    @command(16, name=names, jobs=range(1, 9), due=dues, uniq=uniqs)
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
            model.counts["failed"] += 1
            model.counts["failed_worker"] += 1
            if worker:
                model.acknowledge_kept(worker)
                model.count(worker, failed=1)

    @command(
        12,
        name=names,
        specs=several(options, 4),
        key=[b"", b"", b"", b"i"],
        fingerprint=[b"f", b"g"],
    )
    async def insert(self, name: str, specs: list[Any], key: bytes, fingerprint: bytes) -> None:
        model = self.models[name]
        jobs = [_spec(next(self.bodies), **spec) for spec in specs]
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

    # Fetch

    @command(6, name=names, most=some, worker=workers)
    async def take(self, name: str, most: int, worker: str) -> None:
        model = self.models[name]
        got = await outcome(self.queues.take(name, most, worker))
        model.acknowledge_kept(worker)
        model.was_asked = model.exists
        if refused(got, QueuePaused() if model.paused else None):
            return
        model.move()
        self._took(model, got, most, worker, "hold")
        assert got.on_arrival == ("keep" if worker and "redeliver_after" in model.settings else "deliver")

    @command(
        9,
        name=names,
        most=some,
        worker=workers,
        lease=[None, 60.0, 3600.0],
        key=[b"", b"", b"i", b"j"],
    )
    async def reserve(self, name: str, most: int, worker: str, lease: float | None, key: bytes) -> None:
        model = self.models[name]
        live = self._live(model, key)
        await self._asked_before(name, worker, key, live)
        got = await self.leases.reserve(name, most, lease, worker, key)
        assert got.asked_again == bool(live)
        if live:
            receipt, _ = model.reserved[key]
            model.again.add(receipt)
            assert (got.receipt, got.numbers) == (receipt, tuple(b"%d" % job.number for job in live))
            assert got.attempts == tuple(job.attempts + 1 for job in live)
            assert got.headers == tuple(job.headers for job in live)
            self.taken.append(got)
            return
        model.was_asked = model.exists
        if model.paused:
            assert got.numbers == ()
            return
        model.move()
        jobs = self._took(model, got, most, worker, "lease")
        for job in jobs:
            job.worker = worker
        if key and jobs:
            model.reserved[key] = (got.receipt, [job.number for job in jobs])
        assert {round(left) for left in got.left} <= {60 if lease is None else lease}
        assert got.attempts == tuple(job.attempts + 1 for job in jobs)
        assert got.max_attempts == tuple(model.limit(job) for job in jobs)
        assert got.headers == tuple(job.headers for job in jobs)

    async def _asked_before(self, name: str, worker: str, key: bytes, live: list[Job]) -> None:
        """What was reserved with the key before comes again, from the first of two queues that has any."""
        if not key:
            return
        for model in self.models.values() if name == "a" else [self.models[name]]:
            if not self._live(model, key):  # then it is forgotten that it was asked for
                model.again.discard(model.reserved.get(key, (b"", []))[0])
        found = await self.leases.reserved(["b", name] if name == "a" else [name], worker, key)
        elsewhere = name == "a" and self._live(self.models["b"], key)
        assert (found is not None) == bool(live or elsewhere)
        if elsewhere:
            assert found.queue == "b"
            self.models["b"].again.add(found.receipt)
            self.taken.append(found)
        elif live:
            self.models[name].again.add(found.receipt)

    def _live(self, model: Model, key: bytes) -> list[Job]:
        """What was reserved with a key and is leased still."""
        receipt, numbers = model.reserved.get(key, (b"", []))
        jobs = [model.held(number, receipt) for number in numbers]
        return [job for job in jobs if job and not job.run_out]

    def _took(self, model: Model, got: Any, most: int, worker: str, kind: str) -> list[Job]:
        jobs = model.take(most, got.receipt, kind)
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
            model.end(job, "delivered")

    @command(5, at=which)
    async def keep(self, at: int) -> None:
        """It reached a worker in whose name it is kept until that one comes again."""
        arrived = [taken for taken in self.taken if taken.on_arrival == "keep"]
        if not arrived:
            return
        taken = arrived[-1 - at % len(arrived)]
        model = self.models[taken.queue]
        held = [job for number in taken.numbers if (job := model.held(int(number), taken.receipt))]
        assert len(held) <= await self.queues.keep([taken]) <= len(taken.numbers)
        for job in held:
            if "redeliver_after" not in model.settings:  # any more
                model.end(job, "delivered")
                continue
            job.kind, job.worker, job.run_out = "kept", taken.worker, False
            if job.receipt not in model.kept.setdefault(taken.worker, []):
                model.kept[taken.worker].append(job.receipt)

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
        if worker := self.whole.workers.get(taken.worker):
            worker.processed = max(0, worker.processed - len(held))  # it may have begun anew meanwhile

    @command(2, at=which)
    async def hold(self, at: int) -> None:
        """It takes longer to reach the consumer. Of a hold whose jobs were all deleted it does not matter."""
        taken_for_good = [taken for taken in self.taken if taken.on_arrival != "nothing"]
        if not taken_for_good:
            return
        taken = taken_for_good[at % len(taken_for_good)]
        model = self.models[taken.queue]
        held = [job for number in taken.numbers if (job := model.held(int(number), taken.receipt))]
        assert len(held) <= await self.queues.hold(taken) <= len(taken.numbers)
        for job in held:
            job.run_out = False

    # Settlement

    @command(
        18,
        at=which,
        items=several(
            each_of(
                which,
                ["ack", "nack", "nack", "nack", "release", "final"],
                delays,
                mostly,
                ERRORS,
            ),
            4,
        ),
    )
    async def settle(self, at: int, items: list[Any]) -> None:
        """Several of one queue; receipts may be stale, or of another job."""
        if not self.taken:
            return
        name = self.taken[at % len(self.taken)].queue
        model = self.models[name]
        pairs = [(number, taken.receipt) for taken in self.taken if taken.queue == name for number in taken.numbers]
        held = [pair for pair in pairs if (job := model.held(int(pair[0]), pair[1])) and job.kind == "lease"]
        settlements = []
        for index, word, delay, is_right, error in items:
            among = held if held and index % 4 else pairs
            number, receipt = among[index % len(among)]
            settlements.append(Settlement(number, receipt if is_right else b"lx", word, delay, error))
        before = time.time() * 1000
        got = await self.leases.settle(name, settlements)
        passed = time.time() * 1000 - before
        for each, result in zip(settlements, got, strict=True):
            self._settled(model, each, result, before, passed)
        if any(result.became == "dead" for result in got):
            model.trim_dead()

    def _settled(self, model: Model, each: Settlement, result: Any, before: float, passed: float) -> None:
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

    @command(2, at=which, index=which, lease=[None, 60.0], is_right=mostly)
    async def extend(self, at: int, index: int, lease: float | None, is_right: bool) -> None:
        leases = [taken for taken in self.taken if taken.on_arrival == "nothing"]
        if not leases:
            return
        taken = leases[at % len(leases)]
        number = taken.numbers[index % len(taken.numbers)]
        receipt = taken.receipt if is_right else b"lx"
        other = "b" if taken.queue == "a" else "a"
        asked = {taken.queue: [(number, receipt), (b"999999", receipt)], other: [(b"999999", b"lx")]}
        became = await self.leases.extend_several(asked, lease)
        assert became[taken.queue][1].became == became[other][0].became == "not-found"
        got = became[taken.queue][0]
        model = self.models[taken.queue]
        job = model.held(int(number), receipt)
        job = None if job and job.run_out else job
        assert got.became == ("extended" if job else "lease-lost" if int(number) in model.jobs else "not-found")
        if job:
            assert 59 < got.ends_at - time.time() < 61
            assert got.lease == 60
            job.run_out = False

    # Time

    def _sooner(self, name: str, at: float) -> None:
        """The mover has to come earlier."""
        due = self.redis("ZSCORE", "presque:{0}/due", name)
        if due is None or at < float(due):
            self.redis("ZADD", "presque:{0}/due", at, name)
            self.redis("HSET", f"presque:{{0}}:{name}:q", "at", at)

    def _rewrite(self, name: str, number: int, **changes: Any) -> None:
        """Change the record of a job."""
        key = f"presque:{{0}}:{name}:jobs"
        record = Record.of(self.redis("HGET", key, number))
        record = Record(**{**record.__dict__, **changes})
        self.redis("HSET", key, number, record.stored())

    @command(3, name=names, at=which, due=[1000, 1500, 2000, 3000])
    async def come_due(self, name: str, at: int, due: int) -> None:
        """The time of a delayed job comes."""
        if delayed := self.models[name].of("delayed"):
            job = delayed[at % len(delayed)]
            self.redis("ZADD", f"presque:{{0}}:{name}:delayed", "XX", due, f"{job.number:016}")
            self._sooner(name, due)
            job.state, job.place = "ready", (1, due, job.number)

    @command(9, name=names, at=which)
    async def run_out(self, name: str, at: int) -> None:
        """The lease of a job runs out, or the hold of a fetch; nobody has noticed yet."""
        model = self.models[name]
        if not (leased := model.of("leased")):
            return
        job = leased[at % len(leased)]
        if job.kind == "lease":
            jobs = [job]
            self.redis("ZADD", f"presque:{{0}}:{name}:leased", "XX", 1, str(job.number))
        else:
            jobs = [each for each in leased if (each.kind, each.receipt) == (job.kind, job.receipt)]
            for member in self.redis("ZRANGE", f"presque:{{0}}:{name}:held", 0, -1):
                if (hold := Hold.of(member)) and (hold.kind, hold.receipt) == (job.kind[0], job.receipt):
                    self.redis("ZADD", f"presque:{{0}}:{name}:held", "XX", 1, member)
        self._sooner(name, 1)
        for job in jobs:
            job.run_out = True

    @command(3, name=names, at=which, when=[1000, 2000])
    async def expire(self, name: str, at: int, when: int) -> None:
        """The time after which a job is not handed out comes; nobody has noticed yet."""
        jobs = [job for job in self.models[name].jobs.values() if job.expires]
        if not jobs:
            return
        job = jobs[at % len(jobs)]
        options = Record.of(self.redis("HGET", f"presque:{{0}}:{name}:jobs", job.number)).options
        self._rewrite(name, job.number, options={**options, "expires": when})
        job.expires = when
        if job.waits():
            self.redis("ZADD", f"presque:{{0}}:{name}:expiring", "XX", when, str(job.number))
            self._sooner(name, when)

    @command(2, name=names)
    async def next_time(self, name: str) -> None:
        """Settlements are remembered for an hour at least, and it has passed."""
        if self.redis("PEXPIRE", f"presque:{{0}}:{name}:acked", 3_590_000):
            self.models[name].is_next_time = True

    @command(2, name=names, at=which, created=[1_000_000, 2_000_000])
    async def grow_old(self, name: str, at: int, created: int) -> None:
        """A job was inserted long ago."""
        if jobs := list(self.models[name].jobs.values()):
            job = jobs[at % len(jobs)]
            self._rewrite(name, job.number, created=created)
            job.created = created


def _spec(payload: bytes, **options: Any) -> NewJob:
    """A job to insert; of two ways to say a time, one."""
    if options["delay"]:
        options["due"] = None
    if options["expires_in"]:
        options["expires"] = None
    return NewJob(payload, **options)
