"""The times of a schedule: when it fires, and what becomes of times that were missed.

Times are epoch seconds.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from presque.errors import InvalidSchedule
from presque.jobs.cron import Cron, zone_of
from presque.redis.units import milliseconds, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORTEST, LONGEST = 1, 366 * 86400  # seconds between two times of a schedule with `every`
GRACE = 60.0  # seconds after which a time counts as missed, where missed ones are skipped
MOST_MADE_UP = 100  # missed times for which jobs are inserted afterwards; the last ones
_WIDER = 3  # factor by which the search for those times goes further back each time

_cron = lru_cache(maxsize=1024)(Cron)


class Definition(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """When a schedule fires: at the times of `cron` in `timezone`, or at intervals of `every` seconds. `misfire` says
    what becomes of times at which no daemon ran or the store was away, `overlap` whether a job is inserted while the
    last one is unfinished.
    """

    cron: str | None = None
    every: float | None = None
    timezone: str = "UTC"
    misfire: Literal["once", "skip", "all"] = "once"
    overlap: Literal["allow", "skip"] = "allow"
    paused: bool = False


class Step(NamedTuple):
    """What becomes of a time that has come: whether it fires, and the time that follows."""

    fires: bool
    following: float | None


@lru_cache(maxsize=1024)
def check(definition: Definition) -> None:
    """Raise InvalidSchedule unless the definition is valid."""
    if (definition.cron is None) == (definition.every is None):
        raise InvalidSchedule("give exactly one of cron and every")
    zone_of(definition.timezone)
    if definition.cron is not None and Cron(definition.cron, definition.timezone).after(0) is None:
        raise InvalidSchedule("cron never matches")
    if definition.every is not None and not SHORTEST <= definition.every <= LONGEST:
        raise InvalidSchedule(f"every must be from {SHORTEST} to {LONGEST} seconds")


def after(definition: Definition, time: float, at: float | None = None) -> float | None:
    """The first time after `time`; None if there is none. Intervals are counted from `at`, one of its times, so that
    they do not drift; without it from `time`.
    """
    if definition.cron is not None:
        return _cron(definition.cron, definition.timezone).after(time)
    every, begun = _step(definition), _ms(time if at is None else at)
    return seconds(begun + every * ((_ms(time) - begun) // every + 1))


def pending(definition: Definition, at: float, now: float, limit: int) -> list[float]:
    """The times from `at`, which is one of them, to `now`; the last `limit` if there are more."""
    if definition.cron is None:
        every, first = _step(definition), _ms(at)
        count = (_ms(now) - first) // every + 1
        return [seconds(first + every * n) for n in range(max(0, count - limit), count)]
    span = 60.0 * limit
    while (start := now - span) > at:
        times = deque(_between(definition, start, now), maxlen=limit)
        if len(times) == limit:
            return list(times)
        span *= _WIDER
    return list(deque(chain([at], _between(definition, at, now)), maxlen=limit))


def _between(definition: Definition, time: float, last: float) -> Iterator[float]:
    found = after(definition, time)
    while found is not None and found <= last:
        yield found
        found = after(definition, found)


def plan(definition: Definition, at: float, now: float) -> list[Step]:
    """What becomes of the time `at`, which has come, and of those that have come since: one or more steps, in order.
    When several times have come, `once` fires once for all of them.
    """
    following = after(definition, at, at)
    if definition.misfire == "all" and following is not None and following <= now:
        times = pending(definition, at, now, MOST_MADE_UP)
        return [Step(True, next_at) for _, next_at in pairwise([*times, after(definition, now, at)])]
    fires = definition.misfire != "skip" or now - pending(definition, at, now, 1)[-1] <= GRACE
    return [Step(fires, following if following is None or following > now else after(definition, now, at))]


def _ms(time: float) -> int:
    return round(milliseconds(time))


def _step(definition: Definition) -> int:
    return _ms(definition.every or LONGEST)
