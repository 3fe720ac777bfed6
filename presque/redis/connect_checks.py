"""Whether a Redis can be used: checked at the start of each connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.logger import Logger

from presque.errors import StoreUnfit

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from twisted.python.failure import Failure

    from presque.redis.connection import Connection

OLDEST = (6, 2)

_log = Logger()


def fitness(private: bool) -> Callable[[Connection], Deferred[None]]:
    """A check for `Store.checks`. It raises StoreUnfit when the server is too old, and logs one warning when an
    external server may evict jobs, keeps nothing, or answers before it writes.
    """
    warned = set()

    def warn_once(text: str) -> None:
        if text not in warned:
            warned.add(text)
            _log.warn("JOBS MAY BE LOST: {text}", text=text)

    @inlineCallbacks
    def check(connection: Connection) -> Generator[Deferred[Any], Any, None]:
        settings = {} if private else _settings(connection)
        info = yield connection.execute_command("INFO", "server")
        facts = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
        version = facts["redis_version"]
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
            raise StoreUnfit(f"Redis {version} is too old, presque needs 6.2 or later")
        told = {}
        for name, asked in settings.items():
            told[name] = yield asked
        if not private and None not in told.values():
            _warn_of_loss(told, warn_once)

    return check


def _settings(connection: Connection) -> dict[str, Deferred[str | None]]:
    """The server's settings, requested together; each fires with None when the server refuses."""

    def asked(name: str) -> Deferred[str | None]:
        reply: Deferred[Any] = connection.execute_command("CONFIG", "GET", name)
        return reply.addCallbacks(lambda found: found[1].decode() if found else "", refused)

    def refused(failure: Failure) -> None:  # a managed Redis may forbid CONFIG, with any message
        _log.info("cannot read the settings of this Redis ({refusal})", refusal=failure.getErrorMessage())

    return {name: asked(name) for name in ("maxmemory-policy", "appendonly", "appendfsync", "save")}


def _warn_of_loss(settings: dict[str, str], warn: Callable[[str], None]) -> None:
    if settings["maxmemory-policy"] != "noeviction":
        warn(f"this Redis may evict jobs (maxmemory-policy {settings['maxmemory-policy']}, should be noeviction)")
    if settings["appendonly"] != "yes":
        kept = "keeps only snapshots" if settings["save"] else "keeps nothing"
        warn(f"this Redis {kept} when it stops (appendonly no, should be yes)")
    elif settings["appendfsync"] == "everysec":
        warn(
            "this Redis answers before it writes while it syncs, once a second (appendfsync everysec, should be always)"
        )
