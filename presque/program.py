"""What twistd runs: a service that starts and stops in its own time, and ends the program when it cannot go on."""

from __future__ import annotations

import atexit
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger

from presque.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

LOOK = 0.02  # seconds between two looks at something that is waited for at start and stop


def is_main_thread() -> bool:
    """Whether signals may be handled here."""
    return threading.current_thread() is threading.main_thread()


class Program(Service):
    """The whole of a process. A subclass says how it starts (`_start`) and how it stops (`_stop`)."""

    name = "presque"
    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._ending = False
        self.started: Deferred[None] = succeed(None)

    async def _start(self) -> None:
        """Start all, as long as `running`. What it raises ends the program."""
        raise NotImplementedError

    async def _stop(self) -> None:
        """Stop all, in order, whatever of it has started."""
        raise NotImplementedError

    def _hurry(self) -> None:
        """SIGTERM has come again while we stop."""

    def hear_hangups(self) -> None:
        """SIGHUP does not end us, from now on: there is nothing to reload."""
        if is_main_thread():
            said = "SIGHUP: there is nothing to reload, presque reads its settings at start only"
            signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._log.info, said))

    def startService(self) -> None:
        """Begin to start; `started` fires when all has."""
        super().startService()
        self.started = Deferred()
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        ensureDeferred(self._start()).addErrback(self._failed).chainDeferred(self.started)

    def _failed(self, failure: Failure) -> None:
        if self.running:  # else it failed because we stop
            self._end(failure.value)

    async def _until(self, condition: Callable[[], object], patience: float) -> None:
        """Wait until `condition()`, but no longer than `patience` seconds, nor when we begin to stop meanwhile."""
        ends, began_running = self._reactor.seconds() + patience, self.running
        while not condition() and self._reactor.seconds() < ends and self.running == began_running:
            await deferLater(self._reactor, LOOK)

    def _end(self, reason: object) -> None:
        """What cannot be mended by waiting: say it in one line, and end with status 1."""
        if self._ending:
            return
        self._log.critical("presque ends: {reason}", reason=one_line(str(reason) or repr(reason)))
        if self._reactor.running:
            self._ending = True
            atexit.register(os._exit, 1)  # twistd itself always ends with 0
            self._reactor.stop()

    def stopService(self) -> Deferred[None]:
        """Stop, and fire when all has ended. From now on SIGTERM and SIGINT say that there is a hurry."""
        super().stopService()
        if self._reactor.running and is_main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self._reactor.callFromThread(self._hurry))
        return ensureDeferred(self._stop())
