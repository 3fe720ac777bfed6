"""How late timers are: what else the reactor does meanwhile holds up every request as long."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

TICK = 0.25  # seconds between two looks
WINDOW = 20  # looks of which the largest lateness is kept


class ReactorLag:
    """Looks every TICK how late it is."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._call: IDelayedCall | None = None
        self._expected = 0.0
        self._looks = 0
        self._largest = self._before = 0.0  # in this window, and in the one before

    def start(self) -> None:
        """Begin to look."""
        self._expected = self._clock.seconds() + TICK
        self._call = self._clock.callLater(TICK, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._call is not None and self._call.active():
            self._call.cancel()

    @property
    def seconds(self) -> float:
        """The largest lateness of the last one or two windows (seconds)."""
        return max(self._largest, self._before)

    def _look(self) -> None:
        self._largest = max(self._largest, self._clock.seconds() - self._expected)
        self._looks += 1
        if self._looks % WINDOW == 0:
            self._before, self._largest = self._largest, 0.0
        self.start()
