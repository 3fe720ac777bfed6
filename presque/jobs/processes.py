"""What the processes that serve a store say of themselves, so that each of them can tell of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presque.redis.units import milliseconds

if TYPE_CHECKING:
    from presque.redis.store import Store

FRESH = 15.0  # seconds for which what a process says of itself counts
HOME = 0  # the partition where they say it


class Processes:
    """What the processes that serve this store say of themselves: an opaque text of each, by its id."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def publish(self, process: str, said: bytes) -> None:
        """Say this of a process, for the next FRESH seconds."""
        fresh = b"%d" % milliseconds(FRESH)
        await self._store.in_partition("publish_process", HOME, process.encode(), said, fresh)

    async def all(self) -> dict[str, bytes]:
        """What each process said last, unless that was long ago."""
        flat = await self._store.in_partition("processes", HOME, b"%d" % milliseconds(FRESH))
        return {flat[n].decode(): flat[n + 1] for n in range(0, len(flat), 2) if flat[n + 1]}
