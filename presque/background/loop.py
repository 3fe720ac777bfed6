"""The loop that runs background work: it survives errors, never overlaps itself, and repeats while there is more."""

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
    """The result of a turn: when it ended (seconds, by the loop's clock), how much it did, and its error or ""."""

    at: float
    done: int
    error: str


class Loop:
    """Calls `work` every `tick` seconds. `work` returns how much it did; `full` or more means that more is left to do.
    `last` is the result of the last turn, and `turned` is called after each turn. `worked_at` is when `work` last
    returned without an error, and `turned_at` when a turn last ended or `work` returned (seconds, by `clock`).
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
        self.tick = tick
        self._full = full
        self._call = LoopingCall(self._turn)
        self._call.clock = clock
        self._done: Deferred[Any] = succeed(None)
        self._complaint = ""  # the unexpected exception of the last turn
        self.running = False
        self.last: Turn | None = None
        self.worked_at = self.turned_at = clock.seconds()
        self.turned: Callable[[], object] = lambda: None

    def start(self) -> None:
        """Start with a first turn now."""
        self.running = True
        self.worked_at = self.turned_at = self._call.clock.seconds()
        self._done = self._call.start(self.tick)

    def stop(self) -> Deferred[Any]:
        """Stop. Fires once the turn in progress has ended."""
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
                self.worked_at = self.turned_at = self._call.clock.seconds()
                if some < self._full:
                    break
            self._complaint = ""
        except StoreError as wrong:
            error = wrong.message  # Redis is away: presque.redis.connection logs it, and the next turn retries
        except Exception as wrong:
            error = repr(wrong)
            if error != self._complaint:  # log it once, not at each turn
                self._complaint = error
                self._log.failure("{name} failed and will be retried", name=self.name)
        self.turned_at = self._call.clock.seconds()
        self.last = Turn(self.turned_at, count, error)
        self.turned()
