"""Leases: jobs that are reserved for a time under a receipt, and their settlement. One script call for each queue.

The receipt is a lease's fencing token: once the lease has run out, or the job was settled, it matches nothing. Errors
are those of `presque.jobs.queues`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from twisted.internet.defer import DeferredList, maybeDeferred
from twisted.logger import Logger

from presque.errors import InvalidName, LeaseLost, OutcomeUnknown, StoreError, UnknownJob
from presque.jobs.outcomes import ExtensionOutcome, SettlementOutcome
from presque.jobs.queues import REMEMBERED, Taken
from presque.jobs.records import created_at, options_of, payload_of
from presque.redis import keys
from presque.redis.coalescing import Coalesced
from presque.redis.store import gather
from presque.redis.units import milliseconds, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twisted.internet.defer import Deferred
    from twisted.python import failure

    from presque.redis.connection import Reply
    from presque.redis.store import Store

LONGEST_NOTED = 1000  # characters of an error that are kept; of a longer error its beginning and its end are kept:
BEGINNING_NOTED, END_NOTED = 300, 700
_WRONG = {b"lease-lost": LeaseLost, b"not-found": UnknownJob}  # outcomes of `ack.lua`


class Leased(Taken, frozen=True, kw_only=True):
    """Jobs leased under one receipt. The tuples are parallel, one item for each job: when it was inserted and when its
    lease ends (epoch seconds), the rest of the lease (seconds), the number of this attempt, the maximum, and its
    headers.
    """

    created_at: tuple[float, ...]
    ends_at: tuple[float, ...]
    left: tuple[float, ...]
    attempts: tuple[int, ...]
    max_attempts: tuple[int, ...]
    headers: tuple[dict[str, str], ...]


class Settlement(msgspec.Struct, frozen=True):
    """How a worker settles its job. `outcome` is ack, nack, final (a nack after which the job is dead) or release.
    `delay` is seconds; None stands for the back-off after a nack and for no delay after a release.
    """

    number: bytes
    receipt: bytes
    outcome: str
    delay: float | None = None
    error: str = ""


class Settled(msgspec.Struct, frozen=True):
    """The result of a settlement. A delayed job is due at `due_at` (epoch seconds), `due_in` seconds after the nack.
    Only methods for several queues fire with unavailable or unknown; the others fail.
    """

    became: SettlementOutcome
    due_at: float = 0
    due_in: float = 0


class Extended(msgspec.Struct, frozen=True):
    """The result of an extension. An extended lease lasts `lease` seconds, until `ends_at` (epoch seconds). Only
    methods for several queues fire with unavailable or unknown; the others fail.
    """

    became: ExtensionOutcome
    lease: float = 0
    ends_at: float = 0


class Leases:
    """All leases of one store. `chance()` is a random number from 0 to 1, `token()` an unguessable text."""

    _log = Logger()

    def __init__(self, store: Store, chance: Callable[[], float], token: Callable[[], str]) -> None:
        self._store = store
        self._chance = chance
        self._token = token
        self._reservations = Coalesced(store.clock, self._reserve_each)
        self._acks = Coalesced(store.clock, self._ack_each)
        self.stale_receipts = 0  # settlements and extensions that were refused: the receipt was not the job's

    def now(self) -> float:
        """The time (epoch seconds) by which leases run out: that of the store."""
        return self._store.now()

    def reserve(
        self,
        queue: str,
        limit: int,
        lease: float | None = None,
        worker: str = "",
        key: bytes = b"",
        daemon: bytes = b"",
        receipt: bytes = b"",
        others: Sequence[str] = (),
    ) -> Deferred[Leased]:
        """Lease up to `limit` (1,000) jobs for `lease` seconds, or for as long as the queue's setting says. Fires with
        no jobs when there are none or the queue is stopped; then `daemon` will be woken for the next.

        With an idempotency `key`, jobs that were leased with it before and are leased still come again, also from
        `others`: the other queues of the same request, as far as they share the queue's partition. A request that
        tries more than once uses one `receipt` for all its tries (see `new_receipt`); only one of them gets jobs.
        """
        receipt = receipt or self.new_receipt()
        length = b"" if lease is None else b"%d" % milliseconds(lease)
        if limit == 1 and not worker and not key:
            keys.check_name(queue)
            return self._reservations.call((queue, length, daemon), receipt)
        kept_for, remembered = self._remembered(queue, key)
        args = [b"%d" % limit, length, receipt, worker.encode(), kept_for, daemon]
        if key:
            args += [other.encode() for other in others if other != queue]

        def leased(reply: Reply) -> Leased | Deferred[Leased]:
            if not reply or reply[0] != b"elsewhere":
                return _leased(reply, queue, worker, receipt, key)
            before = self.reserved([reply[1].decode()], worker, key)
            return before.addCallback(lambda found: found or again())

        def again() -> Deferred[Leased]:
            return self.reserve(queue, limit, lease, worker, key, daemon, receipt, others)

        return self._store.on_queue("reserve", queue, *args, key=remembered).addCallback(leased)

    def _reserve_each(
        self, shared: tuple[str, bytes, bytes], receipts: Sequence[bytes]
    ) -> Deferred[list[Leased | Exception]]:
        """Lease a job for each of several consumers. If there are any, the first ones get one."""
        queue, length, daemon = shared
        args = [b"%d" % len(receipts), length, receipts[0], b"", b"", daemon, *receipts[1:]]

        def leased(reply: Reply) -> list[Leased | Exception]:
            now, until, *rows = reply or (0, 0)
            if not rows:
                return [_leased(reply, queue, "", receipt, b"") for receipt in receipts]
            each = zip(receipts, range(0, len(rows), 4), strict=False)
            return [_leased([now, until, *rows[n : n + 4]], queue, "", receipt, b"") for receipt, n in each]

        return self._store.on_queue("reserve", queue, *args).addCallback(leased)

    def new_receipt(self) -> bytes:
        """An unguessable beginning of receipts, to which the store adds when it gives them."""
        return b"l" + self._token().encode()

    def reserved(self, queues: Sequence[str], worker: str, key: bytes) -> Deferred[Leased | None]:
        """The jobs that were leased with this idempotency key and are leased still, from the first of `queues` that has
        any; None when there are none.
        """

        def asked(queue: str) -> Deferred[Reply]:
            kept_for, remembered = self._remembered(queue, key)
            return self._store.on_queue("reserved", queue, kept_for, key=remembered)

        def found(replies: list[Reply]) -> Leased | None:
            there = ((queue, reply) for queue, reply in zip(queues, replies, strict=True) if reply)
            return next((_leased(reply, queue, worker, b"", key) for queue, reply in there), None)

        return gather(map(asked, queues)).addCallback(found)

    def _remembered(self, queue: str, key: bytes) -> tuple[bytes, bytes]:
        """How long the store remembers an idempotency key, and where."""
        if not key:
            return b"", b""
        return b"%d" % milliseconds(REMEMBERED), keys.reservation_key(queue, key, self._store.partitions)

    def settle(self, queue: str, settlements: Sequence[Settlement]) -> Deferred[list[Settled]]:
        """Settle jobs of one queue, each independently. Fires with the result of each, in order."""
        if all(each.outcome == "ack" for each in settlements):
            return self._ack(queue, settlements)
        args: list[bytes] = []
        for each in settlements:
            delay = b"" if each.delay is None else b"%d" % milliseconds(each.delay)
            chance = b"%.6f" % self._chance() if each.outcome == "nack" else b""
            args += (each.number, each.receipt, each.outcome.encode(), delay, _noted(each.error), chance)

        def settled(reply: Reply) -> list[Settled]:
            self._count_stale(reply[::3])
            rows = zip(reply[::3], reply[1::3], reply[2::3], strict=True)
            return [
                Settled(became.decode(), seconds(due_at), seconds(due_in)) if due_at else Settled(became.decode())
                for became, due_at, due_in in rows
            ]

        return self._store.on_queue("settle", queue, *args).addCallback(settled)

    def ack(self, queue: str, number: bytes, receipt: bytes) -> Deferred[None]:
        """Settle one job of which the work is done. Fails with LeaseLost or UnknownJob."""
        keys.check_name(queue)
        return self._acks.call(queue, (number, receipt))

    def _ack_each(self, queue: str, jobs: Sequence[tuple[bytes, bytes]]) -> Deferred[list[Exception | None]]:
        """Acknowledge jobs of several workers."""
        pairs = [part for job in jobs for part in job]

        def acked(reply: Reply) -> list[Exception | None]:
            self._count_stale(reply)
            return [_WRONG[became]() if became in _WRONG else None for became in reply]

        return self._store.on_queue("ack", queue, *pairs).addCallback(acked)

    def _ack(self, queue: str, settlements: Sequence[Settlement]) -> Deferred[list[Settled]]:
        pairs = [part for each in settlements for part in (each.number, each.receipt)]

        def acked(reply: Reply) -> list[Settled]:
            self._count_stale(reply)
            return [Settled(became.decode()) for became in reply]

        return self._store.on_queue("ack", queue, *pairs).addCallback(acked)

    def _count_stale(self, outcomes: Sequence[bytes]) -> None:
        self.stale_receipts += outcomes.count(b"lease-lost")

    def settle_several(self, by_queue: Mapping[str, Sequence[Settlement]]) -> Deferred[dict[str, list[Settled]]]:
        """Settle jobs of several queues, each independently, all queues at the same time. Never fails. Fires with
        the results, in order, by queue.
        """
        return self._each(by_queue, self.settle, Settled)

    def extend(
        self, queue: str, jobs: Sequence[tuple[bytes, bytes]], lease: float | None = None
    ) -> Deferred[list[Extended]]:
        """Extend leases of one queue, each job given as its number and receipt, to `lease` seconds from now, or to as
        long as the queue's setting says. Fires with the result of each, in order.
        """
        length = b"" if lease is None else b"%d" % milliseconds(lease)

        def extended(reply: Reply) -> list[Extended]:
            lease, ends_at, *each = reply
            times = seconds(lease), seconds(ends_at)
            self._count_stale(each)
            return [
                Extended("extended", *times) if became == b"extended" else Extended(became.decode()) for became in each
            ]

        pairs = [part for pair in jobs for part in pair]
        return self._store.on_queue("extend", queue, length, *pairs).addCallback(extended)

    def extend_several(
        self, by_queue: Mapping[str, Sequence[tuple[bytes, bytes]]], lease: float | None = None
    ) -> Deferred[dict[str, list[Extended]]]:
        """Extend leases of several queues, each independently, all queues at the same time. Never fails. Fires with
        the results, in order, by queue.
        """
        return self._each(by_queue, lambda queue, jobs: self.extend(queue, jobs, lease), Extended)

    def _each(
        self, by_queue: Mapping[str, Sequence[Any]], ask: Callable[[str, Any], Deferred[Any]], kind: type[Any]
    ) -> Deferred[dict[str, Any]]:
        """Ask all queues at the same time. If one does not answer, each of its results is a `kind` that says why."""

        def asked(queue: str, items: Sequence[Any]) -> Deferred[Any]:
            def refused(wrong: failure.Failure) -> list[Any]:
                if wrong.check(InvalidName):
                    return [kind("not-found")] * len(items)
                if not wrong.check(StoreError):
                    self._log.failure(
                        "{queue}: the outcome of {count} settlements or extensions is unknown",
                        wrong,
                        queue=queue,
                        count=len(items),
                    )
                known = wrong.check(StoreError) and not wrong.check(OutcomeUnknown)
                return [kind("unavailable" if known else "unknown")] * len(items)

            return maybeDeferred(ask, queue, items).addErrback(refused)

        def gathered(results: list[tuple[bool, Any]]) -> dict[str, Any]:
            return {queue: became for queue, (_, became) in zip(by_queue, results, strict=True)}

        return DeferredList([asked(queue, items) for queue, items in by_queue.items()]).addCallback(gathered)


def _leased(reply: Reply, queue: str, worker: str, receipt: bytes, key: bytes) -> Leased:
    """The reply of `reserve.lua`: jobs leased now under `receipt`, or before under another."""
    again = bool(reply) and reply[0] == b"again"
    if again:
        _, now, receipt, *rows = reply
        ends_at = rows[4::5]
        step = 5
    else:
        now, until, *rows = reply or (0, 0)  # 0: stopped
        receipt, step = b"%b.%013d" % (receipt, now), 4
        ends_at = [until] * (len(rows) // step)
    records = rows[1::step]
    return Leased(
        queue,
        worker,
        receipt,
        tuple(rows[::step]),
        tuple([payload_of(record) for record in records]),
        "nothing",
        key,
        again,
        created_at=tuple([created_at(record) for record in records]),
        ends_at=tuple([seconds(at) for at in ends_at]),
        left=tuple([seconds(at - now) for at in ends_at]),
        attempts=tuple(rows[2::step]),
        max_attempts=tuple(rows[3::step]),
        headers=tuple([options_of(record).headers for record in records]),
    )


def _noted(error: str) -> bytes:
    """The part of an error that is kept: of a long one, for example a traceback, its beginning and its end."""
    if len(error) > LONGEST_NOTED:
        error = error[:BEGINNING_NOTED] + error[-END_NOTED:]
    return error.encode()
