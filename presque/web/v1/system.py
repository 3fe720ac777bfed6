"""The system under `/v1`: versions, processes, Redis, limits."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import UNSET, Struct, UnsetType

import twisted
from presque import __version__
from presque.errors import StoreError
from presque.web.answers import json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.queue_list import QueueList
    from presque.web.system import System


class Versions(Struct):
    """Versions. `engine` is redis or valkey; its name and version are null while it is away."""

    presque: str
    python: str
    twisted: str
    engine: str | None
    engine_version: str | None


class RedisView(Struct):
    """What Redis said of itself at most some seconds ago: `memory` in use and `memory_limit` (bytes; null if there is
    none), whether it writes an append-only file, whether the last writes to it and to the last snapshot succeeded, how
    often a write had to wait for the disk, and since when it runs (seconds).
    """

    memory: int
    memory_peak: int
    memory_limit: int | None
    append_only: bool
    last_write: str
    last_snapshot: str
    changes_since_snapshot: int
    delayed_fsyncs: int
    uptime: int
    clients: int


class LimitView(Struct):
    """A limit of the process that answered: the maximum and how much is in use, null where that has no meaning; and
    how often something was refused because of it.
    """

    name: str
    limit: float | None
    used: float | None
    refused: int


class SystemView(Struct):
    """What serves. `process` answered, `uptime` seconds after it started; `processes` serve together. `redis` and
    `mover_lag` are null while it is away; the latter is for how many seconds the most overdue queue has waited for the
    mover, in the partitions that answered. `certificate_not_after` (epoch seconds) is null without TLS.
    """

    versions: Versions
    process: int
    uptime: int
    processes: int
    redis: RedisView | None
    limits: list[LimitView]
    mover_lag: float | None
    certificate_not_after: float | None
    missing_partitions: list[int] | UnsetType = UNSET


def add(routes: Routes, queue_list: QueueList, system: System) -> None:
    """Declare the route."""

    @routes.at(
        "GET",
        "/v1/system",
        summary="Describe what serves: versions, processes, Redis, limits.",
        name="describeSystem",
        answers={200: SystemView},
        scope="read:*",
    )
    async def describe(request: Request) -> bytes:
        lag: float | None = None
        missing: list[int] = []
        with suppress(StoreError):  # what is known without Redis is told while it is away, too
            lag, missing = await queue_list.lag()
        facts = system.redis()
        view = SystemView(
            versions=_versions(facts),
            process=os.getpid(),
            uptime=int(system.uptime()),
            processes=system.processes,
            redis=_redis(facts) if facts else None,
            limits=[LimitView(each.name, each.most, each.used, each.refused) for each in system.limits],
            mover_lag=None if lag is None else round(lag, 3),
            certificate_not_after=system.certificate_end(),
            missing_partitions=missing or UNSET,
        )
        return json(request, view)


def _versions(facts: Mapping[str, str]) -> Versions:
    engine = facts.get("server_name", "redis") if facts else None
    version = facts.get("valkey_version") or facts.get("redis_version")
    return Versions(__version__, platform.python_version(), twisted.__version__, engine, version)


def _redis(facts: Mapping[str, str]) -> RedisView:
    def number(name: str) -> int:
        value = facts.get(name, "")
        return int(value) if value.isdigit() else 0

    return RedisView(
        memory=number("used_memory"),
        memory_peak=number("used_memory_peak"),
        memory_limit=number("maxmemory") or None,
        append_only=facts.get("aof_enabled") == "1",
        last_write=facts.get("aof_last_write_status", "unknown"),
        last_snapshot=facts.get("rdb_last_bgsave_status", "unknown"),
        changes_since_snapshot=number("rdb_changes_since_last_save"),
        delayed_fsyncs=number("aof_delayed_fsync"),
        uptime=number("uptime_in_seconds"),
        clients=number("connected_clients"),
    )
