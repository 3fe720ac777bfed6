"""The list of all queues, over all partitions: their names, how many there are, and several in numbers.

A partition that gives no answer does not hold back what the others answer; the caller is told which ones are missing.
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

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from twisted.python.failure import Failure

    from presque.jobs.queues import Counts, Queues
    from presque.redis.store import Store

TOGETHER = 25  # queues told of together


class QueueList:
    """All queues of one store, by name."""

    def __init__(self, store: Store, queues: Queues) -> None:
        self._store = store
        self._queues = queues

    async def names(self, after: str = "", limit: int = MOST_AT_ONCE) -> tuple[list[str], list[int]]:
        """The sorted names of up to `limit` (1,000) queues that come after the name `after`, and which partitions gave
        no answer. Raises InvalidName.
        """
        if after:
            keys.check_name(after)
        replies, missing = await self._store.where_there_is_an_answer("names", after.encode(), b"%d" % limit)
        return [name.decode() for name in sorted(chain.from_iterable(replies.values()))[:limit]], missing

    async def all_names(self, missing: list[int]) -> AsyncIterator[list[str]]:
        """The names of all queues, sorted, up to 1,000 at a time. Adds to `missing` the partitions that give no answer;
        raises StoreUnavailable when none of them answers.
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
        """Several queues in numbers, by name, and which partitions gave no answer. One script call for each queue, up
        to TOGETHER at a time, so that other requests have their turn in between. Raises what the first one raised when
        none is answered.
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

    async def size(self) -> int:
        """How many queues there are, in the partitions that answer."""
        replies, _ = await self._store.where_there_is_an_answer("size")
        return sum(replies.values())
