"""Conversion of worker data from its previous form: see presque.redis.keys.

It runs bounded scripts one after another. Each leaves the store in a state from which the next can start, so the
conversion may be interrupted, and several daemons may run it at the same time.
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
    """The conversion of one store. It is `done` once nothing is left in the old form, as the store's record says."""

    def __init__(self, store: Store, record: Record) -> None:
        self._store = store
        self._record = record
        self._partition = 0

    @property
    def done(self) -> bool:
        """Whether nothing is left in the old form."""
        return self._record.has_new_workers

    async def run_once(self) -> int:
        """Convert everything in the old form. Returns the number of converted registrations."""
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
