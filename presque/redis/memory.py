"""How full the memory of Redis is. Insertions are refused before it is full, so that jobs can still be settled: a
failed attempt, for example, takes some memory too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from presque.redis.store import Store

LOOK_EVERY = 0.25  # seconds; as long may insertions be refused after Redis has got room
CLOSED = 1  # bytes: the `maxmemory` by which a private server refuses insertions, see presque.process.private_redis


class Memory:
    """The memory of the Redis of `store`, up to `share` (of 1) of its `maxmemory`."""

    def __init__(self, store: Store, share: float) -> None:
        self._store = store
        self._share = share
        self.used: int | None = None  # bytes; None while unknown
        self.most: int | None = None  # bytes, the `maxmemory`; None while there is none

    @property
    def is_closed(self) -> bool:
        """Whether the private server refuses insertions because its disk is nearly full."""
        return self.most == CLOSED

    async def look(self) -> int:
        """Ask Redis, and tell the store. Returns 0."""
        self.used = self.most = None
        for connection in self._store.topology.connections:
            try:
                text: bytes = await connection.execute_command("INFO", "memory")
            except Exception:
                if connection.connected:
                    raise
                continue  # Redis is away, which others log
            facts = dict(line.split(b":", 1) for line in text.splitlines() if b":" in line)
            self.used, self.most = int(facts[b"used_memory"]), int(facts[b"maxmemory"]) or None
        self._store.is_nearly_full = (
            self.used is not None and self.most not in (None, CLOSED) and self.used >= self.most * self._share
        )
        return 0
