"""The unit of time in the store is the millisecond; everywhere else it is the second.

The data model says so (`presque.redis.keys`), and so does every script. Whatever calls the store or reads a reply
converts right there, with these two functions; no other module multiplies or divides by a thousand.
"""

from __future__ import annotations


def milliseconds(seconds: float) -> float:
    """How many milliseconds `seconds` are."""
    return seconds * 1000


def seconds(milliseconds: float) -> float:
    """How many seconds `milliseconds` are."""
    return milliseconds / 1000
