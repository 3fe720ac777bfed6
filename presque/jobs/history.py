"""What has happened to queues: rows of the last hour and of the last day, which a sampler writes once a minute.

A queue has a row only for a time in which it changed. So the others can be told from those before: nothing was counted,
and all was as at the end of the last row. Errors are those of `presque.jobs.queues`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from twisted.internet.task import deferLater

from presque.errors import UnknownQueue
from presque.redis.units import seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.defer import Deferred

    from presque.redis.connection import Reply
    from presque.redis.store import Store

MINUTE = 60  # seconds
MINUTES = 60  # rows of a minute
TENS = 144  # rows of ten minutes
TEN = 10  # minutes
ADDED = 8  # histories added up in a turn of the reactor, in some milliseconds
SAMPLED = 50  # queues that one script samples, in about a millisecond


_decode = msgspec.msgpack.Decoder(list[int], strict=False).decode

Figures = tuple[Any, ...]  # of a row: its members from `inserted` on
_EMPTY: Figures = (0, 0, 0, 0, 0, 0, 0, 0, None)


class Row(NamedTuple):
    """A time that began at `at` (epoch seconds), of which `minutes` have passed: jobs inserted, ended (delivered or
    acknowledged), attempts failed and jobs died; and at its end the jobs by state, and the age of the oldest ready one
    (seconds, None if there is none).
    """

    at: int
    minutes: int
    inserted: int
    ended: int
    failed: int
    died: int
    ready: int
    delayed: int
    leased: int
    dead: int
    oldest: int | None


class Past(NamedTuple):
    """The last hour in rows of a minute, and the last day in rows of ten minutes, the oldest first."""

    minutes: list[Row]
    tens: list[Row]


class Read(NamedTuple):
    """A history as it is stored: the last minute that was sampled (-1 if none was), the minute that ended last (both
    counted since the epoch), and field, row, field, row, …
    """

    sampled: int
    ended: int
    flat: list[bytes]

    def rows(self) -> tuple[list[list[int]], list[list[int]]]:
        """The rows of minutes, and those of ten minutes."""
        minutes: list[list[int]] = []
        tens: list[list[int]] = []
        for field, packed in zip(self.flat[::2], self.flat[1::2], strict=True):
            if field != b"last":
                (minutes if int(field) < MINUTES else tens).append(_decode(packed))
        return minutes, tens


class History:
    """The histories of all queues of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.partitions = store.partitions
        self.clock = store.clock

    def minute(self) -> int:
        """The minute that ended last by the Redis clock, counted since the epoch."""
        return int(self._store.now() // MINUTE) - 1

    def sample(self, partition: int, was_empty: bool) -> Deferred[tuple[bool, int, bool]]:
        """Sample SAMPLED queues of a partition, unless all were in this minute. `was_empty` says that it was seen
        without queues: so those that it has are new. Fires with whether there are more, the minute that it was about,
        and whether the partition is empty.
        """
        asked = self._store.in_partition("sample", partition, b"%d" % SAMPLED, b"1" if was_empty else b"")
        return asked.addCallback(lambda reply: (bool(reply[0]), reply[1], bool(reply[2])))

    async def of(self, queue: str) -> Past:
        """The history of a queue. Raises UnknownQueue."""
        exists, *reply = await self._store.on_queue("history", queue)
        if not exists:
            raise UnknownQueue
        read = _read(reply)
        sums = Sums(_last([read]))
        sums.add(read)
        return sums.past()

    async def of_all(self) -> tuple[Past, list[int]]:
        """The history of all queues together, and the partitions that did not answer, which it leaves out."""
        replies, missing = await self._store.where_there_is_an_answer("all_history")
        read = [_read(reply[1:]) for reply in replies.values()]
        sums = Sums(_last(read))
        for number, each in enumerate(read, 1):
            sums.add(each)
            if number % ADDED == 0:
                await deferLater(self._store.clock, 0)
        return sums.past(), missing


def _read(reply: Reply) -> Read:
    """What `history.lua` replies, but for its first part."""
    sampled, now, *flat = reply
    return Read(sampled, int(seconds(now) // MINUTE) - 1, flat)


def _last(read: Iterable[Read]) -> int:
    """The last minute that was sampled in all of these histories that are not far behind."""
    ended = max((each.ended for each in read), default=0)
    return min((each.sampled for each in read if ended - 2 <= each.sampled <= ended), default=ended)


class Sums:
    """The figures of several histories together, up to the minute `last`."""

    def __init__(self, last: int) -> None:
        self._last = last
        self._minutes, self._tens = [_EMPTY] * MINUTES, [_EMPTY] * TENS

    def add(self, read: Read) -> None:
        """Add a history."""
        minutes, tens = read.rows()
        # What was at the end of ten minutes was so at the end of the last of them.
        earlier = [[row[0] * TEN + TEN - 1, *row[1:]] for row in tens]
        self._minutes = _sums(self._minutes, _filled(minutes, earlier, self._last - MINUTES + 1, MINUTES, MINUTE))
        self._tens = _sums(self._tens, _filled(tens, [], self._last // TEN - TENS + 1, TENS, TEN * MINUTE))

    def past(self) -> Past:
        """All rows."""
        passed = [TEN] * (TENS - 1) + [self._last % TEN + 1]
        first, first_ten = self._last - MINUTES + 1, self._last // TEN - TENS + 1
        return Past(
            [Row(time * MINUTE, 1, *each) for time, each in enumerate(self._minutes, first)],
            [
                Row(time * TEN * MINUTE, minutes, *each)
                for time, (minutes, each) in enumerate(zip(passed, self._tens, strict=True), first_ten)
            ],
        )


def _filled(
    known: Iterable[list[int]], earlier: Iterable[list[int]], first: int, count: int, length: int
) -> list[Figures]:
    """The figures of `count` times of `length` seconds from `first` on, of which `known` has some. What was so before
    is told by `known` or `earlier`.
    """
    by_time = {row[0]: row for row in known}
    before = max(filter(lambda row: row[0] < first, (*earlier, *by_time.values())), default=None)
    filled = []
    for time in range(first, first + count):
        row = before = by_time.get(time, before)
        if row is None:
            filled.append(_EMPTY)
            continue
        counted = row[1:5] if row[0] == time else [0] * 4
        oldest = row[9] + (time - row[0]) * length if row[5] else None
        filled.append((*counted, *row[5:9], oldest))
    return filled


def _sums(some: Iterable[Figures], more: Iterable[Figures]) -> list[Figures]:
    return [
        (
            *map(sum, zip(one[:8], other[:8], strict=True)),
            max(one[8], other[8], key=lambda age: -1 if age is None else age),
        )
        for one, other in zip(some, more, strict=True)
    ]
