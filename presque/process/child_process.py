"""A child process that is kept alive: it ends with us, is restarted when it dies, and its output is read."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger

from presque.process import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.interfaces import IDelayedCall
    from twisted.python.failure import Failure

FIRST_RESTART = 0.1  # seconds until a child that died is restarted; doubles each time
LAST_RESTART = 5.0  # seconds, the maximum of this delay
STEADY = 10.0  # seconds that a child must live to reset the delay
TRIES = 3  # consecutive runs that may end before they are ready
LONGEST_LINE = 65536  # bytes; longer lines of output are split


@dataclass(frozen=True)
class Command:
    """The command of a child."""

    words: tuple[str, ...]  # the path of the program, and its arguments
    environ: Mapping[str, str]
    descriptors: Mapping[int, int]  # number in the child -> our descriptor, from 3 on
    stdin: bytes = b""  # all of its standard input


class Child:
    """Runs `command` from `start` to `stop`, and restarts it whenever it dies.

    `heard(pid, line)` is called for each line of its standard output and error. With `on_status`, a child that exits
    with a status above 0 is not restarted if `on_status(pid, status)` is true.

    `before_again()` is called before each run but the first, and `born(pid)` for each run. With `on_hopeless`, a child
    that has ended TRIES times in a row before `is_ready` was called is not restarted either: `on_hopeless(pid, how it
    ended)` is called.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        command: Command,
        patience: float,
        reactor: Any,
        heard: Callable[[int, str], None],
        on_status: Callable[[int, int], bool] | None = None,
    ) -> None:
        self.name = name
        self.command = command
        self.heard = heard
        self._patience = patience  # seconds that it gets to stop before it is killed
        self._reactor = reactor
        self._on_status = on_status
        self.born: Callable[[int], None] = lambda pid: None
        self.before_again: Callable[[], None] = lambda: None
        self.on_hopeless: Callable[[int, str], None] | None = None
        self._fruitless = 0  # consecutive runs that ended before they were ready
        self._ready = False
        self._run: _Run | None = None
        self._again: IDelayedCall | None = None
        self._delay = FIRST_RESTART
        self._started_at = 0.0
        self._stopped: Deferred[None] | None = None

    def start(self) -> None:
        """Start it, so that it ends with us."""
        self._again = None
        self._run = _Run(self)
        self._started_at = self._reactor.seconds()
        words = [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid()), *self.command.words]
        descriptors = {0: "w", 1: "r", 2: "r", **self.command.descriptors}
        try:
            self._reactor.spawnProcess(self._run, words[0], words, env=self.command.environ, childFDs=descriptors)
        except Exception as wrong:  # no descriptor, process or memory is left for now
            self._run = None
            self._start_later(f"could not be started ({wrong})")
            return
        self._log.info("{name} starts (pid {pid})", name=self.name, pid=self._run.pid)
        self._ready = False
        self.born(self._run.pid)

    @property
    def pid(self) -> int:
        """The process id of the current run, or 0."""
        return self._run.pid if self._run is not None else 0

    def is_ready(self) -> None:
        """The child works: if it ends from now on, it is restarted."""
        self._fruitless, self._ready = 0, True

    def ended(self, pid: int, failure: Failure) -> None:
        """It has ended and was reaped: restart it unless we are stopping."""
        self._run = None
        self._fruitless += not self._ready and not _was_ended(failure)
        status = getattr(failure.value, "exitCode", None)
        if self._stopped is not None:
            self._stopped.callback(None)
        elif self._on_status is not None and status and self._on_status(pid, status):
            pass  # it would do so again
        elif self.on_hopeless is not None and self._fruitless >= TRIES:
            self.on_hopeless(pid, failure.getErrorMessage())
        else:
            self._start_later(f"ended ({failure.getErrorMessage()})")

    def _start_later(self, why: str) -> None:
        if self._reactor.seconds() - self._started_at > STEADY:
            self._delay = FIRST_RESTART
        self._log.error("{name} {why}, starting again in {delay} s", name=self.name, why=why, delay=self._delay)
        self._again = self._reactor.callLater(self._delay, self._start_again)
        self._delay = min(self._delay * 2, LAST_RESTART)

    def _start_again(self) -> None:
        try:
            self.before_again()
        except Exception:
            self._log.failure("what comes before {name} starts again failed", name=self.name)
        self.start()

    def reload(self) -> None:
        """Send it SIGHUP, if it runs."""
        if self._run is not None:
            self._run.signal("HUP")

    def stop(self) -> Deferred[None]:
        """Stop it with SIGTERM, or SIGKILL when it does not end in time. Fires when it has ended."""
        if self._again is not None:
            self._again.cancel()
        if self._run is None:
            return succeed(None)
        self._stopped = Deferred()
        self._run.signal("TERM")
        overdue = self._reactor.callLater(self._patience, self._run.signal, "KILL")

        def has_ended(_: None) -> None:
            if overdue.active():
                overdue.cancel()

        return self._stopped.addCallback(has_ended)


def _was_ended(failure: Failure) -> bool:
    """Whether it was ended from outside, which says nothing about the child itself."""
    return getattr(failure.value, "signal", None) in (signal.SIGKILL, signal.SIGTERM)


class _Run(ProcessProtocol):
    """One run of a child."""

    transport: Any

    def __init__(self, child: Child) -> None:
        self._child = child
        self._rest = {1: b"", 2: b""}  # the beginning of an incomplete line
        self.pid = 0

    def connectionMade(self) -> None:
        """Write the child's standard input."""
        self.pid = self.transport.pid  # which Twisted forgets once the child is reaped
        self.transport.write(self._child.command.stdin)
        self.transport.closeStdin()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Pass on complete lines."""
        *lines, rest = (self._rest[childFD] + data).split(b"\n")
        if len(rest) > LONGEST_LINE:
            lines, rest = [*lines, rest], b""
        self._rest[childFD] = rest
        self._pass_on(lines)

    def _pass_on(self, lines: list[bytes]) -> None:
        for line in lines:
            self._child.heard(self.pid, line.decode(errors="replace"))

    def signal(self, name: str) -> None:
        """Send it a signal, unless it has ended already."""
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(name)

    def processEnded(self, reason: Failure) -> None:
        """It has ended, and all of its output was read."""
        self._pass_on([rest for rest in self._rest.values() if rest])
        self._child.ended(self.pid, reason)
