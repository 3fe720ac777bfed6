"""The unit of time in the store is the millisecond; everywhere else it is the second.

The data model and every script count in milliseconds. Code that calls the store or reads its reply converts there,
with these two functions; nothing else above `presque.redis` multiplies or divides by a thousand. They are here and not
in `presque.jobs` because milliseconds are the store's unit.
"""

from __future__ import annotations


def milliseconds(seconds: float) -> float:
    """Convert seconds to milliseconds."""
    return seconds * 1000


def seconds(milliseconds: float) -> float:
    """Convert milliseconds to seconds."""
    return milliseconds / 1000
