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

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from presque.errors import StoreError, StoreUnavailable
from presque.jobs.queues import HOLD, MOST_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from presque.http.request import Client, Request
    from presque.jobs.queues import Queues, Taken

# Seconds after which a delivery is looked at, for a client may leave without reading what it has received; what has
# arrived by then is settled together.
GATHER = 0.005
SLOWEST_LOOK = 0.1  # seconds between two looks at a connection that is slow to take its answer
RETRY = 0.1  # seconds between two tries while Redis is away, or something unexpected happens
STALE = HOLD / 2  # seconds after which a hold is extended, or an answer that was not begun is not given any more

# The states of the picture.
ASKED, HELD, WRITTEN, REACHED, GIVEN_BACK = "asked", "held", "written", "reached", "given back"
EMPTY = "empty"  # there was no job, or the store refused


class Delivery:
    """The jobs that one request takes, from the question to Redis to the client's kernel. All of its state is here:
    each method is an event, and what follows of it is asked of the Deliveries.
    """

    __slots__ = (
        "_all",
        "_asked_at",
        "_compose",
        "_held_at",
        "_patience",
        "_progress",
        "_progressed_at",
        "_taking",
        "connection",
        "has_left",
        "mark",
        "next_look",
        "state",
        "taken",
        "waits",
    )

    taken: Taken
    next_look: float  # when to look at it, once it is written
    _held_at: float
    mark: int  # the place in the connection's stream where the answer ends
    _patience: float  # seconds until the look after the next; doubles, for a client may be slow
    _progress: int  # how far the stream had come at the last look,
    _progressed_at: float  # and when it was found there

    def __init__(
        self,
        every: Deliveries,
        connection: Client,
        taking: Deferred[Any],
        waits: bool,
        compose: Callable[[Any], bytes],
    ) -> None:
        self._all = every
        self._taking = taking
        self._compose = compose
        self._asked_at = every.clock.seconds()
        self.connection = connection
        self.waits = waits
        self.has_left = False
        self.state = ASKED

    @property
    def is_waiting(self) -> bool:
        """Whether the client waits for a job."""
        return self.waits and self.state is ASKED

    @property
    def has_jobs(self) -> bool:
        """Whether the answer that is written now has jobs in it."""
        return self.state is HELD

    def took(self, taken: Taken) -> bytes:
        """Redis has answered. The answer to the client; StoreUnavailable when it is too late for one."""
        self._all.asked -= 1
        self.taken = taken
        if not taken.numbers:
            self.state = EMPTY
            self._all.changed()
            return b"" if self.has_left else self._compose(taken)
        self.state, self._held_at = HELD, self._all.clock.seconds()
        if self.has_left:
            self._give_back()
            return b""
        if not self.waits and self._held_at - self._asked_at > STALE:
            self._give_back()
            raise StoreUnavailable
        try:
            return self._compose(taken)
        except Exception:
            self._give_back()
            raise

    def refused(self, failure: Failure) -> Failure:
        """The store has refused, or the client has left while it waited."""
        self._all.asked -= 1
        self.state = EMPTY
        self._all.changed()
        return failure

    def left(self) -> None:
        """The client has left before it was answered."""
        self.has_left = True
        if self.state is HELD:
            self._give_back()
        elif self.state is ASKED and self.waits:
            self._taking.cancel()

    def written(self, mark: int) -> None:
        """The answer is in the stream to the client, and ends at this place."""
        if self.state is HELD:
            self.state, self.mark = WRITTEN, mark
            self._patience, self._progress, self._progressed_at = GATHER, -1, 0.0
            self.next_look = self._held_at + GATHER
            self._all.watch(self)

    def look(self) -> bool:
        """Decide what has become of the answer, as far as one can; whether it is decided."""
        reached = self.connection.arrival.reached(self.mark)
        if reached:
            self.state = REACHED
            self._all.settle(self.taken)
        elif reached is False:
            self._give_back()
        elif self._takes_nothing():
            self._give_back()
            self.connection.abort()
        else:
            self._look_again_later()
            return False
        return True

    def _takes_nothing(self) -> bool:
        """Whether no byte has reached the client for too long: it may be gone without a word."""
        now, progress = self._all.clock.seconds(), self.connection.arrival.until()
        if progress > self._progress:
            self._progress, self._progressed_at = progress, now
        return now + SLOWEST_LOOK > self._progressed_at + self.connection.request_timeout

    def _look_again_later(self) -> None:
        now = self._all.clock.seconds()
        self.next_look = now + self._patience
        self._patience = min(self._patience * 2, SLOWEST_LOOK)
        if now - self._held_at > STALE:
            self.hold()

    def hold(self) -> None:
        """Hold the jobs for longer, before anybody takes them for run out."""
        if self.taken.on_arrival != "nothing":
            self._held_at = self._all.clock.seconds()
            self._all.hold(self.taken)

    def look_failed(self) -> None:
        """Looking at it failed as nobody expects: the jobs go back."""
        self._give_back()

    def _give_back(self) -> None:
        self.state = GIVEN_BACK
        self._all.give_back(self.taken)


