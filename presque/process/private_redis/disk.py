"""The free space for the private server's folder, checked more often the sooner it may run out.

A Redis that cannot write still acknowledges the commands of that moment (with `appendfsync no`), and those jobs die
with it. So below a floor, long before the disk is full, insertions are refused, while settling jobs continues.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twisted.internet.interfaces import IDelayedCall

LONGEST = 1.0  # seconds, the longest interval between checks
SHORTEST = 0.01  # seconds, the shortest
LOOKS = 8  # checks before the floor could be reached, at the measured rate of fall or at
MAY_FALL = 100e6  # bytes per second, which a new load may write
FADES = 0.8  # factor by which the rate of fall decays per check
BACK = 1.25  # this multiple of the floor must be free before insertions are accepted again


def free_bytes(folder: Path) -> int:
    """Bytes that can still be written to the file system of `folder`."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


class Room:
    """Calls `changed(low, free)` when the free space falls below `floor` bytes, and when it has recovered."""

    _log = Logger()

    def __init__(
        self,
        folder: Path,
        floor: int,
        clock: Any,
        changed: Callable[[bool, int], None],
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self.folder = folder
        self.floor = floor
        self.running = False
        self.low = False
        self.free = 0  # bytes, at the last check
        self._clock = clock
        self._changed = changed
        self._free = free
        self._rate = 0.0  # bytes per second by which the free space falls
        self._last: tuple[float, int] | None = None  # time and free bytes of the last check
        self._next: IDelayedCall | None = None
        self._failed = False

    def start(self) -> None:
        """Start checking, now and repeatedly."""
        self.running = True
        self._look()

    def stop(self) -> None:
        """Stop checking."""
        self.running = False
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None

    def _look(self) -> None:
        self._next, wait = None, LONGEST
        try:
            wait = self.look()
            self._failed = False
        except Exception:
            if not self._failed:
                self._log.failure("cannot read the free space of {folder}", folder=str(self.folder))
            self._failed = True
        finally:
            if self.running:
                self._next = self._clock.callLater(wait, self._look)

    def look(self) -> float:
        """Check once, and call `changed` if necessary. Returns the seconds until the next check."""
        free, now = self._free(self.folder), self._clock.seconds()
        if self._last is not None and now > self._last[0]:
            fell = (self._last[1] - free) / (now - self._last[0])
            self._rate = max(fell, self._rate * FADES, 0.0)
        self._last, self.free = (now, free), free
        low = free < self.floor * (BACK if self.low else 1)
        if low != self.low:
            self.low = low
            self._changed(low, free)
        if low:
            return LONGEST / 4
        return min(LONGEST, max(SHORTEST, (free - self.floor) / max(self._rate, MAY_FALL) / LOOKS))
