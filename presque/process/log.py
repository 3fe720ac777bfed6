"""The log of a process: where its lines go, from which level on, and how often the same fault is told."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from twisted.logger import ILogObserver, LogLevel
from twisted.python.logfile import LogFile
from zope.interface import implementer

from presque.process import log_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.logger import LogEvent

EACH = 1.0  # seconds in which the same fault is told once


class Out(Protocol):
    """Where lines go: a binary stream, or a file of twisted.python.logfile."""

    def write(self, data: bytes, /) -> object:
        """Write bytes."""

    def flush(self) -> object:
        """Hand them to the kernel."""


class _Repeated:
    """A fault that was told a moment ago."""

    left_out = 0
    last: LogEvent | None = None  # the last one of those


@implementer(ILogObserver)
class Log:
    """Writes events as lines in `form` (text or json) from `level` on to `out`; to nowhere before `open`. What is told
    at level warn or above is told once a second for each fault, with the number of those that were left out. Events
    with `log_every` are exempt.
    """

    def __init__(self, form: str, level: str, clock: Any) -> None:
        self._form = form
        self._clock = clock
        self._out: Out | None = None
        self._line: Callable[[LogEvent], str] = log_lines.text
        self._repeated: dict[Any, _Repeated] = {}
        self.set_level(level)

    def set_level(self, level: str) -> None:
        """Write events of this level and above from now on."""
        self.level = level
        self._lowest = LogLevel.levelWithName(level)

    @property
    def is_open(self) -> bool:
        """Whether lines go anywhere."""
        return self._out is not None

    def open(self, out: Out, environ: Mapping[str, str]) -> None:
        """Write to `out`, with priorities if that is the journal."""
        self._out = out
        is_journal = is_journal_stream(out, environ)
        if self._form == "json":
            self._line = log_lines.as_json_in_journal if is_journal else log_lines.as_json
        else:
            self._line = log_lines.journal if is_journal else log_lines.text

    def open_as(self, twistd: Mapping[str, Any] | None) -> None:
        """Write where these options of twistd say. What makes a log of its own, --logger and --syslog, is left alone;
        so is twistd without `presque` (a .tac file, None), whose log is that of twistd.
        """
        if twistd is None or twistd.get("logger") or twistd.get("syslog"):
            return
        named = twistd.get("logfile") or ""
        if twistd.get("nodaemon") and named in ("", "-"):
            self.open(sys.stdout.buffer, os.environ)
        elif named != "-":  # which twistd refuses
            file: Any = LogFile.fromFullPath(named or "twistd.log")
            self.open(file, os.environ)
            if not signal.getsignal(signal.SIGUSR1):  # as twistd does
                signal.signal(signal.SIGUSR1, lambda *_: self._clock.callFromThread(file.rotate))

    def __call__(self, event: LogEvent) -> None:
        """Write an event, unless it is below our level or is repeated."""
        level = log_lines.level_of(event)
        if level < self._lowest:
            return
        if level >= LogLevel.warn and "log_every" not in event and _is_main_thread() and self._is_repeated(event):
            return
        self._write(event)

    def _is_repeated(self, event: LogEvent) -> bool:
        """Whether this fault was told a moment ago. If so, it is counted, and told when the moment is over."""
        failure = event.get("log_failure")
        kind = None if failure is None else failure.type
        fault = event.get("log_namespace"), event.get("log_level"), event.get("log_format"), event.get("name"), kind
        told = self._repeated.get(fault)
        if told is None:
            self._repeated[fault] = _Repeated()
            self._clock.callLater(EACH, self._again, fault)
            return False
        told.left_out += 1
        told.last = event
        return True

    def _again(self, fault: Any) -> None:
        """A second has passed since a fault was told: tell how often it came meanwhile."""
        told = self._repeated[fault]
        if told.last is None:
            del self._repeated[fault]
            return
        more = told.left_out - 1
        self._write(counted(told.last, more) if more else told.last)
        self._repeated[fault] = _Repeated()
        self._clock.callLater(EACH, self._again, fault)

    def flush(self) -> None:
        """Tell what was left out so far: the process ends."""
        for told in self._repeated.values():
            if told.last is not None:
                self._write(counted(told.last, told.left_out - 1) if told.left_out > 1 else told.last)
                told.left_out, told.last = 0, None

    def _write(self, event: LogEvent) -> None:
        self.write_line(self._line(event))

    def write_line(self, line: str) -> None:
        """Write a line, with its end. A full disk or a reader that has gone must not stop us: then it is lost."""
        if self._out is not None and line:
            with suppress(OSError, ValueError):
                self._out.write(line.encode("utf-8", "backslashreplace"))
                self._out.flush()


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def counted(event: LogEvent, more: int) -> LogEvent:
    """An event that says how many more like it were left out."""
    words = f"{event.get('log_format') or '{log_text}'} (and {{left_out}} more like this, left out)"
    return {**event, "log_format": words, "left_out": more}


def is_journal_stream(out: Out | BinaryIO, environ: Mapping[str, str]) -> bool:
    """Whether this is the stream that systemd has connected to the journal, see systemd.exec(5)."""
    try:
        device, inode = map(int, environ["JOURNAL_STREAM"].split(":"))
        found = os.fstat(out.fileno())  # type: ignore[union-attr]  # what has none raises AttributeError
    except (KeyError, ValueError, OSError, AttributeError):
        return False
    return (found.st_dev, found.st_ino) == (device, inode)
