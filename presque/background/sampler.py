"""The sampler: once a minute it adds a row to the history of each queue that has changed, and to that of all together.

Every daemon runs it; the script that samples sees to it that each row is written once. It reads the facts of every
queue, a few of them in each script, one script after another, so that it delays nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.task import deferLater

from presque.errors import StoreError

if TYPE_CHECKING:
    from presque.jobs.history import History

EVERY = 5.0  # seconds between turns, most of which have nothing to do
AT_ONCE = 20  # scripts in a turn; it can be stopped after each turn
PAUSE = 0.005  # seconds between two scripts, of which each takes Redis a millisecond at most: so others wait for few


class Sampler:
    """Samples the queues of all partitions. A partition that fails does not block the others."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._sampled: dict[int, int] = {}  # partition -> the minute that is done
        self._empty = set[int]()  # partitions without queues in that minute

    async def run_once(self) -> int:
        """One turn: up to AT_ONCE scripts sample what nobody has sampled in this minute. Returns how many they were.
        Raises the error of the first partition that failed.
        """
        minute = self._history.minute()
        scripts = 0
        failed: StoreError | None = None
        for partition in range(self._history.partitions):
            try:
                while self._sampled.get(partition) != minute and scripts < AT_ONCE:
                    scripts += 1
                    has_more, about, is_empty = await self._history.sample(partition, partition in self._empty)
                    if not has_more:
                        self._sampled[partition] = about
                        (self._empty.add if is_empty else self._empty.discard)(partition)
                        break
                    await deferLater(self._history.clock, PAUSE)
            except StoreError as wrong:
                failed = failed or wrong
        if failed is not None:
            raise failed
        return scripts
