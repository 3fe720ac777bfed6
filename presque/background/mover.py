"""The mover: moves delayed jobs that have come due, and jobs whose hold has run out, into their live queues.

Taking jobs does the same for the queue taken from, so correctness never waits for this. It makes due jobs prompt, wakes
those who wait for them, and looks after queues from which nobody takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import DeferredList, ensureDeferred

from presque.redis.store import gather

if TYPE_CHECKING:
    from presque.jobs.queues import Queues

QUEUES_AT_ONCE = 1000  # queues looked at in one turn
PARTITIONS_AT_ONCE = 64  # looked at in one turn; where there are more, each has its turn later


class Mover:
    """Moves what is due in all partitions. A partition that fails does not keep the others waiting."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues
        self._next = 0  # the partition that the next turn begins with

    async def run_once(self) -> int:
        """One turn: moves a batch in each queue that is due. Returns how many jobs it moved, or how many queues it
        looked at if those are more, in the partition that has most. Raises what the first partition raised that failed.
        """
        count = min(self._queues.partitions, PARTITIONS_AT_ONCE)
        some = [(self._next + n) % self._queues.partitions for n in range(count)]
        self._next = (some[-1] + 1) % self._queues.partitions
        each = QUEUES_AT_ONCE // count  # a connection takes a bounded number of commands at once
        asked = [ensureDeferred(self._move_in(partition, each)) for partition in some]
        answers: list[tuple[bool, Any]] = await DeferredList(asked, consumeErrors=True)
        for is_done, result in answers:
            if not is_done:
                result.raiseException()
        return max(int(moved) for _, moved in answers)

    async def _move_in(self, partition: int, most: int) -> int:
        due = await self._queues.due(partition, most)
        moved: int = sum(await gather(self._queues.move(queue) for queue in due))
        return max(len(due), moved)
