"""Consumers that wait for a job: Deferreds in this daemon, first come, first served.

The daemon first subscribes to its channel of the queue. A take that finds nothing records, in the same script, that
this daemon waits. The scripts then wake as many daemons as there are new jobs, over one connection whatever the number
of consumers. A slow poll covers lost messages; it checks a bounded number of queues per second, however many have
waiting consumers.

Whatever error a take raises, waiting consumers are answered: with the store's refusal, or for an unexpected error,
which is logged once, with OutcomeUnknown.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from presque.errors import OutcomeUnknown, PresqueError, QueuePaused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from presque.jobs.events import Events
    from presque.jobs.queues import Queues, Taken


POLL = 2.0  # seconds after which a queue with waiting consumers is checked again, even without a message
POLL_TURN = 0.02  # seconds between turns of the poll
POLLED = 5  # queues checked per turn; further ones are checked in later turns
LAST_TRIES = 1000  # tries in progress for consumers whose time is up


@dataclass(eq=False, slots=True)
class _Waiter:
    queues: Sequence[str]
    take: Callable[
        [str, bytes], Deferred[Any]
    ]  # arguments: queue, and the id of the daemon to wake later if it is empty, or b""
    done: Deferred[Any]
    timer: IDelayedCall | None = None


@dataclass(eq=False, slots=True)
class _Line:
    """The waiters on one queue, whether a take for them is running or must be repeated, and when the last one began."""

    queue: str
    channel: bytes
    looked_at: float
    waiters: OrderedDict[_Waiter, None] = field(default_factory=OrderedDict)  # in order of arrival
    serving: bool = False
    look_again: bool = False
    woken: bool = False  # and no take has followed


class Waiters:
    """All waiting consumers, by queue."""

    _log = Logger()

    def __init__(
        self,
        queues: Queues,
        events: Events,
        clock: IReactorTime,
        give_back: Callable[[Taken], object],
    ) -> None:
        self._queues = queues
        self._events = events
        self._clock = clock
        self._give_back = give_back  # puts back jobs that were taken for a consumer that has left
        self._complaint = ""  # the last unexpected error
        self._lines: OrderedDict[bytes, _Line] = OrderedDict()  # channel -> line, in the order of their last takes
        self._next_poll: IDelayedCall | None = None
        self._stopping = False
        self._giving_up: deque[_Waiter] = deque()  # consumers whose time is up, before their last try
        self._last_tries = 0  # that are in progress
        self._is_trying_last = False
        events.unclaimed = self._pass_on  # we were woken, and no consumer waits any more

    def __len__(self) -> int:
        return len({waiter for line in self._lines.values() for waiter in line.waiters})

    def by_queue(self) -> dict[str, int]:
        """How many consumers wait, by queue; one that waits on several counts on each."""
        return {line.queue: len(line.waiters) for line in self._lines.values()}

    def take(
        self, queues: Sequence[str], take: Callable[[str, bytes], Deferred[Any]], patience: float
    ) -> Deferred[Any]:
        """Take with `take` from the first of `queues` that has a job, or wait up to `patience` seconds until one has.

        Fires with the result of `take`, without jobs when the time is over; fails as `take` does. It may be cancelled
        while it waits; a job that was being taken then goes back.
        """
        if patience <= 0 and len(queues) == 1:
            return take(queues[0], b"")
        for queue in queues:
            self._queues.channel(queue)  # raises InvalidName before anything is taken
        if patience <= 0:
            return ensureDeferred(self._look(queues, take))
        waiter = _Waiter(queues, take, Deferred(lambda _: self._leave(waiter)))
        if self._stopping:
            self._give_up(waiter)
            return waiter.done
        waiter.timer = self._clock.callLater(patience, self._give_up, waiter)
        if len(queues) == 1:
            self._join(waiter)
        else:
            ensureDeferred(self._look_and_join(waiter))
        return waiter.done

    async def _look(self, queues: Sequence[str], take: Callable[[str, bytes], Deferred[Any]]) -> Taken:
        """Take from one queue after another until there is a job. Raises QueuePaused only if all queues are stopped."""
        taken: Taken | None = None
        for queue in queues:
            try:
                taken = await take(queue, b"")
            except QueuePaused:
                continue
            if taken.numbers:
                break
        if taken is None:
            raise QueuePaused
        return taken

    async def _look_and_join(self, waiter: _Waiter) -> None:
        """Try several queues in order; if all are empty, join their lines."""
        try:
            taken = await self._look(waiter.queues, waiter.take)
            if taken.numbers:
                self._answer(taken, waiter)
                return
        except QueuePaused:
            pass
        except Exception:
            self._fail([waiter])
            return
        if self._stopping:
            self._give_up(waiter)
        elif not waiter.done.called:  # it has not left, and its time is not up
            self._join(waiter)

    def _join(self, waiter: _Waiter) -> None:
        """Join the end of each line, and have each line served."""
        for queue in waiter.queues:
            channel = self._queues.channel(queue)
            if channel not in self._lines:
                self._lines[channel] = _Line(queue, channel, self._clock.seconds())
                self._events.subscribe(channel, self)
            self._lines[channel].waiters[waiter] = None
        self._poll_later()
        for queue in waiter.queues:
            self.heard(self._queues.channel(queue))

    def heard(self, channel: bytes) -> None:
        """There may be a job: serve the line."""
        line = self._lines.get(channel)
        if line is None:
            return
        line.look_again = True
        if not line.serving:
            line.serving = True
            ensureDeferred(self._serve(line))

    def told(self, channel: bytes) -> None:
        """We were woken: serve the line."""
        if (line := self._lines.get(channel)) is not None:
            line.woken = True
            self.heard(channel)

    def _pass_on(self, channel: bytes) -> None:
        maybeDeferred(self._queues.wake_another, channel).addErrback(self._not_passed_on)

    def _not_passed_on(self, failure: Failure) -> None:
        self._excuse(failure)  # the other daemons poll

    def _excuse(self, failure: Failure) -> Failure:
        """The failure to report to a consumer. An unexpected one is logged once, and not at each take."""
        if failure.check(PresqueError):
            return failure
        if (complaint := repr(failure.value)) != self._complaint:
            self._complaint = complaint
            self._log.failure("taking jobs for waiting consumers failed", failure=failure)
        return Failure(OutcomeUnknown())

    async def _serve(self, line: _Line) -> None:
        """Take for the waiters in the line, in order, until a take finds nothing."""
        try:
            while line.waiters and line.look_again:
                await self._serve_first(line)
        except Exception:
            self._fail(list(line.waiters))
        finally:
            line.serving = False
        if line.woken and not line.waiters:
            self._pass_on(line.channel)

    async def _serve_first(self, line: _Line) -> None:
        line.look_again = line.woken = False
        line.looked_at = self._clock.seconds()
        self._lines.move_to_end(line.channel)
        waiter = next(iter(line.waiters))
        try:
            taken = await waiter.take(line.queue, self._queues.daemon)
        except QueuePaused:
            return
        if taken.numbers:
            line.look_again = True
            self._answer(taken, waiter)

    def _poll(self) -> None:
        """Check queues without a take for a long time."""
        self._next_poll = None
        before = self._clock.seconds() - POLL
        unheard = takewhile(lambda line: line.looked_at <= before, self._lines.values())
        for line in list(islice(unheard, POLLED)):
            self.heard(line.channel)
        self._poll_later()

    def _poll_later(self) -> None:
        if self._lines and self._next_poll is None:
            self._next_poll = self._clock.callLater(POLL_TURN, self._poll)

    def _fail(self, waiters: list[_Waiter]) -> None:
        """Fail with the exception that is being handled."""
        failure = self._excuse(Failure())
        for waiter in waiters:
            self._leave(waiter)
            if not waiter.done.called:
                waiter.done.errback(failure)

    def _answer(self, taken: Taken, waiter: _Waiter) -> None:
        self._leave(waiter)
        if not waiter.done.called:
            waiter.done.callback(taken)
        elif taken.numbers:  # it left during the take
            self._give_back(taken)

    def _leave(self, waiter: _Waiter) -> None:
        """Leave all lines; unsubscribe from the channels of empty ones."""
        if waiter.timer is not None and waiter.timer.active():
            waiter.timer.cancel()
        for queue in waiter.queues:
            channel = self._queues.channel(queue)
            line = self._lines.get(channel)
            if line is None or waiter not in line.waiters:
                continue
            del line.waiters[waiter]
            if not line.waiters:
                del self._lines[channel]
                self._events.unsubscribe(channel, self)
        if not self._lines and self._next_poll is not None:
            self._next_poll.cancel()
            self._next_poll = None

    def _give_up(self, waiter: _Waiter) -> None:
        """The time is up: answer after a last try, with a job that just came, nothing, or QueuePaused."""
        self._leave(waiter)
        self._giving_up.append(waiter)
        self._try_last()

    def _try_last(self) -> None:
        """Make last tries, up to LAST_TRIES at a time: when thousands of consumers give up together, the store would
        refuse some of their tries.
        """
        if self._is_trying_last:
            return
        self._is_trying_last = True
        while self._giving_up and self._last_tries < LAST_TRIES:
            ensureDeferred(self._look_and_answer(self._giving_up.popleft()))
        self._is_trying_last = False

    async def _look_and_answer(self, waiter: _Waiter) -> None:
        self._last_tries += 1
        try:
            if not waiter.done.called:  # it has not left meanwhile
                self._answer(await self._look(waiter.queues, waiter.take), waiter)
        except Exception:
            self._fail([waiter])
        finally:
            self._last_tries -= 1
            self._try_last()

    def stop(self) -> None:
        """Answer all waiting consumers soon, and later ones at once."""
        self._stopping = True
        for waiter in {waiter for line in self._lines.values() for waiter in line.waiters}:
            self._give_up(waiter)
