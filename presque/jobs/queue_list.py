"""The list of all queues in all partitions: their names, their number, and the counts of several.

Partitions that do not answer do not block the others; the caller learns which ones are missing.
Errors are those of `presque.jobs.queues`.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import DeferredList

from presque.errors import StoreError, StoreUnavailable
from presque.jobs.pages import answering, merged
from presque.jobs.queues import MOST_AT_ONCE
from presque.redis import keys
from presque.redis.units import seconds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from twisted.python.failure import Failure

    from presque.jobs.queues import Counts, Queues
    from presque.redis.store import Store

TOGETHER = 25  # queues counted at the same time


class QueueList:
    """All queues of one store, by name."""

    def __init__(self, store: Store, queues: Queues) -> None:
        self._store = store
        self._queues = queues

    async def names(self, after: str = "", limit: int = MOST_AT_ONCE) -> tuple[list[str], list[int]]:
        """The sorted names of up to `limit` (1,000) queues after the name `after`, and the partitions that did not
        answer. Raises InvalidName.
        """
        if after:
            keys.check_name(after)
        replies, missing = await self._store.where_there_is_an_answer("names", after.encode(), b"%d" % limit)
        return [name.decode() for name in sorted(chain.from_iterable(replies.values()))[:limit]], missing

    async def all_names(self, missing: list[int]) -> AsyncIterator[list[str]]:
        """The names of all queues, sorted, up to 1,000 at a time. Adds to `missing` the partitions that do not answer;
        raises StoreUnavailable when none answers.
        """
        some = []
        streams = [
            answering(partition, self._names_in(partition), missing) for partition in range(self._store.partitions)
        ]
        async for name, _ in merged(streams):
            some.append(name.decode())
            if len(some) == MOST_AT_ONCE:
                yield some
                some = []
        if len(missing) == self._store.partitions:
            raise StoreUnavailable
        yield some

    async def _names_in(self, partition: int) -> AsyncIterator[tuple[bytes, None]]:
        page, is_last = [b""], False
        while not is_last:
            page = await self._store.in_partition("names", partition, page[-1], b"%d" % MOST_AT_ONCE)
            is_last = len(page) < MOST_AT_ONCE
            for name in page:
                yield name, None

    async def overview(self, names: Sequence[str]) -> tuple[dict[str, Counts], list[int]]:
        """The counts of several queues, by name, and the partitions that did not answer. One script call per queue, up
        to TOGETHER at a time, so that other requests get their turns in between. Raises the first error when no call
        is answered.
        """
        counts: dict[str, Counts] = {}
        missing: dict[int, Failure] = {}
        for first in range(0, len(names), TOGETHER):
            some = names[first : first + TOGETHER]
            answers: list[tuple[bool, Any]] = await DeferredList(map(self._queues.counts, some), consumeErrors=True)
            for name, (is_answer, answer) in zip(some, answers, strict=True):
                if is_answer:
                    counts[name] = answer
                else:
                    answer.trap(StoreError)
                    missing[keys.partition_of(name, self._store.partitions)] = answer
        if missing and not counts:
            next(iter(missing.values())).raiseException()
        return counts, sorted(missing)

    async def lag(self) -> tuple[float, list[int]]:
        """For how long the most overdue queue has waited for the mover (seconds), and the partitions that did not
        answer.
        """
        replies, missing = await self._store.where_there_is_an_answer("lag")
        return seconds(max(replies.values())), missing

    async def size(self) -> int:
        """The number of queues in the partitions that answer."""
        replies, _ = await self._store.where_there_is_an_answer("size")
        return sum(replies.values())
