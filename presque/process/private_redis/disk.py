"""The free space under the private server's folder, looked at the oftener the sooner it may be gone.

A Redis that cannot write answers what it has taken in that moment all the same (with `appendfsync no`), and those jobs
die with it. So below a floor nothing is inserted any more, long before the disk is full, and what settles jobs goes on.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twisted.internet.interfaces import IDelayedCall

LONGEST = 1.0  # seconds between two looks
SHORTEST = 0.01  # seconds
LOOKS = 8  # until the floor could be reached, at the rate of the last looks or
MAY_FALL = 100e6  # bytes a second, which a load that begins now may write
FADES = 0.8  # what of a rate of fall is still reckoned with at the next look
BACK = 1.25  # times the floor must be free before there is room again


def free_bytes(folder: Path) -> int:
    """What may still be written there."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


class Room:
    """Says by `changed(low, free)` when the free space falls below `floor` bytes, and when there is room again."""

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
        self.free = 0  # bytes, when we looked last
        self._clock = clock
        self._changed = changed
        self._free = free
        self._rate = 0.0  # bytes a second by which it falls
        self._last: tuple[float, int] | None = None  # when we looked, and what was free
        self._next: IDelayedCall | None = None
        self._failed = False

    def start(self) -> None:
        """Look now, and from now on."""
        self.running = True
        self._look()

    def stop(self) -> None:
        """Look no more."""
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
        """One look: says so when it has changed. Returns in how many seconds to look again."""
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