class Deliveries:
    """All deliveries of one daemon: what is asked and not answered, written and not known to have arrived, and settled
    or given back without Redis' word for it.
    """

    _log = Logger()

    def __init__(self, queues: Queues, clock: IReactorTime) -> None:
        self.clock = clock
        self.asked = 0  # takes that Redis has not answered
        self.changed: Callable[[], object] = lambda: None  # called when something has come to its end
        self._queues = queues
        self._written: dict[Client, list[Delivery]] = {}  # not known to have arrived
        self._arrived: list[Taken] = []  # to be settled
        self._returned: list[Taken] = []  # to be given back, since that failed
        self._calls = 0  # settlements that Redis has not answered
        self._complaint = ""  # what went wrong last, unexpectedly
        self._next_look: IDelayedCall | None = None

    def deliver(
        self, request: Request, taking: Deferred[Any], waits: bool, compose: Callable[[Any], bytes]
    ) -> Deferred[bytes]:
        """Answer `request` with `compose(taken)`. When the client leaves before that, the jobs go back, and when it
        `waits` the taking itself is cancelled.
        """
        request.delivery = delivery = Delivery(self, request.connection, taking, waits, compose)
        self.asked += 1
        answered: Deferred[bytes] = taking.addCallbacks(delivery.took, delivery.refused)
        return answered

    def awaits(self, connection: Client) -> bool:
        """Whether something written to this connection is not known to have arrived."""
        return connection in self._written

    @property
    def written(self) -> list[Delivery]:
        """Those whose answer is written, and not known to have arrived."""
        return [delivery for deliveries in self._written.values() for delivery in deliveries]

    def watch(self, delivery: Delivery) -> None:
        """An answer was written: look at it until it is decided."""
        self._written.setdefault(delivery.connection, []).append(delivery)
        self._look_later(GATHER)

    def look_at(self, connection: Client) -> None:
        """Something has happened to the connection: decide now, as far as one can, about what was written to it."""
        for delivery in self._written.pop(connection, ()):
            try:
                is_decided = delivery.look()
            except Exception:
                self._complain("looking at a delivery failed, its jobs go back")
                delivery.look_failed()
            else:
                if not is_decided:
                    self.watch(delivery)

    def settle(self, taken: Taken) -> None:
        """Jobs have reached their client."""
        if taken.on_arrival == "keep":
            ensureDeferred(self._settle([taken]))  # before the worker comes again
        elif taken.on_arrival == "deliver":
            self._arrived.append(taken)
            self._look_later(GATHER)

    def hold(self, taken: Taken) -> None:
        """Hold jobs for longer. That is tried again soon when it fails."""
        ensureDeferred(self._hold(taken))

    def _look_later(self, seconds: float) -> None:
        if self._next_look is None:
            self._next_look = self.clock.callLater(seconds, self._look)

    def _look(self) -> None:
        self._next_look = None
        try:
            self._look_at_all()
        except Exception:
            self._complain("looking at deliveries failed, it is tried again")
        if self._written or self._returned or self._arrived:
            self._look_later(GATHER)
        else:
            self.changed()

    def _look_at_all(self) -> None:
        now = self.clock.seconds()
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

    def hold_all(self) -> None:
        """Redis' clock was set forward: hold anew what is on its way, before anybody takes it for run out."""
        for delivery in self.written:
            delivery.hold()
        for taken in self._arrived:
            self.hold(taken)

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
        self._calls += 1
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
            self._calls -= 1
            self.changed()

    def give_back(self, taken: Taken) -> None:
        """Put jobs that did not reach their consumer back to the front, and try until that is done."""
        ensureDeferred(self._return(taken))

    async def _return(self, taken: Taken) -> None:
        """Put jobs back to the front. While Redis is away they are kept, as when they are settled."""
        self._calls += 1
        try:
            await self._queues.give_back(taken)
            self._complaint = ""
        except Exception as wrong:
            if not isinstance(wrong, StoreError):
                self._complain("giving jobs back failed, it is tried again")
            self._returned.append(taken)
            self._look_later(RETRY)
        finally:
            self._calls -= 1
            self.changed()

    def _complain(self, what: str) -> None:
        """Log the exception that is being handled, which nobody expected: once, and not at each try."""
        failure = Failure()
        if (complaint := f"{what} {failure.value!r}") != self._complaint:
            self._complaint = complaint
            self._log.failure("{what}", failure=failure, what=what)

    @property
    def pending(self) -> int:
        """How much there is whose end is not recorded in Redis yet."""
        unsettled = len(self._arrived) + len(self._returned) + self._calls
        return self.asked + len(self.written) + unsettled


def _a_script_full(several: list[Taken]) -> tuple[list[Taken], list[Taken]]:
    """As many as one script call may settle, and the rest."""
    jobs = 0
    for at, taken in enumerate(several):
        jobs += len(taken.numbers)
        if at and jobs > MOST_AT_ONCE:
            return several[:at], several[at:]
    return several, []
