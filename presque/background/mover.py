"""The mover: moves delayed jobs that have come due, and jobs whose hold or lease has run out, to the front, and ends
expired ones.

Taking jobs does the same for the queue taken from, so correctness does not depend on the mover. It makes due jobs
prompt, wakes consumers that wait for them, and maintains queues from which nobody takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import DeferredList, ensureDeferred

from presque.redis.store import gather

if TYPE_CHECKING:
    from presque.jobs.queues import Queues

QUEUES_AT_ONCE = 1000  # queues moved in one turn
PARTITIONS_AT_ONCE = 64  # visited in one turn; further ones are visited in later turns


class Mover:
    """Moves due jobs in all partitions. A partition that fails does not block the others."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues
        self._next = 0  # the first partition of the next turn

    async def run_once(self) -> int:
        """One turn: move a batch in each queue that is due. Returns the number of moved jobs, or of queues if that is
        larger, in the partition where it is largest. Raises the error of the first partition that failed.
        """
        count = min(self._queues.partitions, PARTITIONS_AT_ONCE)
        some = [(self._next + n) % self._queues.partitions for n in range(count)]
        self._next = (some[-1] + 1) % self._queues.partitions
        each = QUEUES_AT_ONCE // count  # a connection accepts a bounded number of commands
        asked = [ensureDeferred(self._move_in(partition, each)) for partition in some]
        answers: list[tuple[bool, Any]] = await DeferredList(asked, consumeErrors=True)
        for is_done, result in answers:
            if not is_done:
                result.raiseException()
        return max(int(moved) for _, moved in answers)

    async def _move_in(self, partition: int, limit: int) -> int:
        due = await self._queues.due(partition, limit)
        moved: int = sum(await gather(self._queues.move(queue) for queue in due))
        return max(len(due), moved)
