"""The figures of queues, and of all of them together.

The figures of one queue are read by one script, so they are of one moment: of what was inserted, everything is there or
has ended in one way that was counted. Queues are read two dozen at a time, so that no script is long, and others get
their turns in between.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import translate
from typing import TYPE_CHECKING

from presque.jobs.counters import BUCKETS, COUNTED
from presque.jobs.queues import MOST_AT_ONCE
from presque.redis import keys
from presque.redis.units import seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from presque.jobs.queue_list import QueueList
    from presque.redis.connection import Reply
    from presque.redis.store import Store

TOGETHER = 25  # queues read by one script
MOST_NAMED = 200  # queues that are told by name
EACH, SUMMED = b"", b"1"


@dataclass(frozen=True)
class Times:
    """How long jobs waited or ran: the sum (seconds), and how many there were by bucket: see BOUNDS."""

    total: float
    buckets: Sequence[int]

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.buckets)


@dataclass(frozen=True)
class QueueFigures:
    """The figures of a queue, or of several, summed up.

    `counters` are those of `presque.jobs.counters`, and `inserted`. `oldest` is the age of the oldest ready job
    (seconds), 0 if none is ready; of several queues, of the oldest of all.
    """

    queues: int
    paused: int
    ready: int
    delayed: int
    leased: int
    dead: int
    oldest: float
    counters: Mapping[str, int]

    def times(self, name: str) -> Times:
        """How long jobs waited (wait), or ran (run)."""
        return _times(self.counters, name)


def _times(counters: Mapping[str, int], name: str) -> Times:
    return Times(seconds(counters.get(name, 0)), [counters.get(f"{name}{bucket}", 0) for bucket in BUCKETS])


NOTHING = QueueFigures(0, 0, 0, 0, 0, 0, 0.0, dict.fromkeys(("inserted", *COUNTED), 0))


@dataclass(frozen=True)
class StoreFigures:
    """The figures of all queues: of some by name, and of the `others`. `wait` and `run` are of all, and of those that
    were deleted.
    """

    named: Mapping[str, QueueFigures]
    others: QueueFigures
    wait: Times
    run: Times


class QueuesFigures:
    """Reads the figures of queues. Of those whose names match `pattern`, as in a shell, the first MOST_NAMED are told
    by name. Errors are those of `presque.jobs.queues`.
    """

    def __init__(self, store: Store, queue_list: QueueList, pattern: str) -> None:
        self._store = store
        self._queue_list = queue_list
        self._matches = re.compile(translate(pattern)).match
        self._is_any = pattern == "*"

    async def of(self, queue: str) -> QueueFigures:
        """The figures of one queue, zeros if it does not exist. Raises InvalidName."""
        keys.check_name(queue)
        rows = await self._read(keys.partition_of(queue, self._store.partitions), EACH, [queue])
        return _figures(rows[0]) if rows else NOTHING

    async def of_all(self) -> StoreFigures:
        """The figures of all queues."""
        names = await self._named()
        named = {}
        for queue in names:
            if (found := await self.of(queue)).queues:
                named[queue] = found
        others = await self._of_others(set(names))
        past = await self._past()
        every = [*(each.counters for each in named.values()), others.counters, past]
        wait, run = (_times(_summed(every), name) for name in ("wait", "run"))
        return StoreFigures(named, others, wait, run)

    async def _named(self) -> list[str]:
        """The queues that are told by name."""
        if self._is_any:
            return (await self._queue_list.names(limit=MOST_NAMED))[0]
        found: list[str] = []
        async for page in self._queue_list.all_names([]):
            found += filter(self._matches, page)
            if len(found) >= MOST_NAMED:
                break
        return found[:MOST_NAMED]

    async def _of_others(self, named: set[str]) -> QueueFigures:
        sums: list[Reply] = []
        for partition in range(self._store.partitions):
            after, is_last = b"", False
            while not is_last:
                page = await self._store.in_partition("names", partition, after, b"%d" % MOST_AT_ONCE)
                is_last = len(page) < MOST_AT_ONCE
                after = after if is_last else page[-1]
                left = [name.decode() for name in page if name.decode() not in named]
                for first in range(0, len(left), TOGETHER):
                    sums += await self._read(partition, SUMMED, left[first : first + TOGETHER])
                sums = [_added(sums)] if sums else []
        return _figures(sums[0]) if sums else NOTHING

    async def _read(self, partition: int, how: bytes, names: Sequence[str]) -> list[Reply]:
        rows: list[Reply] = await self._store.in_partition(
            "figures", partition, how, *[each.encode() for each in names]
        )
        return rows

    async def _past(self) -> dict[str, int]:
        """The times of deleted queues."""
        flat = await self._store.everywhere("past_timings")
        return _summed([{each[n].decode(): int(each[n + 1]) for n in range(0, len(each), 2)} for each in flat])


AGE = 6  # which figure of a row is the age of the oldest ready job


def _added(rows: Sequence[Reply]) -> Reply:
    """Rows of `figures.lua`, summed up."""
    return [max(column) if at == AGE else sum(column) for at, column in enumerate(zip(*rows, strict=True))]


def _figures(row: Reply) -> QueueFigures:
    queues, paused, ready, delayed, leased, dead, age, *counted = row
    counters = dict(zip(("inserted", *COUNTED), counted, strict=True))
    return QueueFigures(queues, paused, ready, delayed, leased, dead, seconds(max(0, age)), counters)


def _summed(several: Iterable[Mapping[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in several:
        for name, value in each.items():
            found[name] = found.get(name, 0) + value
    return found
