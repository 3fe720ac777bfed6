"""A connection that is made again whenever it is lost: soon after one that was of use, later each time after others.

Twisted's ClientService counts a connection as a success once it was made, so a Redis that accepts and refuses would be
asked again without a pause; and it logs each try.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

CLOSING = 1.0  # seconds that the other side has to take what was sent before, when we stop


class Reconnecting(Service):
    """Keeps one connection of `factory`, whose protocols tell in `ended` when they are lost, and if they were of use.

    `delay(n)` is how long to wait before the n-th try in a row, in seconds; `failed(failure)` is told why one could not
    be made.
    """

    _log = Logger()

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        factory: Any,
        clock: IReactorTime,
        delay: Callable[[int], float],
        failed: Callable[[Failure], None],
    ) -> None:
        self._endpoint = endpoint
        self._factory = factory
        self._clock = clock
        self._delay = delay
        self._failed = failed
        self._protocol: Any = None
        self._pending: Deferred[Any] | None = None  # a connection that is being made, or the time until then
        self._done: Deferred[Any] = succeed(None)

    def startService(self) -> None:
        """Begin to connect."""
        super().startService()
        self._done = ensureDeferred(self._keep())

    def stopService(self) -> Deferred[Any]:
        """Fires once the connection is closed."""
        super().stopService()
        if self._pending is not None:
            self._pending.cancel()
        if self._protocol is not None:
            self._protocol.transport.loseConnection()
            overdue = self._clock.callLater(CLOSING, self._protocol.transport.abortConnection)
            self._protocol.ended.addBoth(_then_cancel, overdue)
        return self._done

    async def _keep(self) -> None:
        tries = 0
        while self.running:
            tries = 0 if await self._one_life() else tries + 1
            if self.running:
                await self._wait_for(deferLater(self._clock, self._delay(max(1, tries))))

    async def _one_life(self) -> bool:
        """One connection from its beginning to its end. Returns whether it was of use."""
        made = await self._wait_for(self._endpoint.connect(self._factory))
        if made is None:
            return False
        self._protocol = made
        of_use: bool = await made.ended
        self._protocol = None
        return of_use

    async def _wait_for(self, asked: Deferred[Any]) -> Any:
        """What it fires with; None when it fails, or when we stop meanwhile."""
        self._pending = asked
        try:
            return await asked
        except Exception:
            if self.running:
                self._failed(Failure())
            return None
        finally:
            self._pending = None


def _then_cancel(result: Any, call: Any) -> Any:
    if call.active():
        call.cancel()
    return result
