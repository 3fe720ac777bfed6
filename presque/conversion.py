"""What is known of workers, converted from the form that it had before: see presque.keys.

Bounded scripts, one after another, each of which leaves a store that the next one can begin with; so it may break off,
and several daemons may do it at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from presque import keys

if TYPE_CHECKING:
    from presque.redis.store import Store

_log = Logger()


class Conversion:
    """The conversion of one store. `done` once there is nothing left in the old form."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._partition = 0

    @property
    def done(self) -> bool:
        """Whether there is nothing left in the old form."""
        return self._partition == self._store.partitions

    async def run_once(self) -> int:
        """Convert whatever there is. Returns how many registrations it converted."""
        converted = 0
        while not self.done:
            names = keys.old_workers_key(self._partition)
            some = await self._store.in_partition("convert_workers", self._partition, *names)
            converted += some
            if not some:
                self._partition += 1
        if converted:
            _log.info("converted {count} registrations of workers to their new form", count=converted)
        return converted
