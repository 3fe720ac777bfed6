"""The limits of a daemon: how much of each is in use, and how often something was refused because of it.

Each has a name, which is the same in `docs/limits.md`, in the log and in the metrics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.internet.interfaces import IReactorTime

LOG_EVERY = 1.0  # seconds between two log lines about one limit


@dataclass
class Limit:
    """A limit. `most` is None where there is none, or where each queue has its own; `use` tells how much is in use."""

    name: str
    most: float | None
    option: str  # that changes it, or empty
    use: Callable[[], float | None] = lambda: None
    refused: int = 0
    logged_at: float | None = None
    left_out: int = 0  # refusals since the last log line

    @property
    def used(self) -> float | None:
        """How much is in use now; None where that has no meaning."""
        return self.use()


class Limits:
    """All limits, by name."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._by_name: dict[str, Limit] = {}

    def add(
        self, name: str, most: float | None, option: str = "", use: Callable[[], float | None] = lambda: None
    ) -> None:
        """Add a limit, before it is reached."""
        self._by_name[name] = Limit(name, most, option, use)

    def __iter__(self) -> Iterator[Limit]:
        return iter(self._by_name.values())

    def __getitem__(self, name: str) -> Limit:
        return self._by_name[name]

    def refuse(self, name: str, is_logged: bool = True) -> None:
        """Count a refusal, and log it, unless there was a line about this limit within LOG_EVERY."""
        limit = self._by_name.get(name)
        if limit is None:
            limit = self._by_name[name] = Limit(name, None, "")
        limit.refused += 1
        if not is_logged:
            return
        now = self._clock.seconds()
        if limit.logged_at is not None and now - limit.logged_at < LOG_EVERY:
            limit.left_out += 1
            return
        since = f" ({limit.left_out} more since the last such line)" if limit.left_out else ""
        most = "" if limit.most is None else f" of {limit.most:.15g}"
        option = f", see {limit.option}" if limit.option else ""
        limit.logged_at, limit.left_out = now, 0
        self._log.warn("limit reached: {name}{most}{option}{since}", name=name, most=most, option=option, since=since)
