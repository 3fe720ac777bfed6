"""The mover: moves delayed jobs that have come due, and jobs whose hold has run out, into their live queues.

Taking jobs does the same for the queue taken from, so correctness never waits for this. It makes due jobs prompt, wakes
those who wait for them, and looks after queues from which nobody takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from presque.redis.store import gather

if TYPE_CHECKING:
    from presque.queues import Queues

QUEUES_AT_ONCE = 1000  # queues looked at in one turn, a partition


async def move_due(queues: Queues) -> int:
    """One turn: moves a batch in each queue that is due. Returns how many jobs it moved, or how many queues it looked
    at if those are more; MOST_AT_ONCE is a lot.
    """
    moved = 0
    for partition in range(queues.partitions):
        due = await queues.due(partition, QUEUES_AT_ONCE)
        moved += max(len(due), sum(await gather(queues.move(queue) for queue in due)))
    return moved
