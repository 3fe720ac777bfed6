"""What one queue should be, in plain Python and in the words of the contract: see test_model.py."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stored import USUAL

from presque.errors import Duplicate, NotAccepting, PresqueError, QueueFull
from presque.jobs.jobs import Never

if TYPE_CHECKING:
    from collections.abc import Callable

    from presque.jobs.jobs import Match
    from presque.jobs.policy import Value
    from presque.jobs.queues import NewJob

RUN_OUT = "the lease ran out"
EXPIRED = "expired"
RESTARTED = "the worker registered again"
HOUR = 3_600_000  # ms


def now() -> float:
    """Epoch ms; Redis' clock is this one."""
    return time.time() * 1000


@dataclass
class Job:
    number: int
    payload: bytes
    uniq: bytes = b""
    limit: int | None = None
    priority: int = USUAL
    expires: float | None = None  # epoch ms
    is_about: bool = False  # whether `expires` is so nearly, and Redis knows better
    headers: dict[str, str] = field(default_factory=dict)
    created: float | None = None  # epoch ms; None: Redis' clock knows, and it is read from there
    state: str = ""
    place: tuple[float, ...] = ()  # among the ready ones of its priority: whoever has the least is next
    at: float | None = None  # epoch ms, when delayed or dead; None as for `created`
    receipt: bytes = b""
    kind: str = ""  # when leased: lease, hold (of a fetch), or kept (for a worker)
    run_out: bool = False
    attempts: int = 0
    run_outs: int = 0
    worker: str = ""  # who reserved it last under a name, or in whose name it is kept
    wait: tuple[float, float] = (HOUR, HOUR)  # ms, when delayed and `at` is not known: the least and the most
    failures: list[tuple[int, str]] = field(default_factory=list)

    def has_expired(self) -> bool:
        return self.expires is not None and self.expires <= now()

    def waits(self) -> bool:
        return self.state in ("ready", "delayed")


@dataclass
class Worker:
    queues: set[str] = field(default_factory=set)
    processed: int = 0
    failed: int = 0


@dataclass
class Whole:
    """What queues share: the workers, and the highest number of all queues that were deleted."""

    workers: dict[str, Worker] = field(default_factory=dict)
    floor: int = 0


