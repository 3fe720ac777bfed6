"""Consumers that wait for a job: Deferreds in this daemon, first come, first served.

They are woken by what the scripts publish when a queue may have a job, heard over one connection whatever their number;
a slow poll catches what was published while that connection was away.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from presque.errors import PresqueError, QueuePaused, StoreError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from presque.queues import Queues, Taken
    from presque.redis.connection import ListenerFactory

POLL = 2.0  # seconds between two looks at each queue that is waited on


@dataclass(eq=False)
class _Waiter:
    most: int
    worker: str
    done: Deferred[Taken]
    timer: IDelayedCall | None = None


@dataclass(eq=False)
class _Line:
    """Those who wait on one queue, and whether somebody is taking for them now, or must look once more."""

    waiters: deque[_Waiter] = field(default_factory=deque)
    serving: bool = False
    look_again: bool = False
    poll: IDelayedCall | None = None


class Waiting:
    """Everybody who waits, by queue."""

    _log = Logger()

    def __init__(self, queues: Queues, listener: ListenerFactory, clock: IReactorTime) -> None:
        self._queues = queues
        self._listener = listener
        self._clock = clock
        self._lines: dict[bytes, tuple[str, _Line]] = {}
        self._stopping = False
        listener.heard = self._heard

    def __len__(self) -> int:
        return sum(len(line.waiters) for _, line in self._lines.values())

    def take(self, queue: str, most: int, worker: str, patience: float) -> Deferred[Taken]:
        """As `Queues.take`, but waits up to `patience` seconds for a job. Cancelling it leaves nothing behind: a job
        that was on its way goes back.
        """
        if patience <= 0 or self._stopping:
            return self._queues.take(queue, most, worker)
        channel = self._queues.channel(queue)
        waiter = _Waiter(most, worker, Deferred(lambda _: self._leave(channel, waiter)))
        waiter.timer = self._clock.callLater(patience, self._give_up, channel, waiter)
        if channel not in self._lines:
            self._lines[channel] = queue, _Line()
            self._listener.subscribe(channel)
        self._lines[channel][1].waiters.append(waiter)
        self._heard(channel)
        return waiter.done

    def _heard(self, channel: bytes) -> None:
        if channel not in self._lines:
            return
        queue, line = self._lines[channel]
        if line.serving:
            line.look_again = True
        else:
            line.serving = True
            ensureDeferred(self._serve(queue, channel, line)).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        self._log.failure("serving a waiting consumer failed", failure=failure)

    async def _serve(self, queue: str, channel: bytes, line: _Line) -> None:
        if line.poll is not None:
            line.poll.cancel()
            line.poll = None
        line.look_again = True
        while line.waiters and line.look_again:
            line.look_again = False
            waiter = line.waiters[0]
            try:
                taken = await self._queues.take(queue, waiter.most, waiter.worker)
            except QueuePaused:
                continue
            except PresqueError:
                for waiter in list(line.waiters):
                    self._leave(channel, waiter)
                    waiter.done.errback(Failure())
                break
            if taken.numbers:
                line.look_again = True
                self._leave(channel, waiter)
                self._answer(taken, waiter)
        line.serving = False
        if line.waiters:
            line.poll = self._clock.callLater(POLL, self._poll, channel, line)

    def _poll(self, channel: bytes, line: _Line) -> None:
        line.poll = None
        self._heard(channel)

    def _leave(self, channel: bytes, waiter: _Waiter) -> None:
        _, line = self._lines.get(channel, ("", _Line()))
        if waiter not in line.waiters:
            return
        line.waiters.remove(waiter)
        if waiter.timer is not None and waiter.timer.active():
            waiter.timer.cancel()
        if not line.waiters:
            del self._lines[channel]
            self._listener.unsubscribe(channel)
            if line.poll is not None:
                line.poll.cancel()
                line.poll = None

    def _give_up(self, channel: bytes, waiter: _Waiter) -> None:
        """The patience is over: one last look answers, with a job that came just now, nothing, or QueuePaused."""
        queue, _ = self._lines[channel]
        self._leave(channel, waiter)
        last_look = self._queues.take(queue, waiter.most, waiter.worker)
        last_look.addCallback(self._answer, waiter).addErrback(waiter.done.errback)

    def _answer(self, taken: Taken, waiter: _Waiter) -> None:
        if not waiter.done.called:
            waiter.done.callback(taken)
        elif taken.numbers:  # it left while we took for it
            self._queues.give_back(taken).addErrback(lambda failure: failure.trap(StoreError))  # the hold runs out

    def stop(self) -> None:
        """Answer everybody now; whoever comes later is answered at once."""
        self._stopping = True
        for channel, (_, line) in list(self._lines.items()):
            for waiter in list(line.waiters):
                self._give_up(channel, waiter)
