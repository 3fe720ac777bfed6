"""The verbs of one queue: a method for each verb, and one script call for each method.

Every method returns a Deferred. Besides the errors that its docstring names, it may fail with StoreUnavailable (nothing
was done), OutcomeUnknown (the reply never came) or StoreFull (nothing was done). A name that cannot name a queue raises
InvalidName.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import msgspec
from twisted.internet.defer import succeed

from presque.errors import (
    Duplicate,
    IdempotencyMismatch,
    NotAccepting,
    PresqueError,
    QueueFull,
    QueuePaused,
)
from presque.jobs import policy
from presque.jobs.deaths import tell
from presque.jobs.records import DEFAULT_PRIORITY, packed_options, payload_of
from presque.redis import keys
from presque.redis.coalescing import Coalesced, and_then, settled
from presque.redis.store import NO_LIMIT
from presque.redis.units import milliseconds, seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from presque.redis.connection import Reply
    from presque.redis.store import Store

HOLD = 5.0  # seconds for which a taken job is held before it is handed out again, unless the hold is extended
MOST_AT_ONCE = 1000  # jobs that one script call takes, settles, gives back or moves
REMEMBERED = 24 * 3600.0  # seconds for which an idempotency key is kept


class Taken(msgspec.Struct, frozen=True):  # made for each fetch; a dataclass takes five times as long
    """Jobs taken from a queue, held under one receipt; possibly none.

    `on_arrival` says what to do when they have reached their consumer. Jobs taken for good are delivered, which ends
    them, or kept, where the queue keeps them in the worker's name. With leased jobs there is nothing to do: the worker
    settles them.
    """

    queue: str
    worker: str
    receipt: bytes
    numbers: tuple[bytes, ...]
    payloads: tuple[bytes, ...]
    on_arrival: str  # deliver, keep or nothing
    key: bytes = b""
    asked_again: bool = False
    hold: bytes = b""  # names the take in the store; empty for leased jobs


class NewJob(msgspec.Struct, frozen=True):
    """A job to insert. It is due at `due` (epoch seconds) or `delay` seconds from now by Redis' clock; with neither, at
    once. `max_attempts` is its own number of attempts; None stands for the queue's. `priority` is from 0 to 9, the
    largest first. It expires at `expires` (epoch seconds) or in `expires_in` seconds by Redis' clock: then it is not
    handed out any more. `headers` come with it.
    """

    payload: bytes
    due: float | None = None
    delay: float | None = None
    uniq: bytes = b""
    max_attempts: int | None = None
    priority: int | None = None
    expires: float | None = None
    expires_in: float | None = None
    headers: dict[str, str] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it has no options, and is due at once."""
        return (
            self.due is None
            and not self.delay
            and not self.uniq
            and self.max_attempts is None
            and self.priority in (None, DEFAULT_PRIORITY)
            and self.expires is None
            and self.expires_in is None
            and not self.headers
        )

    def to_store(self) -> tuple[bytes, bytes, bytes]:
        """The job as `insert.lua` takes it: when it is due, its options, its payload."""
        due = b"+" + _ms(self.delay) if self.delay else _due(self.due)
        expiry = self.expires, self.expires_in
        return due, packed_options(self.uniq, self.max_attempts, self.priority, *expiry, self.headers), self.payload


@dataclass(frozen=True)
class Counts:
    """The counts of a queue: jobs by state; what became of jobs since it was created; its policy and settings.

    `processed` is the number of jobs handed out, those given back not counted, and `failed` of attempts that failed.
    Of all `inserted` jobs, those that are not there any more were `delivered` (taken for good, and received), `acked`,
    `deleted`, or `expired`. `died` is how often a job became dead.

    `oldest` is the age of the oldest ready job (seconds), None when no job is ready. `told` is the store's reply
    about the settings; it is decoded only on demand.
    """

    ready: int
    delayed: int
    leased: int
    dead: int
    inserted: int
    processed: int
    delivered: int
    acked: int
    failed: int
    died: int
    expired: int
    deleted: int
    paused: bool
    exists: bool
    oldest: float | None
    told: Reply

    @property
    def settings(self) -> dict[str, policy.Value]:
        """The settings by name, with the names and units of `presque.jobs.policy`; None where nothing is in force."""
        return policy.from_store(self.told)


