"""A connection that is restored whenever it is lost: soon after a useful one, after growing delays otherwise.

Twisted's ClientService counts a connection as a success once it was made, so it would reconnect without a pause to a
Redis that accepts connections and then refuses to serve; and it logs each try.
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

CLOSING = 1.0  # seconds that the other side has to receive pending data when we stop


class Reconnecting(Service):
    """Keeps one connection of `factory`. Its protocols fire `ended` when they are lost, with whether they were useful.

    `delay(n)` is the wait in seconds before the n-th try in a row; `failed(failure)` is called when a connection could
    not be made.
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
        self._pending: Deferred[Any] | None = None  # the connection attempt, or the wait before it
        self._done: Deferred[Any] = succeed(None)

    def startService(self) -> None:
        """Start connecting."""
        super().startService()
        self._done = ensureDeferred(self._keep())

    def stopService(self) -> Deferred[Any]:
        """Close the connection. Fires once it is closed."""
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
                await self._wait_for(deferLater, self._clock, self._delay(max(1, tries)))

    async def _one_life(self) -> bool:
        """One connection from start to end. Returns whether it was useful."""
        made = await self._wait_for(self._endpoint.connect, self._factory)
        if made is None:
            return False
        self._protocol = made
        of_use: bool = await made.ended
        self._protocol = None
        return of_use

    async def _wait_for(self, function: Callable[..., Deferred[Any]], *args: Any) -> Any:
        """The result of the Deferred that `function` returns; None when it fails, or when we stop meanwhile."""
        try:
            self._pending = function(*args)
            return await self._pending
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
