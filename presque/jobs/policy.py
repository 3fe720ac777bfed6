"""The settings of a queue, one row each. Apart from its row, a setting appears only in the Lua that obeys it.

From the rows come the defaults that the scripts fall back on, the settings that a queue shows, the fields of a PATCH
with their bounds, and the table in `docs/v1.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

from presque.jobs import counters
from presque.redis.units import milliseconds, seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from presque.redis.connection import Reply

SHORTEST_LEASE = 0.001  # seconds
LONGEST_LEASE = 604800  # seconds: a week
MAX_ATTEMPTS = 1000
MOST_QUEUES = 100_000  # in a store, by default

SECONDS = "seconds"

Value = float | bool | str | None  # of a setting: a number in its unit, a flag, a choice; None if nothing is in force


@dataclass(frozen=True)
class Setting:
    """A setting of a queue.

    Clients call it `name`, or `group.name` within a group; in the store it is the field `stored` of the hash `q`.
    `kind` is float, int, bool or str. A number has a `unit` and lies between `minimum` and `maximum`; seconds here are
    milliseconds in the store. A str is one of `choices`. With a `default` of None nothing is in force until
    the setting is set. The default of a bool or str is not stored, and the scripts do not know it.
    """

    name: str
    stored: str
    kind: type
    unit: str
    default: Value
    minimum: float
    maximum: float
    meaning: str
    choices: tuple[str, ...] = ()

    def to_store(self, value: Value) -> bytes:
        """The text that the store keeps for `value`; empty for the default, which is not stored."""
        if value is None or (self.kind in (bool, str) and value == self.default):
            return b""
        if self.kind is bool:
            return b"1" if value else b"0"
        if isinstance(value, str):
            return value.encode()
        return f"{round(self._in_store(value), 6):.15g}".encode()

    def from_store(self, text: bytes) -> Value:
        """The value of a text from the store, whole numbers as int; None for an empty text without default."""
        if self.kind is bool:
            return text != b"0" if self.default else text == b"1"
        if self.kind is str:
            chosen = text.decode(errors="replace")
            return chosen if chosen in self.choices else self.default
        if not text:
            return None
        value = seconds(float(text)) if self.unit == SECONDS else float(text)
        return int(value) if value == int(value) else value

    def lua_default(self) -> str:
        """Its default in Lua, in the units of the store; empty where a script must know whether it is set at all."""
        if self.default is None or isinstance(self.default, bool | str):
            return ""
        return f"{self.stored} = {self._in_store(self.default):.15g}"

    def _in_store(self, value: float) -> float:
        return milliseconds(value) if self.unit == SECONDS else value


# fmt: off
SETTINGS = (
    # name, stored, kind, unit, default, minimum, maximum, meaning
    Setting("lease", "lease", float, SECONDS, 60, SHORTEST_LEASE, LONGEST_LEASE,
            "length of a lease when the reservation gives none"),
    Setting("max_attempts", "max_attempts", int, "attempts", 5, 1, MAX_ATTEMPTS,
            "failed attempts after which a job is dead, unless the job has its own `max_attempts`"),
    Setting("backoff.first", "backoff_first", float, SECONDS, 5, 0, 604800,
            "wait after the first failed attempt; every wait is randomized by up to a fifth either way"),
    Setting("backoff.factor", "backoff_factor", float, "", 2, 1, 100,
            "factor by which the wait grows after each further failed attempt"),
    Setting("backoff.max", "backoff_max", float, SECONDS, 3600, 0, 2592000,
            "longest wait, before it is randomized"),
    Setting("max_length", "max_length", int, "jobs", None, 1, 1000000000,
            "maximum number of ready and delayed jobs; more are refused with 429 `queue-full`"),
    Setting("max_bytes", "max_bytes", int, "bytes", None, 1, 1000000000000,
            "maximum memory of all jobs of the queue in Redis, estimated from a sample; more are refused with 429 "
            "`queue-full`"),
    Setting("dead_keep.count", "dead_count", int, "jobs", 10000, 0, 10000000,
            "number of dead jobs to keep; those that died first are deleted first"),
    Setting("dead_keep.age", "dead_age", float, SECONDS, 1209600, 0, 315360000,
            "time to keep a dead job"),
    Setting("redeliver_after", "redeliver_after", float, SECONDS, None, SHORTEST_LEASE, LONGEST_LEASE,
            "time that a job is kept for the 2010 worker that fetched it: at-least-once delivery, see below"),
    Setting("accepting", "accepting", bool, "", True, 0, 1,
            "`false`: insertions are refused with 409 `wrong-state`; jobs are still handed out"),
    Setting("expired", "on_expiry", str, "", "drop", 0, 0,
            "what becomes of a job that expires: `drop` deletes it, `dead` keeps it with the dead jobs",
            ("drop", "dead")),
)
# fmt: on

# Descriptions of the groups.
GROUPS = {
    "backoff": "The wait before the next try: `first`, multiplied by `factor` each time, up to `max`; "
    "randomized by up to a fifth either way.",
    "dead_keep": "How many dead jobs to keep, and for how long.",
}

_BY_NAME = {row.name: row for row in SETTINGS}


def lua_parts(most_queues: int = MOST_QUEUES, partitions: int = 1) -> dict[str, str]:
    """The Lua parts generated from the rows, from what is counted, and from the largest number of queues, by name: see
    `presque.redis.scripts.load`. A script sees the queues of one partition alone: it may have its share, and some more
    because names are not spread evenly.
    """
    share = most_queues / partitions
    most = ceil(share + (4 * sqrt(share) + 4 if partitions > 1 else 0))
    defaults = ", ".join(filter(None, (row.lua_default() for row in SETTINGS)))
    names = ", ".join(f"'{row.stored}'" for row in SETTINGS)
    return {
        "setting_defaults": f"local setting_defaults = {{ {defaults} }}",
        "max_queues": f"local max_queues = {most}",
        "setting_names": f"local setting_names = {{ {names} }}",
        **counters.lua_parts(),
    }


def to_store(changes: Mapping[str, Value]) -> list[bytes]:
    """Changes by name, None for the default, in the form that the store takes: field, text, field, text, …"""
    return [part for name, value in changes.items() for part in _in_store(_BY_NAME[name], value)]


def _in_store(row: Setting, value: Value) -> tuple[bytes, bytes]:
    return row.stored.encode(), row.to_store(value)


def from_store(told: Reply) -> dict[str, Value]:
    """Every setting by name, from the texts that the store returned, in the order of `setting_names`."""
    return {row.name: row.from_store(text) for row, text in zip(SETTINGS, told, strict=True)}


def defaults() -> dict[str, Value]:
    """The default of every setting, by name."""
    return {row.name: row.default for row in SETTINGS}


def grouped(values: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Pairs of a setting's name and a value, nested by group: `{"lease": …, "backoff": {…}}`."""
    found: dict[str, Any] = {}
    for name, value in values:
        group, _, member = name.rpartition(".")
        (found.setdefault(group, {}) if group else found)[member] = value
    return found