class Queues:
    """All queues of one store. `nonce`, a few random characters, distinguishes this daemon from others."""

    def __init__(self, store: Store, nonce: str) -> None:
        self._store = store
        self.partitions = store.partitions
        self._nonce = nonce
        self._receipts = (b"%b-%x" % (nonce.encode(), n) for n in count(1))
        self._pushes = Coalesced(store.clock, self._push_each)
        self._takes = Coalesced(store.clock, self._take_each)

    def push(
        self, queue: str, payloads: Sequence[bytes], due: float | None = None, uniq: bytes = b""
    ) -> Deferred[list[str]]:
        """Insert jobs, all or none. Fires with their ids. They are due at `due` (epoch seconds), or at once. `uniq` is
        for one job alone. Fails with Duplicate while another job with that key waits, QueueFull or NotAccepting.
        """
        if due is None and not uniq:
            return self._push(queue, payloads).addCallback(_ids, queue, len(payloads))
        jobs = [NewJob(payload, due, None, uniq) for payload in payloads]
        return self.insert(queue, jobs).addCallback(lambda refs: [job_id for job_id, _ in refs])

    def insert(
        self, queue: str, jobs: Sequence[NewJob], key: bytes = b"", fingerprint: bytes = b""
    ) -> Deferred[list[tuple[str, str]]]:
        """Insert jobs, all or none. Fires with the id and the state of each. Fails with Duplicate, QueueFull or
        NotAccepting.

        With an idempotency `key` only the first call inserts. A later call whose request has the same fingerprint fires
        with what the first call did; a call with another fingerprint fails with IdempotencyMismatch.
        """
        if not key and all(job.is_plain for job in jobs):
            pushed = self._push(queue, [job.payload for job in jobs])
            return pushed.addCallback(_pushed, queue, len(jobs))
        args = [fingerprint if key else b"", _REMEMBERED]
        for job in jobs:
            args += job.to_store()
        remembered = keys.idempotency_key(queue, key, self.partitions) if key else b""
        asked = self._store.on_queue("insert", queue, *args, key=remembered)
        return asked.addCallback(_inserted, queue, args[0])

    def _push(self, queue: str, payloads: Sequence[bytes]) -> Deferred[int]:
        """Insert jobs without options, all or none. Fires with the number of the first."""
        if len(payloads) == 1:
            keys.check_name(queue)
            return self._pushes.call(queue, payloads[0], len(payloads[0]))
        return self._store.on_queue("push", queue, *payloads).addCallback(_first_number, queue)

    def _push_each(self, queue: str, payloads: Sequence[bytes]) -> Deferred[list[int | Exception]]:
        """Insert jobs of several producers. When the queue is too full for all of them, one after the other."""

        def each_alone(failed: Failure) -> Deferred[list[int | Exception]]:
            failed.trap(QueueFull)
            if len(payloads) == 1:
                return succeed([QueueFull()])
            asked = [self._store.on_queue("push", queue, payload) for payload in payloads]
            return settled([each.addCallback(_first_number, queue) for each in asked])

        def numbers(first: int) -> list[int | Exception]:
            return [*range(first, first + len(payloads))]

        pushed = self._store.on_queue("push", queue, *payloads).addCallback(_first_number, queue)
        return pushed.addCallbacks(numbers, each_alone)

    def fail(
        self,
        queue: str,
        payload: bytes,
        due: float | None = None,
        uniq: bytes = b"",
        worker: str = "",
        key: bytes = b"",
        fingerprint: bytes = b"",
    ) -> Deferred[list[str]]:
        """Insert a failed job again, as `push` does. Counts one failure on the queue, and on the
        worker if it is registered. With an idempotency key, as `insert`, only the first call inserts and counts.
        """
        print_ = fingerprint if key else b""
        remembered = keys.idempotency_key(queue, key, self.partitions) if key else b""
        args = (print_, _REMEMBERED, worker.encode(), *NewJob(payload, due, None, uniq).to_store())
        failed = self._store.on_queue("fail", queue, *args, key=remembered)
        return failed.addCallback(_inserted, queue, print_).addCallback(lambda jobs: [job_id for job_id, _ in jobs])

    def take(self, queue: str, limit: int = 1, worker: str = "", daemon: bytes = b"") -> Deferred[Taken]:
        """Take up to `limit` (1,000) jobs for good, in the order that `parts/rank.lua` defines. They are held for HOLD
        seconds, and must be delivered or given back, or kept where the queue has `redeliver_after` and a worker took
        them. Acknowledges jobs that the queue kept for that worker. When there is no job, `daemon` will be woken for
        the next. Fails with QueuePaused.
        """
        if limit == 1 and not worker:
            keys.check_name(queue)
            return self._takes.call((queue, daemon), None)
        receipt = next(self._receipts)
        reply = self._store.on_queue("take", queue, b"%d" % limit, _HOLD, receipt, worker.encode(), daemon, b"")
        return reply.addCallback(_taken, queue, worker, receipt)

    def _take_each(self, shared: tuple[str, bytes], consumers: Sequence[None]) -> Deferred[list[Taken | Exception]]:
        """Take a job for each of several consumers."""
        queue, daemon = shared
        receipt, wanted = next(self._receipts), len(consumers)
        apart = b"1" if wanted > 1 else b""
        reply = self._store.on_queue("take", queue, b"%d" % wanted, _HOLD, receipt, b"", daemon, apart)

        def taken(reply: Reply) -> list[Taken | Exception] | Deferred[list[Taken | Exception]]:
            if not reply:
                return [QueuePaused() for _ in consumers]
            each: list[Taken | Exception] = [
                _taken([*reply[:2], *reply[n : n + 2]], queue, "", receipt) for n in range(2, len(reply), 2)
            ]
            left = consumers[len(each) :]
            if not each:
                return [_taken(reply, queue, "", receipt) for _ in left]
            if not left:
                return each
            # There were not enough jobs, or the script has done enough for one call.
            return and_then(each, self._take_each(shared, left), len(left))

        return reply.addCallback(taken)

    def deliver(self, taken: Iterable[Taken]) -> Deferred[int]:
        """End jobs of one queue that have reached their consumers. Fires with how many it ended."""
        queue, holds = _holds(taken)
        return self._store.on_queue("deliver", queue, *holds, until=NO_LIMIT)

    def keep(self, taken: Iterable[Taken]) -> Deferred[int]:
        """Keep jobs of one queue that have reached one worker until it comes again. Fires with how many it keeps."""
        queue, holds = _holds(taken := list(taken))
        return self._store.on_queue("keep", queue, taken[0].worker.encode(), *holds, until=NO_LIMIT)

    def give_back(self, taken: Taken) -> Deferred[int]:
        """Put jobs that did not reach their consumer back to the front; the attempt is not counted. Fires with how
        many.

        Jobs that were leased with an idempotency key and asked for again stay leased: another answer may have arrived.
        """
        if taken.asked_again:
            return succeed(0)
        queue, keyed, key = taken.queue, b"", b""
        if taken.key:
            keyed, key = b"1", keys.reservation_key(queue, taken.key, self.partitions)
        pairs = [] if taken.hold else [part for number in taken.numbers for part in (number, taken.receipt)]
        args = taken.worker.encode(), keyed, taken.hold, *pairs
        return self._store.on_queue("give_back", queue, *args, until=NO_LIMIT, key=key)

    def hold(self, taken: Taken) -> Deferred[int]:
        """Hold jobs taken for good for another HOLD seconds from now. Fires with how many are still held."""
        return self._store.on_queue("hold", taken.queue, _HOLD, taken.hold, until=NO_LIMIT)

    def counts(self, queue: str) -> Deferred[Counts]:
        """The counts of the queue. A queue that does not exist has zeros and is open."""
        return self._store.on_queue("counts", queue).addCallback(_counts)

    def configure(self, queue: str, changes: Mapping[str, policy.Value]) -> Deferred[Counts]:
        """Change settings, with the names and units of `presque.jobs.policy`; None restores a default. Creates the
        queue if necessary. Fires with its counts.
        """
        return self._store.on_queue("configure", queue, *policy.to_store(changes)).addCallback(_counts)

    def peek(self, queue: str, limit: int = MOST_AT_ONCE) -> Deferred[tuple[Counts, list[bytes]]]:
        """The counts of the queue, and the payloads of up to `limit` (1,000) ready jobs in the order in which they
        would be taken. The jobs stay where they are.
        """

        def peeked(reply: Reply) -> tuple[Counts, list[bytes]]:
            counted, *records = reply
            return _counts(counted), [payload_of(record) for record in records]

        return self._store.on_queue("peek", queue, b"%d" % limit).addCallback(peeked)

    def pause(self, queue: str) -> Deferred[int]:
        """Stop the queue: it accepts jobs and hands none out. Fires with 1 when it was open, else 0."""
        return self._store.on_queue("pause", queue)

    def resume(self, queue: str) -> Deferred[int]:
        """Open the queue again. Fires with 1 when it was stopped, 0 when it was open, -1 when it does not exist."""
        return self._store.on_queue("resume", queue)

    def delete(self, queue: str) -> Deferred[bool]:
        """Delete the queue with its jobs in every state, its uniq keys, counters, settings and policy. Fires with
        whether it existed.
        """
        return self._store.on_queue("delete", queue).addCallback(bool)

    def due(self, partition: int, limit: int) -> Deferred[list[str]]:
        """The names of up to `limit` queues of a partition that need moving now, the most overdue first."""
        reply = self._store.in_partition("due", partition, b"%d" % limit)
        return reply.addCallback(lambda names: [name.decode() for name in names])

    def move(self, queue: str, limit: int = MOST_AT_ONCE) -> Deferred[int]:
        """Move up to `limit` (1,000) delayed jobs that are due, and as many jobs whose hold or lease ran out, to the
        front; end as many that have expired; forget dead ones. Log who died. Fires with how many that were.
        """

        def moved(reply: Reply) -> int:
            count, deaths = reply
            if deaths:
                tell(queue, deaths)
            return int(count)

        return self._store.on_queue("move", queue, b"%d" % limit).addCallback(moved)

    @property
    def daemon(self) -> bytes:
        """This daemon's id, by which it is woken."""
        return self._nonce.encode()

    def channel(self, queue: str) -> bytes:
        """The channel on which this daemon is told that `queue` may have a job."""
        keys.check_name(queue)
        return keys.channel(queue, self._nonce, self.partitions)

    def wake_another(self, channel: bytes) -> Deferred[int]:
        """Wake another daemon after a publication on `channel` for which no consumer waits here any more."""
        return self._store.on_queue("wake_another", keys.queue_of_channel(channel))


