"""What twistd runs: a service that starts and stops in its own time, and ends the program when it cannot go on."""

from __future__ import annotations

import atexit
import os
import signal
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred, succeed
from twisted.logger import Logger

from presque.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from twisted.python.failure import Failure


def is_main_thread() -> bool:
    """Whether signals may be handled here."""
    return threading.current_thread() is threading.main_thread()


@dataclass(frozen=True)
class Part:
    """A part of a process. What `start` and `stop` return is waited for, if it is a Deferred or a coroutine."""

    name: str
    start: Callable[[], Any]
    stop: Callable[[], Any]


class Root(Service):
    """The whole of a process: its parts, which start in the order in which they were registered and stop in the other.
    A part that fails to start ends the program; one that fails to stop keeps no other from it.
    """

    name = "presque"
    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._ending = False
        self._asked_to_stop = False  # by a signal
        self.parts: list[Part] = []
        self._begun: list[Part] = []  # those that were told to start
        self._waiting: list[Deferred[None]] = []  # fire when something has happened that may be waited for
        self.started: Deferred[None] = succeed(None)

    def register(self, name: str, start: Callable[[], Any], stop: Callable[[], Any]) -> None:
        """Add a part."""
        self.parts.append(Part(name, start, stop))

    async def _start(self) -> None:
        for part in self.parts:
            if not self.running:
                return
            self._begun.append(part)
            await maybeDeferred(part.start)

    async def _stop(self) -> None:
        while self._begun:
            part = self._begun.pop()
            try:
                await maybeDeferred(part.stop)
            except Exception:
                self._log.failure("stopping {name} failed", name=part.name)

    def _hurry(self) -> None:
        """SIGTERM has come again while we stop."""

    def hear_signals(self) -> None:
        """SIGHUP does not end us, from now on: there is nothing to reload. SIGTERM and SIGINT stop us once; again, they
        say that there is a hurry. (Twisted's own handlers stop the reactor each time, which fails with a traceback.)
        """
        if is_main_thread():
            said = "SIGHUP: there is nothing to reload, presque reads its settings only at start"
            signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._log.info, said))
            self._reactor.callWhenRunning(self._hear_stops)

    def _hear_stops(self) -> None:
        """Stand before the handlers that Twisted has installed by now."""
        twisted = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

        def heard(number: int, frame: FrameType | None) -> None:
            handler = twisted[signal.Signals(number)]
            if self._asked_to_stop or self._ending or not self.running or not callable(handler):
                self._reactor.callFromThread(self._hurry)
            else:
                self._asked_to_stop = True
                handler(number, frame)

        for number in twisted:
            signal.signal(number, heard)

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

    def changed(self) -> None:
        """Something has happened that may be waited for: to be called by parts."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                self._reactor.callLater(0, each.callback, None)  # not within what has happened

    async def _until(self, condition: Callable[[], object], patience: float) -> None:
        """Wait until `condition()`, which is looked at when something has changed; but no longer than `patience`
        seconds, nor when we begin to stop meanwhile.
        """
        ends, began_running = self._reactor.seconds() + patience, self.running
        overdue = self._reactor.callLater(patience, self.changed)
        while not condition() and self._reactor.seconds() < ends and self.running == began_running:
            event: Deferred[None] = Deferred()
            self._waiting.append(event)
            await event
        if overdue.active():
            overdue.cancel()

    def _end(self, reason: object) -> None:
        """What cannot be mended by waiting: say it in one line, and end with status 1."""
        if self._ending:
            return
        self._log.critical("presque ends: {reason}", reason=one_line(str(reason) or repr(reason)))
        if self._reactor.running:
            self._ending = True
            atexit.register(os._exit, 1)  # twistd itself always ends with 0
            if not self._asked_to_stop:  # else the reactor stops already, or will in this turn
                self._reactor.stop()

    def stopService(self) -> Deferred[None]:
        """Stop, and fire when all has ended."""
        super().stopService()
        self.changed()
        return ensureDeferred(self._stop())
