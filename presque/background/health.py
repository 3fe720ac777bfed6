"""Whether this process can serve, from what runs anyway: no check asks Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presque.redis.condition import OK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.internet.interfaces import IReactorTime

    from presque.background.loop import Loop
    from presque.redis.condition import Condition

LATE = 1.0  # seconds beyond its interval after which the mover counts as blocked
WATCHED = ("the beat", "mover", "schedules")  # loops of which no turn may hang

_DRAINING = "presque is stopping: it finishes the requests that it has; send new ones elsewhere"


class Health:
    """The health of a process. `is_draining` from the moment that it begins to stop."""

    def __init__(self, condition: Condition, loops: Mapping[str, Loop], clock: IReactorTime) -> None:
        self._condition = condition
        self._loops = loops
        self._clock = clock
        self.is_draining = False

    def checks(self) -> dict[str, str]:
        """The checks, by name: "ok", or a sentence that says what is wrong and what to do."""
        found = self._condition.checks()
        found["mover"] = self._blocked() if found["store"] == OK else "waits for the store"
        found["draining"] = _DRAINING if self.is_draining else OK
        return found

    def trouble(self) -> str:
        """The first check that fails, and why; empty if all are well."""
        return next((f"{name}: {why}" for name, why in self.checks().items() if why != OK), "")

    def is_turning(self, patience: float) -> bool:
        """Whether the loops turn: none that should have turned `patience` seconds ago has not, even if in vain."""
        now = self._clock.seconds()
        watched = (self._loops[name] for name in WATCHED)
        return all(not loop.running or now - loop.turned_at <= loop.tick + patience for loop in watched)

    def _blocked(self) -> str:
        mover = self._loops["mover"]
        late = self._clock.seconds() - mover.worked_at
        if late <= mover.tick + LATE or not mover.running:
            return OK
        error = mover.last.error if mover.last is not None else ""
        why = error.partition("(")[0] or "its last turn has not ended"  # of an exception its kind: anybody may ask
        return f"the mover has not done its work for {late:.1f} s ({why}): due jobs may wait; see the log"
