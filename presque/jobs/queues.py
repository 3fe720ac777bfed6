"""The queues: one method a verb, one script call a method.

Every method returns a Deferred. Beside what its docstring names, each may fail with StoreUnavailable (nothing was
done), OutcomeUnknown (the reply never came) or StoreFull (nothing was done). Names are checked here: InvalidName.
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
    QueueFull,
    QueuePaused,
)
from presque.jobs import policy
from presque.redis import keys
from presque.redis.store import NO_LIMIT
from presque.redis.units import milliseconds, seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from twisted.internet.defer import Deferred

    from presque.redis.connection import Reply
    from presque.redis.store import Store

HOLD = 5.0  # seconds that a taken job is kept for its consumer before it is handed out again, unless extended
HEAD = 14  # bytes before the payload in a stored job: see `jobs` in presque.redis.keys
MOST_AT_ONCE = 1000  # jobs taken, settled, given back or moved by one script call
REMEMBERED = 24 * 3600.0  # seconds that an idempotency key is kept


class Taken(msgspec.Struct, frozen=True):  # made for each fetch, and a dataclass takes five times as long
    """Jobs taken from a queue and held under one receipt. Without jobs there is nothing held.

    `on_arrival` at their consumer those taken for good are to be delivered (which ends them) or, where the queue keeps
    them in the worker's name, kept. For those that are leased there is nothing to do: their consumer ends them.
    """

    queue: str
    worker: str
    receipt: bytes
    numbers: tuple[bytes, ...]
    payloads: tuple[bytes, ...]
    on_arrival: str  # deliver, keep or nothing
    key: bytes = b""
    asked_again: bool = False


@dataclass(frozen=True)
class NewJob:
    """A job to insert. `due` is epoch seconds, or `delay` seconds from now by Redis' clock; with neither, at once.

    `max_attempts` are its own, None the queue's.
    """

    payload: bytes
    due: float | None = None
    delay: float | None = None
    uniq: bytes = b""
    max_attempts: int | None = None


@dataclass(frozen=True)
class Counts:
    """A queue in numbers: jobs by state, what was fetched and failed since it began, its policy and settings.

    `oldest` is the age of the oldest ready job in seconds, None without one. `told` is what the store said of the
    settings, which few want to know.
    """

    ready: int
    delayed: int
    leased: int
    dead: int
    processed: int
    failed: int
    paused: bool
    exists: bool
    oldest: float | None
    told: Reply

    @property
    def settings(self) -> dict[str, policy.Value]:
        """The settings by name, as `presque.jobs.policy` names and measures them; None where nothing is in force."""
        return policy.from_store(self.told)


class Queues:
    """All queues of one store. `nonce` tells this daemon's receipts from those of others: a few random characters."""

    def __init__(self, store: Store, nonce: str) -> None:
        self._store = store
        self.partitions = store.partitions
        self._nonce = nonce
        self._receipts = (b"%b-%x" % (nonce.encode(), n) for n in count(1))

    def push(
        self, queue: str, payloads: Sequence[bytes], due: float | None = None, uniq: bytes = b""
    ) -> Deferred[list[str]]:
        """Insert jobs, all or none. Fires with their ids. `due`, epoch seconds, keeps them back until then; `uniq`, for
        one job alone, fails with Duplicate while another with that key waits. Fails with QueueFull or NotAccepting.
        """
        inserted = self._store.on_queue("push", queue, _due(due), uniq, *payloads)
        return inserted.addCallback(_ids, queue, len(payloads))

    def insert(
        self, queue: str, jobs: Sequence[NewJob], key: bytes = b"", fingerprint: bytes = b""
    ) -> Deferred[list[tuple[str, str]]]:
        """Insert jobs, all or none. Fires with the id and the state of each. Fails with Duplicate, QueueFull or
        NotAccepting.

        With an idempotency `key`, only the first call inserts; each later one with the same fingerprint of the request
        fires with what the first did, and one with another fails with IdempotencyMismatch.
        """
        args = [fingerprint if key else b"", _ms(REMEMBERED)]
        for job in jobs:
            due = b"+" + _ms(job.delay) if job.delay else _due(job.due)
            max_attempts = b"" if job.max_attempts is None else b"%d" % job.max_attempts
            args += (due, job.uniq, max_attempts, job.payload)
        remembered = keys.idempotency_key(queue, key, self.partitions)
        asked = self._store.on_queue("insert", queue, *args, key=remembered)
        return asked.addCallback(_inserted, queue, args[0])

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
        """As `push` with one job, for a worker that failed at it: counts one failure on the queue, and on the worker
        if it is registered; with an idempotency key, once.
        """
        print_ = fingerprint if key else b""
        remembered = keys.idempotency_key(queue, key, self.partitions)
        args = (print_, _ms(REMEMBERED), _due(due), uniq, worker.encode(), payload)
        failed = self._store.on_queue("fail", queue, *args, key=remembered)
        return failed.addCallback(_inserted, queue, print_).addCallback(lambda jobs: [job_id for job_id, _ in jobs])

    def take(self, queue: str, limit: int = 1, worker: str = "", daemon: bytes = b"") -> Deferred[Taken]:
        """Take up to `limit` (1,000) jobs for good: due ones first, then the oldest. They are held for HOLD seconds and
        must be delivered or given back, or, where the queue has `redeliver_after` and a worker took them, kept. What
        the queue kept for that worker before is acknowledged. With nothing, `daemon` is to be woken. Fails with
        QueuePaused.
        """
        receipt = b"h" + next(self._receipts)

        def taken(reply: Reply) -> Taken:
            if reply == 0:
                raise QueuePaused
            keep, *jobs = reply
            payloads = tuple([job[HEAD:] for job in jobs[1::2]])
            return Taken(queue, worker, receipt, tuple(jobs[::2]), payloads, "keep" if keep else "deliver")

        args = (b"%d" % limit, _ms(HOLD), receipt, worker.encode(), daemon)
        reply = self._store.on_queue("take", queue, *args)
        return reply.addCallback(taken)

    def deliver(self, taken: Iterable[Taken]) -> Deferred[int]:
        """End jobs, all of one queue, that have reached their consumers. Fires with how many were ended."""
        queue, pairs = _pairs(taken)
        return self._store.on_queue("deliver", queue, *pairs, until=NO_LIMIT)

    def keep(self, taken: Iterable[Taken]) -> Deferred[int]:
        """Keep jobs, all of one queue and worker, that have reached it, until it comes again. Fires with how many."""
        queue, pairs = _pairs(taken := list(taken))
        return self._store.on_queue("keep", queue, taken[0].worker.encode(), *pairs, until=NO_LIMIT)

    def give_back(self, taken: Taken) -> Deferred[int]:
        """Put jobs that did not reach their consumer back to the front, uncounted. Fires with how many it did.

        What was leased with an idempotency key and asked for again stays leased: another answer may have arrived.
        """
        if taken.asked_again:
            return succeed(0)
        queue, pairs = _pairs([taken])
        keyed, key = b"", b""
        if taken.key:
            keyed, key = b"1", keys.reservation_key(queue, taken.key, self.partitions)
        worker = taken.worker.encode()
        return self._store.on_queue("give_back", queue, worker, keyed, *pairs, until=NO_LIMIT, key=key)

    def hold(self, taken: Taken) -> Deferred[int]:
        """Hold jobs for another HOLD seconds from now. Fires with how many are still held."""
        queue, pairs = _pairs([taken])
        return self._store.on_queue("extend", queue, _ms(HOLD), *pairs, until=NO_LIMIT).addCallback(
            lambda reply: reply[2:].count(b"extended")
        )

    def counts(self, queue: str) -> Deferred[Counts]:
        """The queue in numbers; one that does not exist has zeros and is open."""

        return self._store.on_queue("counts", queue).addCallback(_counts)

    def configure(self, queue: str, changes: Mapping[str, policy.Value]) -> Deferred[Counts]:
        """Change settings, named and measured as in `presque.jobs.policy`; None puts one back to its default. The queue
        begins with it if need be. Fires with the queue in numbers.
        """
        return self._store.on_queue("configure", queue, *policy.to_store(changes)).addCallback(_counts)

    def peek(self, queue: str, limit: int = MOST_AT_ONCE) -> Deferred[tuple[Counts, list[bytes]]]:
        """The queue in numbers, and the payloads of up to `limit` (1,000) ready jobs, in the order in which they would
        be taken; they stay.
        """

        def peeked(reply: Reply) -> tuple[Counts, list[bytes]]:
            counted, *jobs = reply
            return _counts(counted), [job[HEAD:] for job in jobs]

        return self._store.on_queue("peek", queue, b"%d" % limit).addCallback(peeked)

    def pause(self, queue: str) -> Deferred[int]:
        """Stop the queue: it takes insertions and hands nothing out."""
        return self._store.on_queue("pause", queue)

    def resume(self, queue: str) -> Deferred[int]:
        """Open the queue again. Fires with 1 when it was stopped, 0 when it was open, -1 when there is none."""
        return self._store.on_queue("resume", queue)

    def delete(self, queue: str) -> Deferred[bool]:
        """Delete the queue with its jobs in every state, its uniq keys, counters, settings and policy. Fires with
        whether there was such a queue.
        """
        return self._store.on_queue("delete", queue).addCallback(bool)

    def due(self, partition: int, limit: int) -> Deferred[list[str]]:
        """The names of up to `limit` queues of a partition that need moving now, the most overdue first."""
        reply = self._store.in_partition("due", partition, b"%d" % limit)
        return reply.addCallback(lambda names: [name.decode() for name in names])

    def move(self, queue: str, limit: int = MOST_AT_ONCE) -> Deferred[int]:
        """Move up to `limit` (1,000) delayed jobs that are due, and as many jobs whose hold or lease ran out, to the
        front. Fires with how many were moved or forgotten.
        """
        return self._store.on_queue("move", queue, b"%d" % limit)

    @property
    def daemon(self) -> bytes:
        """This daemon's id, by which it is woken."""
        return self._nonce.encode()

    def channel(self, queue: str) -> bytes:
        """The channel on which this daemon is told that `queue` may have a job."""
        keys.check_name(queue)
        return keys.channel(queue, self._nonce, self.partitions)

    def wake_another(self, channel: bytes) -> Deferred[int]:
        """Pass on what was heard on `channel`: nobody waits there any more."""
        return self._store.on_queue("wake_another", keys.queue_of_channel(channel))


