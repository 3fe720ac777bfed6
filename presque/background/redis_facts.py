"""What Redis says of itself, read in the background, so that no request has to ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presque.errors import StoreError

if TYPE_CHECKING:
    from presque.redis.store import Store

EVERY = 2.0  # seconds between readings


class RedisFacts:
    """What Redis said last, `facts` by the names of its INFO; empty while it is away."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.facts: dict[str, str] = {}

    async def run_once(self) -> int:
        """Read what it says now. Returns 0."""
        try:
            self.facts = await self._store.info()
        except StoreError:
            self.facts = {}
            raise
        return 0
