"""The loop that runs background work: survives errors, never overlaps itself, repeats at once while there is more."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from presque.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from twisted.internet.interfaces import IReactorTime


class Turn(NamedTuple):
    """How a turn of a loop has ended: when (seconds, by the loop's clock), how much it did, and what went wrong."""

    at: float
    done: int
    error: str


class Loop:
    """Calls `work` every `tick` seconds. It returns how much it did; `full` or more means that there is more to do.
    `last` is the last turn that has ended, and `turned` is called at each end.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        work: Callable[[], Coroutine[Deferred[Any], Any, int]],
        tick: float,
        full: int,
        clock: IReactorTime,
    ) -> None:
        self.name = name
        self._work = work
        self._tick = tick
        self._full = full
        self._call = LoopingCall(self._turn)
        self._call.clock = clock
        self._done: Deferred[Any] = succeed(None)
        self._complaint = ""  # the exception of the last turn, if nobody expected it
        self.running = False
        self.last: Turn | None = None
        self.turned: Callable[[], object] = lambda: None

    def start(self) -> None:
        """Begin with the first turn now."""
        self.running = True
        self._done = self._call.start(self._tick)

    def stop(self) -> Deferred[Any]:
        """Fires once the turn in progress has ended."""
        self.running = False
        if self._call.running:
            self._call.stop()
        return self._done

    def _turn(self) -> Deferred[None]:
        return ensureDeferred(self._work_while_there_is_more())

    async def _work_while_there_is_more(self) -> None:
        count, error = 0, ""
        try:
            while self.running:
                some = await self._work()
                count += some
                if some < self._full:
                    break
            self._complaint = ""
        except StoreError as wrong:
            error = wrong.message  # Redis is away: presque.redis.connection says so in the log, and it is tried again
        except Exception as wrong:
            error = repr(wrong)
            if error != self._complaint:  # and not at each turn
                self._complaint = error
                self._log.failure("{name} failed and will be retried", name=self.name)
        self.last = Turn(self._call.clock.seconds(), count, error)
        self.turned()
