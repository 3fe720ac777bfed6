"""The settings of a queue under `/v1`: the model for changes and views, made from `presque.jobs.policy`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, defstruct

from presque.jobs.policy import GROUPS, SETTINGS, Setting, Value, grouped

if TYPE_CHECKING:
    from collections.abc import Mapping


def _type(row: Setting) -> Any:
    if row.kind is bool:
        return bool | UnsetType | None
    if row.kind is str:
        return Literal[row.choices] | UnsetType | None
    return Annotated[row.kind, Meta(ge=row.minimum, le=row.maximum)] | UnsetType | None


def _model(name: str, meaning: str, types: Mapping[str, Any]) -> type[Struct]:
    """A struct whose members are all optional, and which refuses others."""
    fields = [(member, type_, UNSET) for member, type_ in types.items()]
    return defstruct(name, fields, module=__name__, namespace={"__doc__": meaning}, forbid_unknown_fields=True)


def _settings() -> type[Struct]:
    types = grouped((row.name, _type(row)) for row in SETTINGS)
    for group, meaning in GROUPS.items():
        name = group.title().replace("_", "")  # dead_keep -> DeadKeep
        types[group] = _model(name, meaning, types[group]) | UnsetType | None
    meaning = "A queue's settings. A PATCH keeps settings that it leaves out; null restores the default."
    return _model("QueueSettings", meaning, types)


QueueSettings = _settings()


def changes(asked: Struct) -> dict[str, Value]:
    """The changes in a QueueSettings: settings by name, None for the default."""
    found: dict[str, Value] = {}
    for row in SETTINGS:
        group, _, member = row.name.rpartition(".")
        holder = getattr(asked, group) if group else asked
        value = None if holder is None else getattr(holder, member, UNSET)
        if value is not UNSET:
            found[row.name] = value
    return found


def view(values: Mapping[str, Value]) -> dict[str, Any]:
    """Settings by name as the members of a QueueSettings."""
    return grouped(values.items())
