"""Handing taken jobs to clients: a job ends when it has reached its consumer, and goes back when the consumer has left.

    asked ──▶ held ──▶ written ──▶ reached ──▶ settled       (of a lease: nothing is left to do)
      │         │          │                   or kept       (for the worker that has it: `redeliver_after`)
      └─────────┴──────────┴──▶ given back                   (the client is gone before it was reached)
                └──────────┴──▶ run out                      (the daemon is gone: Redis hands the job out again)

- asked: the script that takes the job is on its way to Redis; the client may leave meanwhile.
- held: Redis keeps the job for HOLD seconds, which are renewed as long as the answer is on its way.
- written: the answer is in the connection's stream, up to a mark.
- reached: the client's kernel has acknowledged all up to the mark (presque.http.arrival). That alone decides, whatever
  becomes of the connection afterwards. A client that takes no byte for the time that a request may take is gone.
- settled, kept: several jobs by one script call. While Redis is away they wait: settling late is harmless, and receipts
  tell whose the jobs are. So each job is settled or given back in the end, or runs out: perhaps twice, never lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from presque.errors import StoreError, StoreUnavailable
from presque.http.arrival import NEVER
from presque.jobs.queues import HOLD, MOST_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from presque.http.request import Client, Request
    from presque.jobs.queues import Queues, Taken

T = TypeVar("T", bound="Taken")

# Seconds after which a delivery is looked at, for a client may leave without reading what it has received; what has
# arrived by then is settled together.
GATHER = 0.005
SLOWEST_LOOK = 0.1  # seconds between two looks at a connection that is slow to take its answer
RETRY = 0.1  # seconds between two tries while Redis is away, or something unexpected happens
STALE = HOLD / 2  # seconds after which a hold is extended, or an answer that was not begun is not given any more


@dataclass(eq=False)
class _Delivery:
    """An answer with jobs that was written, and is not known to have reached its client."""

    taken: Taken
    held_at: float
    next_look: float
    mark: int = NEVER  # the place in the connection's stream where the answer ends; NEVER while it is being written
    patience: float = GATHER  # seconds until the look after the next; doubles, for a client may be slow
    arrived: int = -1  # how far the stream had come at the last look
    arrived_at: float = 0.0  # when it was found there


class Deliveries:
    """All deliveries of one daemon."""

    _log = Logger()

    def __init__(self, queues: Queues, clock: IReactorTime) -> None:
        self._queues = queues
        self._clock = clock
        self._waits: set[Client] = set()  # whose client waits for a job
        self._written: dict[Client, list[_Delivery]] = {}  # not known to have arrived
        self._arrived: list[Taken] = []  # to be settled
        self._returned: list[Taken] = []  # to be given back, since that failed
        self._complaint = ""  # what went wrong last, unexpectedly
        self._next_look: IDelayedCall | None = None
        self._asked = 0  # takes and settlements that Redis has not answered

    def deliver(
        self, request: Request, taking: Deferred[T], waits: bool, compose: Callable[[T], bytes]
    ) -> Deferred[bytes]:
        """Answer `request` with `compose(taken)`. When the client leaves before that, the jobs go back, and when it
        `waits` the taking itself is cancelled.
        """
        connection = request.connection
        asked_at = self._clock.seconds()

        def client_left(_: Deferred[bytes]) -> None:
            if waits:
                taking.cancel()

        answered: Deferred[bytes] = Deferred(client_left)
        request.when_left = answered.cancel

        def ended(result: T | Failure) -> T | Failure:
            self._asked -= 1
            self._waits.discard(connection)
            return result

        def took(taken: T) -> None:
            stale = not waits and self._clock.seconds() - asked_at > STALE
            if taken.numbers and (answered.called or stale):
                self.give_back(taken)
                if not answered.called:
                    answered.errback(StoreUnavailable())
            elif not answered.called:
                self._compose_and_answer(connection, taken, compose, answered)

        def refused(failure: Failure) -> None:
            if not answered.called:
                answered.errback(failure)

        self._asked += 1
        if waits:
            self._waits.add(connection)
        taking.addBoth(ended).addCallback(took).addErrback(refused)
        return answered

    def _compose_and_answer(
        self, connection: Client, taken: T, compose: Callable[[T], bytes], answered: Deferred[bytes]
    ) -> None:
        try:
            body = compose(taken)
        except Exception:
            if taken.numbers:
                self.give_back(taken)
            raise
        if not taken.numbers:
            answered.callback(body)
            return
        now = self._clock.seconds()
        delivery = _Delivery(taken, now, now + GATHER)
        self._written.setdefault(connection, []).append(delivery)  # before the answer, which may want to close
        connection.mark, connection.arrival.hurries = NEVER, True
        answered.callback(body)
        connection.arrival.hurries = False
        delivery.mark = connection.mark
        self._look_later(GATHER)

    def waits(self, connection: Client) -> bool:
        """Whether this client waits for a job."""
        return connection in self._waits

    def awaits(self, connection: Client) -> bool:
        """Whether something written to this connection is not known to have arrived."""
        return connection in self._written

    def look_at(self, connection: Client) -> None:
        """Something has happened to the connection: decide now, as far as one can, about what was written to it."""
        for delivery in self._written.pop(connection, []):
            try:
                self._decide(delivery, connection)
            except Exception:
                self._complain("looking at a delivery failed, its jobs go back")
                self.give_back(delivery.taken)

    def _look_later(self, seconds: float) -> None:
        if self._next_look is None:
            self._next_look = self._clock.callLater(seconds, self._look)

    def _look(self) -> None:
        self._next_look = None
        try:
            self._look_at_all()
        except Exception:
            self._complain("looking at deliveries failed, it is tried again")
        if self._written or self._returned or self._arrived:
            self._look_later(GATHER)

    def _look_at_all(self) -> None:
        now = self._clock.seconds()
        returned, self._returned = self._returned, []
        for taken in returned:
            self.give_back(taken)
        for connection, deliveries in list(self._written.items()):
            if any(delivery.next_look <= now for delivery in deliveries):
                self.look_at(connection)
                if not self.awaits(connection):
                    connection.settled()
        self._settle_arrived()

    def _settle_arrived(self) -> None:
        arrived, self._arrived = self._arrived, []
        alike: dict[tuple[str, str, str], list[Taken]] = {}
        for taken in arrived:
            worker = taken.worker if taken.on_arrival == "keep" else ""
            alike.setdefault((taken.queue, taken.on_arrival, worker), []).append(taken)
        for several in alike.values():
            ensureDeferred(self._settle(several))

    def _decide(self, delivery: _Delivery, connection: Client) -> None:
        reached = connection.arrival.reached(delivery.mark)
        if reached:
            if delivery.taken.on_arrival == "keep":
                ensureDeferred(self._settle([delivery.taken]))  # before the worker comes again
            elif delivery.taken.on_arrival == "deliver":
                self._arrived.append(delivery.taken)
                self._look_later(GATHER)
        elif reached is False:
            self.give_back(delivery.taken)
        elif self._takes_nothing(delivery, connection):
            self.give_back(delivery.taken)
            connection.abort()
        else:
            self._go_on(delivery, connection)

    def _takes_nothing(self, delivery: _Delivery, connection: Client) -> bool:
        """Whether no byte has reached the client for too long: it may be gone without a word."""
        now, arrived = self._clock.seconds(), connection.arrival.until()
        if arrived > delivery.arrived:
            delivery.arrived, delivery.arrived_at = arrived, now
        return now + SLOWEST_LOOK > delivery.arrived_at + connection.request_timeout

    def _go_on(self, delivery: _Delivery, connection: Client) -> None:
        """Look again later, and hold the jobs until then."""
        now = self._clock.seconds()
        delivery.next_look = now + delivery.patience
        delivery.patience = min(delivery.patience * 2, SLOWEST_LOOK)
        self._written.setdefault(connection, []).append(delivery)
        self._look_later(GATHER)
        if delivery.taken.on_arrival != "nothing" and now - delivery.held_at > STALE:
            delivery.held_at = now
            ensureDeferred(self._hold(delivery.taken))

    def hold_all(self) -> None:
        """Redis' clock was set forward: hold anew what is on its way, before anybody takes it for run out."""
        now = self._clock.seconds()
        for deliveries in self._written.values():
            for delivery in deliveries:
                if delivery.taken.on_arrival != "nothing":
                    delivery.held_at = now
                    ensureDeferred(self._hold(delivery.taken))
        for taken in self._arrived:
            ensureDeferred(self._hold(taken))

    async def _hold(self, taken: Taken) -> None:
        try:
            await self._queues.hold(taken)
        except StoreError:
            pass  # soon again
        except Exception:
            self._complain("holding jobs failed, it is tried again")

    async def _settle(self, several: list[Taken]) -> None:
        """Settle deliveries that are settled alike. While Redis is away they are kept: settling late is harmless, and
        receipts tell whose the jobs are.
        """
        self._asked += 1
        some: list[Taken] = []
        try:
            while several:
                some, several = _a_script_full(several)
                await (self._queues.keep if some[0].on_arrival == "keep" else self._queues.deliver)(some)
                self._complaint = ""
        except Exception as wrong:
            if not isinstance(wrong, StoreError):
                self._complain("settling deliveries failed, it is tried again")
            self._arrived += some + several
            self._look_later(RETRY)
        finally:
            self._asked -= 1

    def give_back(self, taken: Taken) -> None:
        """Put jobs that did not reach their consumer back to the front, and try until that is done."""
        ensureDeferred(self._return(taken))

    async def _return(self, taken: Taken) -> None:
        """Put jobs back to the front. While Redis is away they are kept, as when they are settled."""
        self._asked += 1
        try:
            await self._queues.give_back(taken)
            self._complaint = ""
        except Exception as wrong:
            if not isinstance(wrong, StoreError):
                self._complain("giving jobs back failed, it is tried again")
            self._returned.append(taken)
            self._look_later(RETRY)
        finally:
            self._asked -= 1

    def _complain(self, what: str) -> None:
        """Log the exception that is being handled, which nobody expected: once, and not at each try."""
        failure = Failure()
        if (complaint := f"{what} {failure.value!r}") != self._complaint:
            self._complaint = complaint
            self._log.failure("{what}", failure=failure, what=what)

    @property
    def pending(self) -> int:
        """How much there is whose end is not recorded in Redis yet."""
        return sum(map(len, self._written.values())) + len(self._arrived) + len(self._returned) + self._asked


def _a_script_full(several: list[Taken]) -> tuple[list[Taken], list[Taken]]:
    """As many as one script call may settle, and the rest."""
    jobs = 0
    for at, taken in enumerate(several):
        jobs += len(taken.numbers)
        if at and jobs > MOST_AT_ONCE:
            return several[:at], several[at:]
    return several, []
