"""Sequences of commands by chance, and how one that fails is made short: see test_model.py."""

from __future__ import annotations

import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

Command = tuple[str, dict[str, Any]]  # a method, and its arguments

COMMANDS: list[tuple[str, dict[str, Any]]] = []  # a method as often as its weight says, and what its arguments may be
SHRINKING = 40.0  # seconds that it may take


def command(weight: int = 1, **arguments: Any) -> Any:
    """A method of Run that is a command, and what its arguments may be: see `pick`."""

    def add(method: Any) -> Any:
        COMMANDS.extend([(method.__name__, arguments)] * weight)
        return method

    return add


def pick(choice: Any, chance: Random) -> Any:
    """One of a sequence; a dict of what was picked for each name; or what a function of chance returns."""
    if isinstance(choice, dict):
        return {name: pick(each, chance) for name, each in choice.items()}
    picked = choice if callable(choice) else chance.choice(choice)
    return picked(chance) if callable(picked) else picked


def several(choice: Any, most: int) -> Callable[[Random], list[Any]]:
    """A list of one or more."""
    return lambda chance: [pick(choice, chance) for _ in range(chance.randint(1, most))]


def each_of(*choices: Any) -> Callable[[Random], tuple[Any, ...]]:
    """A tuple."""
    return lambda chance: tuple(pick(choice, chance) for choice in choices)


def sequence(chance: Random, length: int) -> list[Command]:
    """So many commands."""
    return [(name, pick(arguments, chance)) for name, arguments in chance.choices(COMMANDS, k=length)]


Outcome = tuple[Exception | None, int]  # how a sequence failed, and after how many commands


async def shrunk(commands: list[Command], attempt: Callable[[list[Command]], Awaitable[Outcome]]) -> list[Command]:
    """Leave out commands as long as what is left fails at the same place."""
    error, count = await attempt(commands)
    place, ends, size = _place(error), time.monotonic() + SHRINKING, count
    commands = commands[:count]
    while (size := size // 2) and time.monotonic() < ends:
        at = 0
        while at < len(commands) and time.monotonic() < ends:
            fewer = commands[:at] + commands[at + size :]
            error, count = await attempt(fewer)
            if error is not None and _place(error) == place:
                commands = fewer[:count]
            else:
                at += size
    return commands


def _place(error: Exception | None) -> tuple[str, str, int | None]:
    """Which line of the tests raised it."""
    steps = traceback.extract_tb(error.__traceback__ if error else None)
    own = [step for step in steps if "tests" in Path(step.filename).parts]
    return type(error).__name__, own[-1].filename, own[-1].lineno