class Model:
    """What one queue should be."""

    def __init__(self, name: str, whole: Whole) -> None:
        self.name, self.whole = name, whole
        self.remembered: dict[bytes, tuple[bytes, list[tuple[str, str]]]] = {}
        self.reserved: dict[bytes, tuple[bytes, list[int]]] = {}
        self.again: set[bytes] = set()  # receipts of reservations that were asked for again
        self.base = self.last = 0
        self.delete()

    def delete(self) -> None:
        self.whole.floor = max(self.whole.floor, self.last)
        self.jobs: dict[int, Job] = {}
        self.uniq: dict[bytes, int] = {}
        self.contested: dict[bytes, set[int]] = {}  # uniq keys that one of several jobs has that ran out together
        self.settings: dict[str, Value] = {}
        self.acked: dict[int, bytes] = {}
        self.settled: dict[tuple[int, bytes], tuple[str, float, float]] = {}
        self.noted: list[Any] = []  # keys of these two, of the time now
        self.noted_before: list[Any] = []  # and of the time before
        self.is_next_time = False  # whether the next settlement begins the next one
        self.kept: dict[str, list[bytes]] = {}  # worker -> receipts
        self.counts: Counter[str] = Counter()
        self.base = self.last = self.processed = 0
        self.paused = self.exists = self.was_asked = False

    # What there is

    def of(self, state: str) -> list[Job]:
        """The jobs in a state, in their order."""
        jobs = [job for job in self.jobs.values() if job.state == state]
        if state == "ready":
            return sorted(jobs, key=lambda job: (-job.priority, job.place))
        return sorted(jobs, key=lambda job: (job.at, f"{job.number:016}" if state == "delayed" else str(job.number)))

    def limit(self, job: Job) -> int:
        return job.limit or int(self.settings.get("max_attempts", 5))

    def held(self, number: int, receipt: bytes) -> Job | None:
        """The job, if it is leased or held under that receipt; a lease may have run out."""
        job = self.jobs.get(number)
        is_held = job and job.state == "leased" and job.kind != "kept" and job.receipt == receipt
        return job if is_held else None

    def matches(self, job: Job, match: Match) -> bool:
        """Whether its last error and its age are as asked for."""
        last_error = job.failures[-1][1] if job.failures else ""
        if match.error not in last_error:
            return False
        age = now() - (now() if job.created is None else job.created)
        return match.older_than is None or age >= match.older_than * 1000

    def why(self, job: Job) -> tuple[str, int | None]:
        """Why the job is not handed out now, and how many are before it."""
        if job.state in ("leased", "dead"):
            return job.state, None
        if job.state == "delayed":
            return "backing-off" if job.failures else "delayed", None
        return "paused" if self.paused else "waiting-turn", self.of("ready").index(job)

    def is_conserved(self) -> bool:
        """Whether all that was inserted is there, or ended in one way that was counted."""
        ended = self.counts["delivered"] + self.counts["acked"] + self.counts["expired"] + self.counts["deleted"]
        return self.last - self.base == ended + len(self.jobs)

    # Insertion

    def insert(self, specs: list[NewJob]) -> list[Job] | PresqueError:
        reason, refusal = self._refusal(specs)
        if refusal:
            self.counts[f"refused_{reason}"] += self.exists
            return refusal
        self.exist()
        return [self._insert(spec) for spec in specs]

    def _refusal(self, specs: list[NewJob]) -> tuple[str, PresqueError | None]:
        if self.settings.get("accepting") is False:
            return "closed", NotAccepting()
        waiting = sum(job.waits() for job in self.jobs.values())
        if waiting + len(specs) > int(self.settings.get("max_length", 1_000_000)):
            return "full", QueueFull()
        seen = set()
        for spec in specs:
            if spec.uniq in self.uniq:
                return "duplicate", Duplicate(f"{self.name}:{self.uniq[spec.uniq]}")
            if spec.uniq in seen:
                return "duplicate", Duplicate("")
            seen |= {spec.uniq} - {b""}
        return "", None

    def exist(self) -> None:
        """The queue exists from now on; its numbers go on where those of deleted queues ended."""
        if not self.exists:
            self.exists, self.base, self.last = True, self.whole.floor, self.whole.floor

    def _insert(self, spec: NewJob) -> Job:
        self.last += 1
        job = Job(self.last, spec.payload, spec.uniq, spec.max_attempts, headers=spec.headers or {})
        job.priority = USUAL if spec.priority is None else spec.priority
        if spec.expires is not None:
            job.expires = spec.expires * 1000
        elif spec.expires_in is not None:
            job.expires, job.is_about = now() + spec.expires_in * 1000, True
        self.jobs[job.number] = job
        if spec.delay:
            self.delay(job, None)
        elif spec.due is None:
            self.ready(job, 2, job.number)
        else:
            self.delay(job, spec.due * 1000)
        return job

    # What becomes of a job

    def claim(self, job: Job) -> None:
        """The job is to wait again: its uniq key is its own, unless another has it."""
        if job.waits():
            return
        job.receipt, job.kind, job.run_out = b"", "", False
        if job.uniq:
            self.uniq.setdefault(job.uniq, job.number)

    def ready(self, job: Job, *place: float) -> None:
        self.claim(job)
        job.state, job.place = "ready", place

    def to_front(self, job: Job) -> None:
        self.ready(job, 0, job.number)

    def delay(self, job: Job, at: float | None, wait: tuple[float, float] = (HOUR, HOUR)) -> None:
        job.wait = wait
        if at is not None and at <= now():
            self.ready(job, 1, at, job.number)
        else:
            self.claim(job)
            job.state, job.at = "delayed", at

    def die(self, job: Job, why: str) -> None:
        """It is dead; an expiry is no attempt."""
        job.failures = [*job.failures, (job.attempts, why)][-10:]
        self.counts["died"] += 1
        self.free(job)
        job.state, job.at, job.receipt, job.kind, job.run_out = "dead", None, b"", "", False

    def free(self, job: Job) -> None:
        """Its uniq key is free, if it is its own."""
        if self.uniq.get(job.uniq) == job.number:
            del self.uniq[job.uniq]

    def end(self, job: Job, how: str) -> None:
        self.counts[how] += 1
        self.free(job)
        del self.jobs[job.number]

    def count_attempt(self, job: Job, why: str, is_final: bool = False) -> bool:
        """Count a failed attempt; whether it was not the last."""
        self.counts["failed"] += 1
        self.counts["run_outs"] += why == RUN_OUT
        job.attempts += 1
        if is_final or job.attempts >= self.limit(job):
            self.die(job, why)
            return False
        job.failures = [*job.failures, (job.attempts, why)][-10:]
        return True

    def trim_dead(self) -> None:
        """Forget those that died first, if there are too many, and those that have been dead for long."""
        dead = [job for job in self.of_dead() if job.at is None or job.at > now() - 1_209_600_000]
        most = int(self.settings.get("dead_keep.count", 10_000))
        kept = dead[max(0, len(dead) - most) :]
        for job in self.of_dead():
            if job not in kept:
                self.end(job, "deleted")

    def of_dead(self) -> list[Job]:
        """The dead ones, those last of which it is not known yet when they died."""
        jobs = [job for job in self.jobs.values() if job.state == "dead"]
        return sorted(jobs, key=lambda job: (job.at or 1e18, str(job.number)))

    def move(self) -> None:
        """The mover's turn, or that of a fetch: what came due, ran out or expired is dealt with."""
        ran_out = [job for job in self.jobs.values() if job.run_out]
        for job in ran_out:
            self.run_out(job)
        for key in {job.uniq for job in ran_out} - {b""}:
            together = {job.number for job in ran_out if job.uniq == key and job.waits()}
            if self.uniq.get(key) in together and len(together) > 1:
                self.contested[key] = together
        for job in [job for job in self.jobs.values() if job.waits() and job.has_expired()]:
            self.expire(job)
        self.trim_dead()

    def run_out(self, job: Job) -> None:
        was_lease = job.kind != "hold"
        self.counts["failed_lease"] += was_lease
        if was_lease and not self.count_attempt(job, RUN_OUT):
            return
        job.run_outs += was_lease
        if was_lease and job.run_outs > 1:
            usual = 5000 * 2 ** (job.attempts - 1)
            self.delay(job, None, (0.8 * usual, 1.2 * usual))
        else:
            self.to_front(job)

    def expire(self, job: Job) -> None:
        if self.settings.get("expired") == "dead":
            self.die(job, EXPIRED)
        else:
            self.end(job, "expired")

    # Taking and settling

    def take(self, most: int, receipt: bytes, kind: str) -> list[Job]:
        jobs = self.of("ready")[:most]
        self.counts["wait"] += sum(job.place[0] > 0 for job in jobs)  # those put back are not counted
        for job in jobs:
            job.state, job.receipt, job.kind, job.at = "leased", receipt, kind, 0
            self.free(job)
        self.processed += len(jobs)
        return jobs

    def release_kept(self, worker: str, then: Callable[[Job], Any]) -> None:
        """Jobs are kept in a worker's name no longer."""
        receipts = self.kept.pop(worker, [])
        for job in [job for job in self.jobs.values() if job.kind == "kept" and job.receipt in receipts]:
            then(job)

    def acknowledge_kept(self, worker: str) -> None:
        self.release_kept(worker, lambda job: self.end(job, "delivered"))

    def restart(self, worker: str) -> None:
        def again(job: Job) -> None:
            self.counts["failed_worker"] += 1
            if self.count_attempt(job, RESTARTED):
                self.to_front(job)

        died = self.counts["died"]
        self.release_kept(worker, again)
        if self.counts["died"] > died:
            self.trim_dead()

    def enrol(self, worker: str) -> Worker:
        known = self.whole.workers.setdefault(worker, Worker())
        known.queues.add(self.name)
        return known

    def count(self, worker: str, processed: int = 0, failed: int = 0) -> None:
        """Count on the worker, if it is registered."""
        if known := self.whole.workers.get(worker):
            known.processed += processed
            known.failed += failed

    def settle(self, number: int, receipt: bytes, outcome: str, delay: float | None, error: str) -> str:
        job = self.held(number, receipt)
        if not job or job.kind != "lease" or job.run_out:
            return self._settled_before(number, receipt, outcome)
        if outcome == "ack":
            self.end(job, "acked")
            self.counts["run"] += 1
            self.note(number)
            self.acked[number] = receipt
            return "acked"
        if outcome == "release":
            self.note((number, receipt))
            self.settled[number, receipt] = ("release", 0, 0)
            self.counts["released"] += 1
            if delay:
                self.delay(job, None)
            else:
                self.to_front(job)
            return "released"
        is_over = not self.count_attempt(job, error, outcome == "final")
        self.note((number, receipt))
        self.settled[number, receipt] = ("dead" if is_over else "new", 0, 0)
        return "dead" if is_over else "new"

    def note(self, settlement: Any) -> None:
        """A settlement is remembered for this time and the next."""
        if self.is_next_time:
            for old in self.noted_before:
                self.acked.pop(old, None)
                self.settled.pop(old, None)
            self.noted_before, self.noted, self.is_next_time = self.noted, [], False
        self.noted.append(settlement)

    def _settled_before(self, number: int, receipt: bytes, outcome: str) -> str:
        if outcome == "ack" and self.acked.get(number) == receipt:
            return "acked"
        word = self.settled.get((number, receipt), ("",))[0]
        if word and {"release": "release"}.get(word, "nack") == outcome.replace("final", "nack"):
            return "released" if word == "release" else word
        return "lease-lost" if number in self.acked or number in self.jobs else "not-found"

    # What an operator does to a job

    def run_now(self, job: Job, at: float) -> None:
        """It is ready, as if it had come due at that time; a dead one begins anew."""
        if job.state == "dead":
            job.attempts = job.run_outs = 0
        self.ready(job, 1, at, job.number)

    def change(
        self, job: Job, due: float | None, delay: float | None, priority: int | None, expires: float | Never | None
    ) -> None:
        if priority is not None:
            job.priority = priority
        if expires is not None:
            job.expires, job.is_about = None if isinstance(expires, Never) else expires * 1000, False
        if delay is not None:
            self.delay(job, None, (delay * 1000, delay * 1000))
        elif due is not None:
            self.delay(job, due * 1000)