def _ms(seconds: float) -> bytes:
    return b"%d" % milliseconds(seconds)


def _due(due: float | None) -> bytes:
    return b"" if due is None else _ms(max(0, due))


def _counts(reply: Reply) -> Counts:
    ready, delayed, leased, dead, processed, failed, paused, exists, oldest, told = reply
    age = None if oldest < 0 else seconds(oldest)
    figures = (ready, delayed, leased, dead, processed, failed)
    return Counts(*figures, paused=bool(paused), exists=bool(exists), oldest=age, told=told)


def _ids(reply: Reply, queue: str, jobs: int) -> list[str]:
    _raise_refusal(reply, queue)
    return [f"{queue}:{number}" for number in range(reply, reply + jobs)]


def _inserted(reply: Reply, queue: str, fingerprint: bytes) -> list[tuple[str, str]]:
    _raise_refusal(reply, queue)
    print_, number, letters = reply[1].split(b" ")
    if print_ != fingerprint:
        raise IdempotencyMismatch
    states = {"r": "ready", "d": "delayed"}
    return [(f"{queue}:{int(number) + n}", states[letter]) for n, letter in enumerate(letters.decode())]


def _raise_refusal(reply: Reply, queue: str) -> None:
    if isinstance(reply, list) and reply[0] == b"duplicate":
        existing = reply[1]  # 0: another of the jobs that were to be inserted
        raise Duplicate(f"{queue}:{existing.decode()}" if existing else "")
    if isinstance(reply, list) and reply[0] == b"full":
        raise QueueFull
    if isinstance(reply, list) and reply[0] == b"closed":
        raise NotAccepting


def _pairs(taken: Iterable[Taken]) -> tuple[str, list[bytes]]:
    pairs: list[bytes] = []
    queue = ""
    for each in taken:
        queue = each.queue
        for number in each.numbers:
            pairs += (number, each.receipt)
    return queue, pairs
