"""Leases: jobs reserved for a time under a receipt, and what their holders do with them. One script call a queue.

The receipt is a lease's fencing token: once the lease has run out, or the job was settled, it matches nothing. Failures
as in `presque.queues`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from presque.errors import LeaseLost, UnknownJob
from presque.queues import HEAD, Taken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.defer import Deferred

    from presque.redis.connection import Reply
    from presque.redis.store import Store

_NOTED = msgspec.msgpack.Decoder(list[tuple[int, float, str]])

LONGEST_NOTED = 1000  # characters of an error that are kept


class Leased(Taken, frozen=True):
    """Jobs leased under one receipt until `ends_at`. Times are epoch ms; all tuples go in parallel."""

    ends_at: int
    created: tuple[int, ...]
    attempts: tuple[int, ...]
    limits: tuple[int, ...]


@dataclass(frozen=True)
class Settlement:
    """What a lease's holder says of a job. `outcome` is ack, nack or release; `delay` is seconds, None the usual."""

    number: bytes
    receipt: bytes
    outcome: str
    delay: float | None = None
    error: str = ""


@dataclass(frozen=True)
class Settled:
    """What became of a settlement: ack, release, delayed (until `due_at`, epoch ms), dead, lost or gone."""

    word: str
    due_at: int


@dataclass(frozen=True)
class Failure:
    """An attempt that failed: which, when (epoch ms), and why."""

    attempt: int
    at: int
    error: str


@dataclass(frozen=True)
class Job:
    """All that is known of a job. `at` (epoch ms) is when it is due, its lease ends or it died; None when ready."""

    job_id: str
    state: str
    payload: bytes
    created: int
    attempts: int
    limit: int
    at: int | None
    failures: tuple[Failure, ...]
    uniq: bytes


class Leases:
    """All leases of one store. `chance` is a random number from 0 to 1, `token` a text that nobody can guess."""

    def __init__(self, store: Store, chance: Callable[[], float], token: Callable[[], str]) -> None:
        self._store = store
        self._chance = chance
        self._token = token

    def reserve(
        self, queue: str, most: int, lease: float | None = None, worker: str = "", daemon: bytes = b""
    ) -> Deferred[Leased]:
        """Lease up to `most` (1000) jobs for `lease` seconds, else for the queue's; none when the queue is stopped.
        With nothing, `daemon` is to be woken.
        """
        receipt = b"l" + self._token().encode()
        length = b"" if lease is None else b"%d" % (lease * 1000)

        def reserved(reply: Reply) -> Leased:
            ends_at, *rows = reply or [0]  # 0: stopped
            jobs = rows[1::4]
            payloads = tuple([job[HEAD:] for job in jobs])
            created = tuple([int(job[: HEAD - 1]) for job in jobs])
            figures = (ends_at, created, tuple(rows[2::4]), tuple(rows[3::4]))
            return Leased(queue, worker, receipt, tuple(rows[::4]), payloads, "nothing", *figures)

        reply = self._store.on_queue("reserve", queue, b"%d" % most, length, receipt, worker.encode(), daemon)
        return reply.addCallback(reserved)

    def settle(self, queue: str, settlements: Sequence[Settlement]) -> Deferred[list[Settled]]:
        """Settle jobs of one queue, each for itself. Fires with what became of each."""
        args: list[bytes] = []
        for each in settlements:
            delay = b"" if each.delay is None else b"%d" % (each.delay * 1000)
            args += (each.number, each.receipt, each.outcome.encode(), delay, each.error[:LONGEST_NOTED].encode())
            args.append(b"%.6f" % self._chance())

        def settled(reply: Reply) -> list[Settled]:
            return [Settled(reply[n].decode(), reply[n + 1]) for n in range(0, len(reply), 2)]

        return self._store.on_queue("settle", queue, *args).addCallback(settled)

    def extend(self, queue: str, number: bytes, receipt: bytes, lease: float | None) -> Deferred[int]:
        """Lease a job for `lease` seconds from now, else for the queue's. Fires with when that ends (epoch ms).

        Fails with LeaseLost, or with UnknownJob when there is no such job.
        """
        length = b"" if lease is None else b"%d" % (lease * 1000)

        def extended(reply: Reply) -> int:
            held, ends_at, exists = reply
            if not held:
                raise LeaseLost if exists else UnknownJob
            return int(ends_at)

        return self._store.on_queue("extend", queue, length, number, receipt).addCallback(extended)

    def look_up(self, queue: str, number: bytes) -> Deferred[Job]:
        """All that is known of one job. Fails with UnknownJob."""

        def found(row: Reply) -> Job:
            if not row:
                raise UnknownJob
            return _job(queue, number, row)

        return self._store.on_queue("look_up", queue, number).addCallback(found)

    def page(self, queue: str, state: str, first: int, most: int) -> Deferred[tuple[list[Job], int | None]]:
        """Up to `most` (1000) jobs of a state, from the `first` on (0), and where the next page begins, None after the
        last.
        """

        def found(reply: Reply) -> tuple[list[Job], int | None]:
            following, *rows = reply
            return [_job(queue, number, row) for number, *row in rows], None if following < 0 else following

        return self._store.on_queue("list", queue, state.encode(), b"%d" % first, b"%d" % most).addCallback(found)

    def cancel(self, queue: str, number: bytes) -> Deferred[None]:
        """Delete a job, whatever its state. Fails with UnknownJob."""

        def cancelled(found: Reply) -> None:
            if not found:
                raise UnknownJob

        return self._store.on_queue("cancel", queue, number).addCallback(cancelled)


def _job(queue: str, number: bytes, row: Reply) -> Job:
    """A job from its row, see `parts/describe.lua`."""
    state, job, attempts, limit, at, history, uniq = row
    noted = _NOTED.decode(history) if history else []
    failures = tuple(Failure(attempt, int(when), why) for attempt, when, why in noted)
    return Job(
        f"{queue}:{number.decode()}",
        state.decode(),
        job[HEAD:],
        int(job[: HEAD - 1]),
        int(attempts),
        int(limit),
        int(float(at)) if at else None,
        failures,
        uniq,
    )
