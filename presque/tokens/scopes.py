"""Scopes: what a token allows, and on which queues. `produce:mail.*` allows insertions into the queues of that pattern.

In a pattern `*` stands for any characters, also none, and `?` for one; all others stand for themselves.
"""

from __future__ import annotations

import re
from fnmatch import translate
from typing import NamedTuple

SCOPES = ("produce", "consume", "read", "manage")
EVERYTHING = "*"  # the pattern of all queues, also of those to come
LONGEST = 128  # characters of a pattern, and of a queue's name

_PATTERN = re.compile(rf"[A-Za-z0-9._:@*?-]{{1,{LONGEST}}}")


class Scope(NamedTuple):
    """What a token allows (one of SCOPES), and the pattern of the queues' names."""

    verb: str
    pattern: str

    def __str__(self) -> str:
        return f"{self.verb}:{self.pattern}"


ALL = tuple(Scope(verb, EVERYTHING) for verb in SCOPES)


def parse_scope(word: str) -> Scope:
    """The scope that a word such as `read:mail.*` gives. Raises ValueError; its message does not show the word."""
    verb, found, pattern = word.partition(":")
    if verb not in SCOPES:
        raise ValueError(f"a scope begins with {', '.join(f'{known}:' for known in SCOPES[:-1])} or {SCOPES[-1]}:")
    if not found or not _PATTERN.fullmatch(pattern):
        raise ValueError(
            f"after {verb}: comes a pattern of queue names, 1 to {LONGEST} characters of A-Z a-z 0-9 . _ : @ - * ?"
        )
    return Scope(verb, pattern)


def matcher(patterns: list[str]) -> re.Pattern[str]:
    """An expression that matches what any of these patterns matches, in time linear in the name's length."""
    return re.compile("|".join(translate(re.sub(r"\*+", "*", pattern)) for pattern in patterns))
