"""What is known of workers, converted from the form that it had before: see presque.redis.keys.

Bounded scripts, one after another, each of which leaves a store that the next one can begin with; so it may break off,
and several daemons may do it at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger

from presque.redis import keys
from presque.redis.store import gather

if TYPE_CHECKING:
    from presque.redis.record import Record
    from presque.redis.store import Store

_log = Logger()

AT_ONCE = 256  # partitions


class Conversion:
    """The conversion of one store. `done` once nothing is left in the old form, as the store's record notes."""

    def __init__(self, store: Store, record: Record) -> None:
        self._store = store
        self._record = record
        self._partition = 0

    @property
    def done(self) -> bool:
        """Whether there is nothing left in the old form."""
        return self._record.has_new_workers

    async def run_once(self) -> int:
        """Convert whatever there is. Returns how many registrations it converted."""
        converted = 0
        if self.done:
            return 0
        while self._partition < self._store.partitions:
            some = range(self._partition, min(self._partition + AT_ONCE, self._store.partitions))
            counts = await gather(ensureDeferred(self._convert(partition)) for partition in some)
            converted += sum(counts)
            self._partition = some.stop
        await self._record.note_new_workers(self._store)
        if converted:
            _log.info("converted {count} worker registrations to the new form", count=converted)
        return converted

    async def _convert(self, partition: int) -> int:
        converted = 0
        while some := await self._store.in_partition("convert_workers", partition, *keys.old_workers_key(partition)):
            converted += some
        return converted
