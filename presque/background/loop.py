"""The loop that runs background work: survives errors, never overlaps itself, repeats at once while there is more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from presque.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from twisted.internet.interfaces import IReactorTime


class Loop(Service):
    """Calls `work` every `tick` seconds. It returns how much it did; `full` or more means that there is more to do."""

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

    def startService(self) -> None:
        """Begin with the first turn now."""
        super().startService()
        self._done = self._call.start(self._tick)

    def stopService(self) -> Deferred[Any]:
        """Fires once the turn in progress has ended."""
        super().stopService()
        if self._call.running:
            self._call.stop()
        return self._done

    def _turn(self) -> Deferred[None]:
        return ensureDeferred(self._work_while_there_is_more())

    async def _work_while_there_is_more(self) -> None:
        try:
            while self.running and await self._work() >= self._full:
                pass
            self._complaint = ""
        except StoreError:
            pass  # Redis is away: presque.redis.connection says so in the log, and the next turn tries again
        except Exception as wrong:
            if (complaint := repr(wrong)) != self._complaint:  # and not at each turn
                self._complaint = complaint
                self._log.failure("{name} failed; it will be tried again", name=self.name)
