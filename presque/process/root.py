"""What twistd runs: a service whose parts start and stop in order, and which exits when it cannot continue."""

from __future__ import annotations

import atexit
import os
import signal
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred, succeed
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized

from presque.errors import one_line
from presque.settings import SettingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

    from twisted.python.failure import Failure

    from presque.process.log import Log
    from presque.process.notify import Notifier


def is_main_thread() -> bool:
    """Whether this is the main thread, where signals may be handled."""
    return threading.current_thread() is threading.main_thread()


@dataclass(frozen=True)
class Part:
    """A part of a process. `start` and `stop` may return a Deferred or a coroutine, which is awaited."""

    name: str
    start: Callable[[], Any]
    stop: Callable[[], Any]


class Root(Service):
    """A process: its parts, which start in the order in which they were registered and stop in reverse. If a part fails
    to start, the program exits; if one fails to stop, the others still stop.
    """

    name = "presque"
    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.log: Log | None = None  # unless twistd has been told to make another
        self.notifier: Notifier | None = None  # if somebody wants to know how we are
        self._ending = False
        self._asked_to_stop = False  # by a signal
        self.parts: list[Part] = []
        self._reloads: list[Callable[[], object]] = []
        self._begun: list[Part] = []  # parts whose start was called
        self._waiting: list[Deferred[None]] = []  # fire at the next `changed`
        self.started: Deferred[None] = succeed(None)

    def register(self, name: str, start: Callable[[], Any], stop: Callable[[], Any]) -> None:
        """Add a part."""
        self.parts.append(Part(name, start, stop))

    def on_reload(self, reload: Callable[[], object]) -> None:
        """Have `reload` called at SIGHUP. It logs what came of it, and changes nothing if it cannot."""
        self._reloads.append(reload)

    async def _start(self) -> None:
        for part in self.parts:
            if not self.running:
                return
            self._begun.append(part)
            await maybeDeferred(part.start)
        if self.running:
            self._all_started()

    def _all_started(self) -> None:
        """All parts have started."""
        if self.notifier is not None:
            self.notifier.ready()

    def status(self) -> str:
        """How we are, in words."""
        return "Starting" if len(self._begun) < len(self.parts) else "Running"

    def is_alive(self, patience: float) -> bool:
        """Whether everything that should turn has turned within `patience` seconds."""
        return True

    async def _stop(self) -> None:
        while self._begun:
            part = self._begun.pop()
            try:
                await maybeDeferred(part.stop)
            except Exception:
                self._log.failure("stopping {name} failed", name=part.name)
        if self.notifier is not None:
            self.notifier.stop()
        if self.log is not None:
            self.log.flush()

    def _hurry(self) -> None:
        """Another SIGTERM has arrived while we stop."""

    def hear_signals(self) -> None:
        """Handle signals from now on. SIGHUP does not end the process: it calls what `on_reload` has. The first SIGTERM
        or SIGINT stops it, further ones hurry it. (Twisted's own handlers stop the reactor each time, which fails with
        a traceback.)
        """
        if is_main_thread():
            signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._reload))
            self._reactor.callWhenRunning(self._hear_stops)

    def open_log(self, twistd: Mapping[str, Any] | None) -> None:
        """Write our log where these options of twistd say; None if they are not known."""
        if self.log is not None:
            self.log.open_as(twistd)

    def set_log_level(self, level: str) -> None:
        """Write the log from this level on."""
        if self.log is not None:
            before = self.log.level
            self.log.set_level("info")  # so that this is seen, whichever level was or will be
            self._log.info("SIGHUP: log level {now} (before: {before})", now=level, before=before)
            self.log.set_level(level)

    def _reload(self) -> None:
        if not self._reloads:
            self._log.info("SIGHUP: there is nothing to reload, presque reads its settings only at start")
        for reload in self._reloads:
            try:
                reload()
            except SettingError as wrong:
                self._log.error("SIGHUP: {wrong}; nothing has changed", wrong=str(wrong))
            except Exception:
                self._log.failure("SIGHUP: reloading failed")

    def _hear_stops(self) -> None:
        """Replace the handlers that Twisted has installed by now, and call them once."""
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

    def setServiceParent(self, parent: Any) -> None:
        """Belong to twistd's application, and have it use our log."""
        if self.log is not None and self.log.is_open and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self.log)
        super().setServiceParent(parent)

    def startService(self) -> None:
        """Start; `started` fires once all parts have started."""
        super().startService()
        self.started = Deferred()
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        if self.notifier is not None and self.running:
            self.notifier.start()
        ensureDeferred(self._start()).addErrback(self._failed).chainDeferred(self.started)

    def _failed(self, failure: Failure) -> None:
        if self.running:  # else it failed because we stop
            self._end(failure.value)

    def changed(self) -> None:
        """Parts call this when a condition of `_until` may have changed."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                self._reactor.callLater(0, each.callback, None)  # not within the caller

    async def _until(self, condition: Callable[[], object], patience: float) -> None:
        """Wait until `condition()`, which is checked after each `changed`; but no longer than `patience` seconds, and
        only until we begin to stop.
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
        """Exit with status 1 because of an error that waiting cannot fix; log it in one line."""
        if self._ending:
            return
        self._log.critical("presque ends: {reason}", reason=one_line(str(reason) or repr(reason)))
        if self._reactor.running:
            self._ending = True
            atexit.register(os._exit, 1)  # twistd itself always ends with 0
            if not self._asked_to_stop:  # else the reactor is stopping already, or will in this turn
                self._reactor.stop()

    def stopService(self) -> Deferred[None]:
        """Stop. Fires once all parts have stopped."""
        super().stopService()
        if self.notifier is not None:
            self.notifier.stopping()
        self.changed()
        return ensureDeferred(self._stop())
