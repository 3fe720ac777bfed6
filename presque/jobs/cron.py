"""Times by the local clock of a place: a five-field cron expression in an IANA time zone.

`cronsim` parses an expression and finds dates and times that match it, as Debian's cron does. What a change of the
clock does to them is decided here, because cronsim's own rules go by the minute field too, miss times after changes of
half an hour, and may lead back in time within the hour that comes twice.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from presque.errors import InvalidSchedule

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST = 500  # characters of an expression; one that lists every value of every field has 372
LONGEST_ZONE = 64  # characters of a time zone's name

_MINUTE, _SECOND = timedelta(minutes=1), timedelta(seconds=1)
_STEP = timedelta(days=14)  # no zone changes its clock and changes it back within that
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LETTERS = re.compile(r"[0-9A-Za-z*/,#\- \t]+", re.ASCII)
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", re.ASCII)
_NO_ZONES = re.compile(r"(posix|right)/.*|posixrules|localtime|Factory")  # files beside the zones on some machines


class Cron:
    """An expression in a time zone. Times are epoch seconds, whole minutes of the zone's clock.

    With an hour of `*` or a step, it means each moment at which the clock shows a time that matches: a time that the
    clock skips does not come, and one that it shows twice comes twice. With any other hour each time comes once: one
    that the clock skips at the first moment after the gap, one that it shows twice the first time.

    Raises InvalidSchedule.
    """

    def __init__(self, expression: str, zone: str) -> None:
        self._zone = zone_of(zone)
        if len(expression) > LONGEST or not _LETTERS.fullmatch(expression):
            raise InvalidSchedule("cron has characters that no cron expression has, or too many")
        fields = expression.split()
        if len(fields) != 5:
            raise InvalidSchedule("cron must have five fields: minute, hour, day of month, month, day of week")
        self._expression = expression
        self._is_wildcard = "*" in fields[1] or "/" in fields[1]  # of the hour, as cron calls it
        try:
            CronSim(expression, datetime(2000, 1, 1))  # a time on the clock of the zone
        except CronSimError as wrong:
            raise InvalidSchedule(f"cron is not valid: {wrong}") from None

    def after(self, time: float) -> float | None:
        """The first time after `time`; None if there is none within 50 years."""
        moment = _EPOCH + timedelta(seconds=time)
        found = self._moment_after(moment) if self._is_wildcard else self._time_after(moment)
        return None if found is None else (found - _EPOCH).total_seconds()

    def _moment_after(self, moment: datetime) -> datetime | None:
        """The first moment at which the clock shows a matching time: while the clock does not change, local times and
        moments correspond, so the search goes from one change to the next.
        """
        start = self._shown(moment).replace(second=0, microsecond=0) + _MINUTE - self._offset(moment)
        start = start.replace(tzinfo=UTC)
        while True:
            offset = self._offset(start)
            shown = next(self._matching(_naive(start) + offset), None)
            if shown is None:
                return None
            found = (shown - offset).replace(tzinfo=UTC)
            change = self._change(start, found)
            if change is None:
                return found
            start = change

    def _time_after(self, moment: datetime) -> datetime | None:
        """The first time that comes after the moment, where each time comes once."""
        start = self._shown(moment).replace(second=0, microsecond=0) + _MINUTE
        for shown in self._matching(start):
            comes = self._comes(shown)
            if comes > moment:
                return comes
        return None

    def _comes(self, shown: datetime) -> datetime:
        """The moment at which the clock shows this time first, or passes over it."""
        earlier = shown.replace(tzinfo=self._zone).astimezone(UTC)
        if self._shown(earlier) == shown:
            return earlier
        # It is in a gap: `earlier`, by the offset before the gap, is a moment after it; the offset after the gap gives
        # a moment before it.
        before = shown.replace(tzinfo=self._zone, fold=1).astimezone(UTC)
        return self._change(before, earlier) or earlier

    def _matching(self, start: datetime) -> Iterator[datetime]:
        """The times on a clock without changes that match, from `start` on."""
        return CronSim(self._expression, start - _MINUTE)

    def _shown(self, moment: datetime) -> datetime:
        """What the clock shows."""
        return moment.astimezone(self._zone).replace(tzinfo=None, fold=0)

    def _offset(self, moment: datetime) -> timedelta:
        return moment.astimezone(self._zone).utcoffset() or timedelta()

    def _change(self, first: datetime, last: datetime) -> datetime | None:
        """The first moment after `first` and up to `last` at which the clock changes, to the second."""
        if self._zone.key == "UTC":
            return None
        offset = self._offset(first)
        while first < last:
            following = min(first + _STEP, last)
            if self._offset(following) != offset:
                while following - first > _SECOND:
                    middle = first + (following - first) // (2 * _SECOND) * _SECOND
                    first, following = (first, middle) if self._offset(middle) != offset else (middle, following)
                return following
            first = following
        return None


def zone_of(name: str) -> ZoneInfo:
    """The IANA time zone of that name. Raises InvalidSchedule."""
    if len(name) <= LONGEST_ZONE and _ZONE.fullmatch(name) and not _NO_ZONES.fullmatch(name):
        try:
            return ZoneInfo(name)
        except (ValueError, OSError, LookupError):  # no such zone, or a file or folder that is none
            pass
    raise InvalidSchedule("timezone is not the name of an IANA time zone")


def _naive(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)
