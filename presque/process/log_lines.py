"""Lines of the log: an event of twisted.logger as text for a terminal, text for the journal, or JSON."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from math import isfinite
from typing import TYPE_CHECKING, Any

from twisted.logger import LogLevel, eventAsText, formatEvent, formatEventAsClassicLogText

if TYPE_CHECKING:
    from twisted.logger import LogEvent

OURS = "presque."  # namespaces whose events have fields for people; those of Twisted have objects
PRIORITIES = {  # as in syslog(3)
    LogLevel.critical: 2,
    LogLevel.error: 3,
    LogLevel.warn: 4,
    LogLevel.info: 6,
    LogLevel.debug: 7,
}
LEVELS = frozenset(level.name for level in PRIORITIES)
# Names that an event has besides its fields: of twisted.logger, of the older twisted.python.log, and of our JSON.
_NO_FIELDS = frozenset(
    "message time isError system format why failure level logger traceback pid line passed_on".split()  # noqa: SIM905
)


def level_of(event: LogEvent) -> Any:
    """The level of an event."""
    return event.get("log_level") or LogLevel.info


def text(event: LogEvent) -> str:
    """As twistd writes it: the time, the logger and the level, the message, and a traceback."""
    return formatEventAsClassicLogText(event) or ""


def journal(event: LogEvent) -> str:
    """For the journal, which knows the time: each line begins with its priority, see sd-daemon(3)."""
    lines = eventAsText(event, includeTimestamp=False).splitlines()
    prefix = f"<{PRIORITIES[level_of(event)]}>"
    return "".join(f"{prefix}{line}\n" for line in lines)


def as_json(event: LogEvent) -> str:
    """One JSON object: time, level, logger, message, the process id, the event's fields, and a traceback."""
    passed_on = event.get("passed_on")  # the object of a process of ours
    return json.dumps(passed_on if passed_on is not None else describe(event), default=str) + "\n"


def as_json_in_journal(event: LogEvent) -> str:
    """The same with a priority, which the journal takes away again."""
    return f"<{PRIORITIES[level_of(event)]}>{as_json(event)}"


def describe(event: LogEvent) -> dict[str, Any]:
    """The object of an event."""
    logger = event.get("log_namespace") or "-"
    found = {
        "time": datetime.fromtimestamp(event.get("log_time") or 0.0, UTC).isoformat(timespec="milliseconds"),
        "level": level_of(event).name,
        "logger": logger,
        "message": formatEvent(event),
        "pid": os.getpid(),
    }
    if logger.startswith(OURS):
        found |= {name: _plain(value) for name, value in event.items() if _is_field(name)}
    failure = event.get("log_failure")
    if failure is not None:
        found["error"] = str(failure.value)
        found["traceback"] = failure.getTraceback()
    return found


def _is_field(name: str) -> bool:
    return not name.startswith("log_") and name not in _NO_FIELDS


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    return value if value is None or isinstance(value, str | int) else str(value)


def read(line: str) -> dict[str, Any] | None:
    """The object that `as_json` or `report` made; None for another line."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    is_event = {"logger", "message"} <= found.keys() and found.get("level") in LEVELS
    return found if is_event or "report" in found else None


def report(what: dict[str, Any]) -> str:
    """A line by which a process tells its supervisor how it is."""
    return json.dumps({"report": what}) + "\n"


def brief(event: dict[str, Any]) -> str:
    """The text of an object, as `text` would make it, without the time."""
    head = f"[{event['logger']}#{event['level']}] " if "logger" in event else ""
    return "\n".join(filter(None, [f"{head}{event['message']}", event.get("traceback")]))
