"""Fires the schedules whose time has come. Every daemon does; the script that fires one sees to it that it fires once.

A schedule that cannot be fired, because a later release made it or because its queue fails, blocks no other, and
neither does a partition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import DeferredList, ensureDeferred
from twisted.logger import Logger

from presque.errors import LaterSchedule

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from presque.jobs.schedules import Due, Schedules

SCHEDULES_AT_ONCE = 1000  # read in one turn
PARTITIONS_AT_ONCE = 64  # visited in one turn; further ones are visited in later turns
TOGETHER = 25  # schedules of a partition that are fired at the same time
MOST_REMEMBERED = 1000  # schedules that cannot be read, of which each is logged once


class Firing:
    """Fires due schedules in all partitions."""

    _log = Logger()

    def __init__(self, schedules: Schedules) -> None:
        self._schedules = schedules
        self._next = 0  # the first partition of the next turn
        self._unreadable: dict[tuple[str, str], bytes] = {}  # queue and name -> the definition that was logged

    async def run_once(self) -> int:
        """One turn: fire the schedules that are due. Returns how many times fired or were skipped, in the partition
        with the most. Raises the error of the first partition or schedule that failed.
        """
        count = min(self._schedules.partitions, PARTITIONS_AT_ONCE)
        some = [(self._next + n) % self._schedules.partitions for n in range(count)]
        self._next = (some[-1] + 1) % self._schedules.partitions
        asked = [ensureDeferred(self._fire_in(partition, SCHEDULES_AT_ONCE // count)) for partition in some]
        answers: list[tuple[bool, Any]] = await DeferredList(asked, consumeErrors=True)
        for is_done, result in answers:
            if not is_done:
                result.raiseException()
        return max(int(fired) for _, fired in answers)

    async def _fire_in(self, partition: int, limit: int) -> int:
        """Fire up to `limit` schedules of a partition. Returns how many times fired or were skipped."""
        done = left = 0
        wrong: Failure | None = None
        is_last = False
        while done + left < limit and not is_last:
            due = await self._schedules.due(partition, left, TOGETHER)
            asked = [ensureDeferred(self._fire(each)) for each in due]
            answers: list[tuple[bool, Any]] = await DeferredList(asked, consumeErrors=True)
            for is_done, result in answers:
                if is_done and result is not None:
                    done += result
                else:
                    left += 1
                    wrong = wrong or (None if is_done else result)
            is_last = len(due) < TOGETHER
        if wrong is not None:
            wrong.raiseException()
        return done

    async def _fire(self, due: Due) -> int | None:
        """Fire one. Returns how many times fired or were skipped; None if this release cannot read it: then it stays as
        it is.
        """
        try:
            return await self._schedules.fire(due)
        except LaterSchedule:
            key = due.queue, due.name
            if self._unreadable.get(key) != due.packed:
                self._log.warn("schedule {queue}/{name}: {why}", queue=key[0], name=key[1], why=LaterSchedule.message)
                if len(self._unreadable) >= MOST_REMEMBERED:
                    self._unreadable.clear()
                self._unreadable[key] = due.packed
            return None
