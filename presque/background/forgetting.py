"""Forgetting: registered workers that were silent for long are removed from all queues. Jobs that a queue keeps for
such a worker come back by their own deadline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from presque.redis.units import milliseconds

if TYPE_CHECKING:
    from presque.redis.store import Store

AT_ONCE = 100  # workers checked per turn and partition
SLOWEST = 60.0  # seconds, the longest interval between turns
SHARE = 10  # turns within the time after which a worker is forgotten


def tick(keep: float) -> float:
    """Seconds between turns, if workers are forgotten after `keep` seconds."""
    return min(SLOWEST, max(keep / SHARE, 0.1))


async def forget_silent(store: Store, keep: float) -> int:
    """One turn: forget workers that were silent in every partition for `keep` seconds. Returns the largest number of
    workers checked in one partition; AT_ONCE means that there may be more.
    """
    args = (b"%d" % milliseconds(keep), b"%d" % AT_ONCE)
    found, _ = await store.where_there_is_an_answer("silent_workers", *args)
    for partition, (before, *workers) in found.items():
        silent = await _not_seen_elsewhere(store, partition, before, workers)
        if silent:
            await store.in_partition("forget_workers", partition, before, *silent)
    return max(len(workers) for _, *workers in found.values())


async def _not_seen_elsewhere(store: Store, partition: int, before: bytes, workers: list[bytes]) -> list[bytes]:
    """The workers that were silent in all partitions; for the others, record in this one when they were last seen."""
    if not workers or store.partitions == 1:
        return workers
    silent = []
    replies = await store.everywhere("seen_workers", *workers)
    for worker, times in zip(workers, zip(*replies, strict=True), strict=True):
        seen = max((int(float(time)) for time in times if time), default=0)
        if seen <= int(before):
            silent.append(worker)
        else:
            await store.in_partition("see_worker", partition, worker, b"%d" % seen)
    return silent