def _ms(seconds: float) -> bytes:
    return b"%d" % milliseconds(seconds)


_HOLD, _REMEMBERED = _ms(HOLD), _ms(REMEMBERED)


def _due(due: float | None) -> bytes:
    return b"" if due is None else _ms(max(0, due))


def _counts(reply: Reply) -> Counts:
    ready, delayed, leased, dead, paused, exists, oldest, ended, told = reply
    age = None if oldest < 0 else seconds(oldest)
    figures = [ready, delayed, leased, dead, *ended, bool(paused), bool(exists), age, told]
    return Counts(*figures)


def _taken(reply: Reply, queue: str, worker: str, receipt: bytes) -> Taken:
    if not reply:
        raise QueuePaused
    keeps, mark = reply[:2]
    numbers = tuple(reply[2::2])
    payloads = tuple([payload_of(record) for record in reply[3::2]])
    on_arrival = "keep" if keeps else "deliver"
    hold = b"h%b%b %b" % (mark, receipt, b" ".join(numbers)) if numbers else b""  # see `held` in presque.redis.keys
    return Taken(queue, worker, receipt, numbers, payloads, on_arrival, hold=hold)


def _first_number(reply: Reply, queue: str) -> int:
    if isinstance(reply, list):
        raise refusal(reply, queue)
    first: int = reply
    return first


