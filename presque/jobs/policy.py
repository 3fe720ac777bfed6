"""The settings of a queue, one row each. A setting is nowhere else but in the Lua that obeys it.

From the rows come the defaults that the scripts fall back on, the settings that a queue tells of itself, the fields of
a change with their bounds, and the table in `docs/v1.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from presque.redis.units import milliseconds, seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from presque.redis.connection import Reply

SHORTEST_LEASE = 0.001  # seconds
LONGEST_LEASE = 604800  # seconds: a week
MAX_ATTEMPTS = 1000

SECONDS = "seconds"

Value = float | bool | None  # of a setting: a number in its unit, a flag, or None where nothing is in force


@dataclass(frozen=True)
class Setting:
    """A setting of a queue.

    Clients call it `name`, or `group.name` within a group; in the store it is the field `stored` of the hash
    `settings`. `kind` is float, int or bool. A number has a `unit` and lies between `minimum` and `maximum`; what is
    seconds here is milliseconds in the store. With a `default` of None nothing is in force until the setting is set.
    """

    name: str
    stored: str
    kind: type
    unit: str
    default: Value
    minimum: float
    maximum: float
    meaning: str

    def to_store(self, value: Value) -> bytes:
        """The text that the store keeps for `value`; nothing for the default, which is not kept."""
        if value is None or (self.kind is bool and value == self.default):
            return b""
        if self.kind is bool:
            return b"1" if value else b"0"
        return f"{round(self._in_store(value), 6):.15g}".encode()

    def from_store(self, text: bytes) -> Value:
        """The value of what the store told, whole numbers as int; None for nothing."""
        if self.kind is bool:
            return text != b"0" if self.default else text == b"1"
        if not text:
            return None
        value = seconds(float(text)) if self.unit == SECONDS else float(text)
        return int(value) if value == int(value) else value

    def lua_default(self) -> str:
        """Its default in Lua, as the store counts; nothing where a script has to know whether it is set at all."""
        if self.kind is bool or self.default is None:
            return ""
        return f"{self.stored} = {self._in_store(self.default):.15g}"

    def _in_store(self, value: float) -> float:
        return milliseconds(value) if self.unit == SECONDS else value


# fmt: off
SETTINGS = (
    # name, stored, kind, unit, default, minimum, maximum, meaning
    Setting("lease", "lease", float, SECONDS, 60, SHORTEST_LEASE, LONGEST_LEASE,
            "how long a lease lasts when the reservation does not say"),
    Setting("max_attempts", "max_attempts", int, "attempts", 5, 1, MAX_ATTEMPTS,
            "after so many failed attempts a job is dead, unless the job has its own `max_attempts`"),
    Setting("backoff.first", "backoff_first", float, SECONDS, 5, 0, 604800,
            "the wait after the first failed attempt; every wait is spread by a fifth either way"),
    Setting("backoff.factor", "backoff_factor", float, "", 2, 1, 100,
            "by what the wait is multiplied after each further failed attempt"),
    Setting("backoff.max", "backoff_max", float, SECONDS, 3600, 0, 2592000,
            "the longest wait, before it is spread"),
    Setting("max_length", "max_length", int, "jobs", None, 1, 1000000000,
            "ready and delayed jobs that the queue may have; more are refused with 429 `queue-full`"),
    Setting("dead_keep.count", "dead_count", int, "jobs", 10000, 0, 10000000,
            "how many dead jobs are kept; those that died first are deleted first"),
    Setting("dead_keep.age", "dead_age", float, SECONDS, 1209600, 0, 315360000,
            "how long a dead job is kept"),
    Setting("redeliver_after", "redeliver_after", float, SECONDS, None, SHORTEST_LEASE, LONGEST_LEASE,
            "how long a job is kept in the name of a worker of 2010: at-least-once for them, see below"),
    Setting("accepting", "accepting", bool, "", True, 0, 1,
            "`false`: insertions are refused with 409 `wrong-state`, while jobs are handed out as before"),
)
# fmt: on

# What the members of a group are together.
GROUPS = {
    "backoff": "The wait before the next try: `first`, times `factor` each time, at most `max`; "
    "spread by a fifth either way.",
    "dead_keep": "How many dead jobs are kept, and for how long.",
}

_BY_NAME = {row.name: row for row in SETTINGS}


def lua_parts() -> dict[str, str]:
    """The parts that the scripts include of the rows, by name: see `presque.redis.scripts.load`."""
    defaults = ", ".join(filter(None, (row.lua_default() for row in SETTINGS)))
    names = ", ".join(f"'{row.stored}'" for row in SETTINGS)
    return {
        "setting_defaults": f"local setting_defaults = {{ {defaults} }}",
        "setting_names": f"local setting_names = {{ {names} }}",
    }


def to_store(changes: Mapping[str, Value]) -> list[bytes]:
    """Changes by name, None for the default, as the store takes them: field, text, field, text, …"""
    return [part for name, value in changes.items() for part in _in_store(_BY_NAME[name], value)]


def _in_store(row: Setting, value: Value) -> tuple[bytes, bytes]:
    return row.stored.encode(), row.to_store(value)


def from_store(told: Reply) -> dict[str, Value]:
    """Every setting by name, of what the store told: their texts, in the order of `setting_names`."""
    return {row.name: row.from_store(text) for row, text in zip(SETTINGS, told, strict=True)}


def defaults() -> dict[str, Value]:
    """Every setting by name, as it is until it is set."""
    return {row.name: row.default for row in SETTINGS}


def grouped(values: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """What belongs to settings, by name, with the members of each group together: `{"lease": …, "backoff": {…}}`."""
    found: dict[str, Any] = {}
    for name, value in values:
        group, _, member = name.rpartition(".")
        (found.setdefault(group, {}) if group else found)[member] = value
    return found
