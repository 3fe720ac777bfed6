"""The unit of time in the store is the millisecond; everywhere else it is the second.

The data model and every script count in milliseconds. Whatever calls the store or reads its reply converts right there,
by these two functions; nothing above `presque.redis` multiplies or divides by a thousand. They are here and not in
`presque.jobs`, because it is the store that counts like that.
"""

from __future__ import annotations


def milliseconds(seconds: float) -> float:
    """How many milliseconds `seconds` are."""
    return seconds * 1000


def seconds(milliseconds: float) -> float:
    """How many seconds `milliseconds` are."""
    return milliseconds / 1000
