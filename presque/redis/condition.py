"""The condition of the store: whether Redis answers, accepts writes and has room. Each fault is a sentence for the
administrator. Nothing here waits for Redis but `run_once`, which a loop calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from presque.redis import keys
from presque.redis.connection import gather, word_of

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from presque.redis.connection import Connection, ConnectionFactory

PROBE_EVERY = 0.5  # seconds: what is told is at most 1 s old
SILENCE = 1.0  # seconds without an answer after which Redis counts as away
OK = "ok"
NAMES = ("store", "writable", "memory", "disk", "scripts")
CLOSED = "1"  # the maxmemory by which a private Redis whose disk is nearly full refuses insertions

_UNKNOWN = "not known while the store is away"
_LOADING = "Redis is loading its data: wait until it has; its log says how far it is"
_REPLICA = "this Redis is a replica and refuses writes: give --redis its master, or promote it (REPLICAOF NO ONE)"
_BUSY = "Redis has been running one script for seconds and answers nothing: SCRIPT KILL ends it"
_NO_PERMISSION = "Redis forbids this user what presque needs: see the log, and correct its ACL"

# First word of an error of Redis -> the check that fails, and why.
_REFUSALS = {
    "LOADING": ("store", _LOADING),
    "MASTERDOWN": ("writable", _REPLICA),
    "READONLY": ("writable", _REPLICA),
    "CLUSTERDOWN": ("store", "the Redis Cluster is down: see CLUSTER INFO"),
    "NOAUTH": ("store", "Redis wants a password: put it into the URL of --redis"),
    "WRONGPASS": ("store", "Redis refuses the user or the password: correct the URL of --redis"),
    "NOREPLICAS": ("writable", "Redis has too few replicas to accept writes (min-replicas-to-write): bring them back"),
    "BUSY": ("scripts", _BUSY),
}
# Part of why there is no connection -> the same.
_ABSENCES = (
    ("it is a slave", ("writable", _REPLICA)),
    ("NOPERM", ("scripts", _NO_PERMISSION)),
    ("is too old", ("store", "this Redis is too old: presque needs 6.2 or later")),
    ("Lost connection", ("store", "Redis accepts connections but does not answer: it hangs, or its machine does")),
    ("efused", ("store", "nothing listens at the address of --redis: start Redis, or correct the URL")),
    ("o such file", ("store", "the socket of Redis does not exist: start Redis, or correct --redis")),
    ("", ("store", "Redis cannot be reached: see the log, and check that it runs and that --redis is right")),
)


class Refusal(NamedTuple):
    """What the last probe of a connection found: the checks that fail, and why."""

    connection: Connection
    failing: dict[str, str]


class Condition:
    """The condition of the Redis to which `commands` connects."""

    def __init__(self, commands: ConnectionFactory, clock: IReactorTime) -> None:
        self._commands = commands
        self._clock = clock
        self._refusal: Refusal | None = None

    async def run_once(self) -> int:
        """Probe whether Redis accepts a write that needs memory; this one changes nothing. Returns 0."""
        connection = self._commands.connection
        if connection is None:
            return 0
        failing: dict[str, str] = {}
        try:
            await connection.execute_command("SETRANGE", keys.PROBE, 0, b"")
        except Exception as refused:
            if connection.connected:
                failing = await self._explain(connection, refused)
        self._refusal = Refusal(connection, failing) if failing else None
        return 0

    async def _explain(self, connection: Connection, refused: Exception) -> dict[str, str]:
        """The checks that fail because Redis has `refused` the probe."""
        word = word_of(refused)
        if word in _REFUSALS:
            return dict([_REFUSALS[word]])
        if word not in ("OOM", "MISCONF"):  # of no meaning for presque, for example that this command is forbidden
            return {}
        try:
            texts = await gather(connection.execute_command("INFO", each) for each in ("memory", "persistence"))
        except Exception:  # the connection is lost, or INFO is forbidden
            texts = []
        facts = dict(
            line.split(":", 1) for text in texts for line in text.decode(errors="replace").splitlines() if ":" in line
        )
        return _full(facts) if word == "OOM" else _unwritten(facts)

    def checks(self) -> dict[str, str]:
        """The checks, by name: "ok", or a sentence that says what is wrong."""
        connection = self._commands.connection
        if connection is None:
            found = dict.fromkeys(NAMES, _UNKNOWN)
            if not self._commands.trouble and self._refusal is not None:  # for which we have left it just now
                return found | self._refusal.failing
            return found | _absence(self._commands.trouble)
        asked_at = connection.asked_at
        silent = 0.0 if asked_at is None else self._clock.seconds() - asked_at
        if silent > SILENCE:
            away = f"Redis has not answered for {silent:.1f} s: it hangs, is stopped, or cannot be reached"
            return dict.fromkeys(NAMES, _UNKNOWN) | {"store": away}
        found = dict.fromkeys(NAMES, OK)
        if self._refusal is not None and self._refusal.connection is connection:
            found |= self._refusal.failing
        return found


def _absence(trouble: str) -> dict[str, str]:
    """Why there is no connection, as the check that fails."""
    word = trouble.partition(": ")[2].partition(" ")[0]
    name, why = _REFUSALS.get(word) or next(found for part, found in _ABSENCES if part in trouble)
    return {name: why} if name == "store" else {"store": "ok", name: why}


def _full(facts: dict[str, str]) -> dict[str, str]:
    """Redis refuses what needs memory."""
    limit = facts.get("maxmemory", "?")
    if limit == CLOSED:
        return {
            "disk": "less than --min-free is free on the disk of the data folder: free space there; until then "
            "insertions are refused, and everything else continues"
        }
    used = facts.get("used_memory", "?")
    return {"memory": f"Redis uses {used} of {limit} bytes (maxmemory): raise the limit, or drain queues"}


def _unwritten(facts: dict[str, str]) -> dict[str, str]:
    """Redis refuses writes because it could not write one of its files."""
    if facts.get("aof_last_write_status", "ok") != "ok":
        why = "Redis cannot write its append-only file: free space on its disk, and see its log"
    else:
        why = "Redis cannot save a snapshot: free space on its disk, or see its log"
    return {"disk": why, "writable": "Redis refuses writes until it can write its files again"}
