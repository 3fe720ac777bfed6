"""What the processes that serve a store say of themselves, so that each of them can tell of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presque.redis.units import milliseconds

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from presque.redis.connection import Reply
    from presque.redis.store import Store

FRESH = 15.0  # seconds for which what a process says of itself counts
HOME = 0  # the partition where they say it


class Processes:
    """What the processes that serve this store say of themselves: an opaque text of each, by its id."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def publish(self, process: str, said: bytes) -> dict[str, bytes]:
        """Say this of a process, for the next FRESH seconds. Returns what each says."""
        return _by_process(await self._ask("publish_process", process.encode(), said))

    async def all(self) -> dict[str, bytes]:
        """What each process said last, unless that was long ago."""
        return _by_process(await self._ask("processes"))

    def _ask(self, verb: str, *args: bytes) -> Deferred[Reply]:
        return self._store.in_partition(verb, HOME, *args, b"%d" % milliseconds(FRESH))


def _by_process(flat: Reply) -> dict[str, bytes]:
    return {flat[n].decode(): flat[n + 1] for n in range(0, len(flat), 2) if flat[n + 1]}
