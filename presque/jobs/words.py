"""Facts in words, for sentences that tell an operator why something is as it is."""

from __future__ import annotations

from datetime import UTC, datetime

from presque.redis.units import seconds

LAST_DATE = 253402300799  # epoch seconds: the last one whose year has four digits


def unasked_since(unasked: int) -> str:
    """That nobody has asked for jobs, since `unasked` (epoch ms) or, if that is 0, ever, in words."""
    return f"nobody has asked for jobs since {clock(seconds(unasked))}" if unasked else "nobody has asked for jobs yet"


def number(count: int, what: str) -> str:
    """How many of something, in words."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def clock(at: float) -> str:
    """A time (epoch seconds) in words."""
    if at > LAST_DATE:
        return f"{at:.0f} (epoch seconds)"
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
