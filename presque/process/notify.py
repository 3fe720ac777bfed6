"""Tells systemd how we are, as in sd_notify(3): READY, STATUS, STOPPING, WATCHDOG and EXTEND_TIMEOUT. A process whose
parent is our supervisor tells that instead, by a line on its standard output.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted.internet.task import LoopingCall

from presque.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

LOOK_EVERY = 0.5  # seconds between checks of what to tell
EXTEND_EVERY = 5.0  # seconds between extensions of the time to start or to stop,
EXTENSION = 30.0  # and how many seconds each gives
LONGEST_START = 600.0  # seconds, as long as a large Redis may take to load; what takes longer hangs
SUPERVISOR = "SUPERVISOR_PID"  # the variable by which a process knows that its parent reads its reports
SERVING = "Serving"  # how the status begins of a process with which nothing is wrong
_OURS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", SUPERVISOR)


def take_variables(environ: MutableMapping[str, str]) -> dict[str, str]:
    """The variables that are for us alone, which are removed from `environ`: our children must not speak for us."""
    return {name: environ.pop(name) for name in _OURS if name in environ}


def watchdog_interval(variables: dict[str, str]) -> float:
    """The seconds in which the watchdog wants to hear from us; 0 if there is none, or it is for another process."""
    if variables.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    text = variables.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isascii() and text.isdigit() else 0.0


def is_supervised(variables: dict[str, str]) -> bool:
    """Whether our parent is our supervisor."""
    return variables.get(SUPERVISOR) == str(os.getppid())


class Systemd:
    """The socket of the service manager."""

    def __init__(self, path: str) -> None:
        self._path = "\0" + path[1:] if path.startswith("@") else path

    def tell(self, facts: dict[str, str]) -> None:
        """Send one datagram. If nobody takes it, there is nothing else to do."""
        text = "\n".join(f"{name}={one_line(value)}" for name, value in facts.items())
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto(text.encode("utf-8", "replace"), self._path)


class Notifier:
    """Tells, twice a second, what has changed: by `tell(facts)`, named as in sd_notify(3).

    `status()` is a text for people. `is_alive(seconds)` is whether everything that should turn has turned within so
    many seconds: only then the watchdog is fed, which wants that once in `watchdog` seconds (0: there is none).
    """

    def __init__(
        self,
        tell: Callable[[dict[str, str]], None],
        watchdog: float,
        status: Callable[[], str],
        is_alive: Callable[[float], bool],
        clock: Any,
    ) -> None:
        self._tell = tell
        self.watchdog = watchdog
        self._every = min(LOOK_EVERY, watchdog / 4) if watchdog else LOOK_EVERY
        self._status = status
        self._is_alive = is_alive
        self._clock = clock
        self._phase = "starting"
        self._told = ""
        self._fed_at = self._extended_at = float("-inf")
        self._began_at = clock.seconds()
        self._call = LoopingCall(self._look)
        self._call.clock = clock

    def start(self) -> None:
        """We begin to start."""
        self._call.start(self._every)

    def ready(self) -> None:
        """We have started."""
        self._phase = "ready"
        self._look({"READY": "1"})

    def stopping(self) -> None:
        """We begin to stop."""
        self._phase = "stopping"
        self._extended_at = self._clock.seconds()  # systemd has just begun to count
        self._look({"STOPPING": "1"})

    def stop(self) -> None:
        """We have stopped."""
        if self._call.running:
            self._call.stop()

    def _look(self, facts: dict[str, str] | None = None) -> None:
        facts, now = dict(facts or {}), self._clock.seconds()
        status = "Stopping" if self._phase == "stopping" else self._status()
        if status != self._told:
            facts["STATUS"] = self._told = status
        starts = self._phase == "starting" and now - self._began_at < LONGEST_START
        if (starts or self._phase == "stopping") and now - self._extended_at >= EXTEND_EVERY:
            self._extended_at = now
            facts["EXTEND_TIMEOUT_USEC"] = f"{EXTENSION * 1e6:.0f}"
        half = self.watchdog / 2
        if half and now - self._fed_at >= half - self._every and self._is_alive(half):
            self._fed_at = now
            facts["WATCHDOG"] = "1"
        if facts:
            self._tell(facts)
