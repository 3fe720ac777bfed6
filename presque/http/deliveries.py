"""Delivering taken jobs to clients: a job ends once it has reached its client, and goes back if the client has left.

    asked ──▶ held ──▶ written ──▶ reached ──▶ settled       (a lease needs nothing more)
      │         │          │                   or kept       (for the worker that has it: `redeliver_after`)
      └─────────┴──────────┴──▶ given back                   (the client left before it was reached)
                └──────────┴──▶ run out                      (the daemon died: Redis hands the job out again)

- asked: the script that takes the job is on its way to Redis; the client may leave meanwhile.
- held: Redis holds the job for HOLD seconds, and the hold is extended as long as the answer is on its way.
- written: the answer is in the connection's stream and ends at a mark.
- reached: the client's kernel has acknowledged everything up to the mark (presque.http.arrival). That alone decides,
  whatever happens to the connection afterwards. A client that takes no byte within `request_timeout` counts as gone.
- settled, kept: one script call settles several jobs. While Redis is away they wait: settling late is harmless, because
  receipts tell whose the jobs are. So each job is finally settled, given back or run out: perhaps twice, never lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import structs
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

# Seconds until a delivery is first checked: a client may leave without reading what it received. Jobs that have arrived
# by then are settled together.
GATHER = 0.005
SLOWEST_LOOK = 0.1  # seconds, the longest interval between checks of a connection that takes its answer slowly
RETRY = 0.1  # seconds between tries while Redis is away or after an unexpected error
STALE = HOLD / 2  # seconds after which a hold is extended, and after which an answer that was not begun is dropped

# The states in the diagram.
ASKED, HELD, WRITTEN, REACHED, GIVEN_BACK = "asked", "held", "written", "reached", "given back"
EMPTY = "empty"  # there was no job, or the store refused


class Delivery:
    """The jobs that one request takes, on their way from Redis to the client's kernel. All of its state is here: each
    method is an event, and its consequences are requested from the Deliveries.
    """

    __slots__ = (
        "_all",
        "_asked_at",
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
    next_look: float  # when to check it next, once it is written
    _held_at: float
    mark: int  # the position in the connection's stream where the answer ends
    _patience: float  # seconds between the next two checks; doubles each time, because a client may be slow
    _progress: int  # how many bytes of the stream had arrived at the last progress,
    _progressed_at: float  # and when that was

    def __init__(
        self,
        every: Deliveries,
        connection: Client,
        taking: Deferred[Any],
        waits: bool,
    ) -> None:
        self._all = every
        self._taking = taking
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
        """Whether the answer being written contains jobs."""
        return self.state is HELD

    def took(self, taken: Taken, compose: Callable[[Any], bytes]) -> bytes:
        """Redis has answered. Returns the answer to the client. Raises StoreUnavailable when it is too late for one."""
        self._all.asked -= 1
        self.taken = taken
        if not taken.numbers:
            self.state = EMPTY
            self._all.changed()
            return b"" if self.has_left else compose(taken)
        self.state, self._held_at = HELD, self._all.clock.seconds()
        if self.has_left:
            self._give_back()
            return b""
        if not self.waits and self._held_at - self._asked_at > STALE:
            self._give_back()
            raise StoreUnavailable
        try:
            return compose(taken)
        except Exception:
            self._give_back()
            raise

    def composed(self) -> None:
        """The answer has been composed: forget the payloads, so that they are not in memory twice."""
        if self.state is HELD:
            self.taken = structs.replace(self.taken, payloads=())

    def refused(self, failure: Failure) -> Failure:
        """The store has refused, or the client has left while waiting."""
        self._all.asked -= 1
        self.state = EMPTY
        self._all.changed()
        return failure

    def left(self) -> None:
        """The client has left before the answer."""
        self.has_left = True
        if self.state is HELD:
            self._give_back()
        elif self.state is ASKED and self.waits:
            self._taking.cancel()

    def written(self, mark: int) -> None:
        """The answer is in the stream to the client and ends at position `mark`."""
        if self.state is HELD:
            self.state, self.mark = WRITTEN, mark
            self._patience, self._progress, self._progressed_at = GATHER, -1, 0.0
            self.next_look = self._held_at + GATHER
            self._all.watch(self)

    def look(self) -> bool:
        """Check whether the answer has reached the client. Returns whether that is decided."""
        reached = self.connection.arrival.reached(self.mark)
        if reached:
            self.state = REACHED
            self._all.settle(self.taken)
        elif reached is False:
            self._give_back()
        elif self._takes_nothing():
            self._give_back()
            self.connection.cut_off()
        else:
            self._look_again_later()
            return False
        return True

    def _takes_nothing(self) -> bool:
        """Whether no byte has reached the client for too long: it may have vanished without closing."""
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
        """Extend the hold of the jobs before it runs out."""
        if self.taken.on_arrival != "nothing":
            self._held_at = self._all.clock.seconds()
            self._all.hold(self.taken)

    def look_failed(self) -> None:
        """A check raised an unexpected error: the jobs go back."""
        self._give_back()

    def _give_back(self) -> None:
        self.state = GIVEN_BACK
        self._all.give_back(self.taken)


class Deliveries:
    """All deliveries of one daemon: those asked for and not answered, those written and not known to have arrived, and
    those settled or given back and not confirmed by Redis.
    """

    _log = Logger()

    def __init__(self, queues: Queues, clock: IReactorTime) -> None:
        self.clock = clock
        self.asked = 0  # takes that Redis has not answered
        self.changed: Callable[[], object] = lambda: None  # called when something has ended
        self._queues = queues
        self._written: dict[Client, list[Delivery]] = {}  # not known to have arrived
        self._arrived: list[Taken] = []  # to be settled
        self._returned: list[Taken] = []  # to be given back, because that failed before
        self._calls = 0  # settlements that Redis has not answered
        self._complaint = ""  # the last unexpected error
        self._next_look: IDelayedCall | None = None

    def deliver(
        self, request: Request, taking: Deferred[Any], waits: bool, compose: Callable[[Any], bytes]
    ) -> Deferred[bytes]:
        """Fires with the answer to `request`, `compose(taken)`. When the client leaves before, the jobs go back; if it
        `waits`, `taking` is cancelled.
        """
        request.delivery = delivery = Delivery(self, request.connection, taking, waits)
        self.asked += 1
        if waits:
            taking.addBoth(self._waited, request, self.clock.seconds())
        # The delivery does not keep `compose`, which refers to the request: that would be a cycle to be collected.
        answered: Deferred[bytes] = taking.addCallbacks(delivery.took, delivery.refused, (compose,))
        return answered

    def _waited(self, result: Any, request: Request, since: float) -> Any:
        request.waited = self.clock.seconds() - since
        return result

    def awaits(self, connection: Client) -> bool:
        """Whether something written to this connection is not known to have arrived."""
        return connection in self._written

    @property
    def written(self) -> list[Delivery]:
        """Deliveries whose answer is written and not known to have arrived."""
        return [delivery for deliveries in self._written.values() for delivery in deliveries]

    def watch(self, delivery: Delivery) -> None:
        """An answer was written: check it until its delivery is decided."""
        self._written.setdefault(delivery.connection, []).append(delivery)
        self._look_later(GATHER)

    def look_at(self, connection: Client) -> None:
        """Something has happened to the connection: check now all that was written to it."""
        for delivery in self._written.pop(connection, ()):
            try:
                is_decided = delivery.look()
            except Exception:
                self._complain("checking a delivery failed, giving its jobs back")
                delivery.look_failed()
            else:
                if not is_decided:
                    self.watch(delivery)

    def settle(self, taken: Taken) -> None:
        """Jobs have reached their client."""
        if taken.on_arrival == "keep":
            ensureDeferred(self._settle([taken]))  # at once, before the worker's next request
        elif taken.on_arrival == "deliver":
            self._arrived.append(taken)
            self._look_later(GATHER)

    def hold(self, taken: Taken) -> None:
        """Extend the hold of jobs; retried soon when that fails."""
        ensureDeferred(self._hold(taken))

    def _look_later(self, seconds: float) -> None:
        if self._next_look is None:
            self._next_look = self.clock.callLater(seconds, self._look)

    def _look(self) -> None:
        self._next_look = None
        try:
            self._look_at_all()
        except Exception:
            self._complain("checking deliveries failed, retrying")
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
        """The Redis clock was set forward: extend every hold before it runs out."""
        for delivery in self.written:
            delivery.hold()
        for taken in self._arrived:
            self.hold(taken)

    async def _hold(self, taken: Taken) -> None:
        try:
            await self._queues.hold(taken)
        except StoreError:
            pass  # retried soon
        except Exception:
            self._complain("holding jobs failed, retrying")

    async def _settle(self, several: list[Taken]) -> None:
        """Settle deliveries that one script call can settle. While Redis is away they wait: settling late is harmless,
        because receipts tell whose the jobs are.
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
                self._complain("settling deliveries failed, retrying")
            self._arrived += some + several
            self._look_later(RETRY)
        finally:
            self._calls -= 1
            self.changed()

    def give_back(self, taken: Taken) -> None:
        """Put jobs that did not reach their client back to the front; retried until that succeeds."""
        ensureDeferred(self._return(taken))

    async def _return(self, taken: Taken) -> None:
        """Put jobs back to the front. While Redis is away they wait, as in `_settle`."""
        self._calls += 1
        try:
            await self._queues.give_back(taken)
            self._complaint = ""
        except Exception as wrong:
            if not isinstance(wrong, StoreError):
                self._complain("giving jobs back failed, retrying")
            self._returned.append(taken)
            self._look_later(RETRY)
        finally:
            self._calls -= 1
            self.changed()

    def _complain(self, what: str) -> None:
        """Log the unexpected exception that is being handled, once and not at each try."""
        failure = Failure()
        if (complaint := f"{what} {failure.value!r}") != self._complaint:
            self._complaint = complaint
            self._log.failure("{what}", failure=failure, what=what)

    @property
    def pending(self) -> int:
        """How many takes, deliveries and settlements are not recorded in Redis yet."""
        unsettled = len(self._arrived) + len(self._returned) + self._calls
        return self.asked + len(self.written) + unsettled


def _a_script_full(several: list[Taken]) -> tuple[list[Taken], list[Taken]]:
    """Split `several`: as many as one script call may settle, and the rest."""
    jobs = 0
    for at, taken in enumerate(several):
        jobs += len(taken.numbers)
        if at and jobs > MOST_AT_ONCE:
            return several[:at], several[at:]
    return several, []