def _ids(first: int, queue: str, jobs: int) -> list[str]:
    return [f"{queue}:{number}" for number in range(first, first + jobs)]


def _pushed(first: int, queue: str, jobs: int) -> list[tuple[str, str]]:
    return [(job_id, "ready") for job_id in _ids(first, queue, jobs)]


def _inserted(reply: Reply, queue: str, fingerprint: bytes) -> list[tuple[str, str]]:
    if reply[0] != b"inserted":
        raise refusal(reply, queue)
    print_, number, letters = reply[1].split(b" ")
    if print_ != fingerprint:
        raise IdempotencyMismatch
    states = {"r": "ready", "d": "delayed"}
    return [(f"{queue}:{int(number) + n}", states[letter]) for n, letter in enumerate(letters.decode())]


def refusal(reply: list[Reply], queue: str) -> PresqueError:
    """Why nothing was inserted: see `parts/insert.lua`."""
    if reply[0] == b"duplicate":
        existing = reply[1]  # 0: another of the jobs that were to be inserted
        return Duplicate(f"{queue}:{existing.decode()}" if existing else "")
    return QueueFull() if reply[0] == b"full" else NotAccepting()


def _holds(taken: Iterable[Taken]) -> tuple[str, list[bytes]]:
    holds, queue = [], ""
    for each in taken:
        queue = each.queue
        holds.append(each.hold)
    return queue, holds
