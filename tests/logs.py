"""What is logged during a test."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from twisted.logger import globalLogPublisher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def logged(pick: Callable[[dict[str, Any]], Any]) -> Iterator[list[Any]]:
    """What `pick` makes of each event that is logged meanwhile, where that is not None."""
    found: list[Any] = []

    def note(event: dict[str, Any]) -> None:
        if (picked := pick(event)) is not None:
            found.append(picked)

    globalLogPublisher.addObserver(note)
    try:
        yield found
    finally:
        globalLogPublisher.removeObserver(note)


def exception(event: dict[str, Any]) -> BaseException | None:
    """The exception that an event is about."""
    failure = event.get("log_failure")
    return None if failure is None else failure.value
