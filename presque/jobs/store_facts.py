"""What Redis says of itself, as far as an operator needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from presque.redis.store import Store


class StoreFacts(NamedTuple):
    """What Redis says of itself. `memory_limit` (bytes) is 0 if there is none."""

    memory: int
    memory_limit: int
    is_writable: bool
    delayed_fsyncs: int


async def store_facts(store: Store) -> StoreFacts:
    """What Redis says of itself now."""
    said = await store.info()
    memory, limit = int(said.get("used_memory", 0)), int(said.get("maxmemory", 0))
    is_full = 0 < limit <= memory and said.get("maxmemory_policy") == "noeviction"
    is_sound = said.get("role", "master") == "master" and said.get("loading", "0") == "0"
    is_written = said.get("aof_last_write_status", "ok") == "ok"
    delayed = int(said.get("aof_delayed_fsync", 0))
    return StoreFacts(memory, limit, is_sound and is_written and not is_full, delayed)
