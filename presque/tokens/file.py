"""The file of the tokens: a line a token, of its name, the SHA-256 of its text, its scopes, and what limits it.

    # who      what it is            what it may do                  until when          from where
    mail-app   sha256:9f86d081884c…  produce:mail.* read:mail.*      expires=2027-01-01  from=10.0.0.0/8,::1

`expires=` is a date, at whose beginning in UTC the token ends, or a time such as `2027-01-01T12:00:00Z`; `from=` lists
the networks from which it may be used. Empty lines and those that begin with `#` are ignored. A file with a wrong line
is refused as a whole. No error shows a word of the file, because any may be a token that was put in the wrong place.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from presque.errors import InvalidTokenFile
from presque.tokens.scopes import EVERYTHING, LONGEST, SCOPES, Scope, matcher, parse_scope
from presque.tokens.text import digest_of, is_token, looks_like_token

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

LARGEST = 1 << 22  # bytes of a file
FORBIDDEN = stat.S_IRWXO | stat.S_IWGRP  # what a file's mode may not allow: anything to others, writing to a group

_NAME = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9._:@-]{{0,{LONGEST - 1}}}")
_DIGEST = re.compile(r"sha256:([0-9A-Fa-f]{64})")
_TIME = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?)?")

Address = IPv4Address | IPv6Address


@dataclass(frozen=True)
class Token:
    """A token, without its text. `expires_at` is in epoch seconds. Without `networks` it may be used from anywhere."""

    name: str
    digest: str = field(repr=False)  # of its text, 64 hexadecimal digits
    scopes: tuple[Scope, ...]
    expires_at: float | None = None
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @cached_property
    def _matchers(self) -> Mapping[str, re.Pattern[str]]:
        patterns = {verb: [scope.pattern for scope in self.scopes if scope.verb == verb] for verb in SCOPES}
        return {verb: matcher(found) for verb, found in patterns.items() if found}

    def may(self, verb: str, queue: str) -> bool:
        """Whether it allows `verb` on `queue`. What is too long for a name is no queue: it may be asked for only with
        the scope of all queues.
        """
        found = self._matchers.get(verb)
        if found is None:
            return False
        return found.fullmatch(queue) is not None if len(queue) <= LONGEST else self.may_all(verb)

    def may_some(self, verb: str) -> bool:
        """Whether it allows `verb` on any queue."""
        return verb in self._matchers

    def may_all(self, verb: str) -> bool:
        """Whether it allows `verb` on every queue there is, or will be."""
        return Scope(verb, EVERYTHING) in self.scopes

    def is_for(self, address: str) -> bool:
        """Whether it may be used from this IP address; "" is a client without one, of a Unix socket."""
        if not self.networks:
            return True
        found = address_of(address)
        return found is not None and any(found in network for network in self.networks)


class Tokens:
    """The tokens of a file, by the digest of their texts and by name."""

    def __init__(self, tokens: Iterable[Token]) -> None:
        self.by_name = {token.name: token for token in tokens}
        self._by_digest = {token.digest: token for token in self.by_name.values()}

    def __len__(self) -> int:
        return len(self.by_name)

    def find(self, text: bytes) -> Token | None:
        """The token with this text. What is compared are digests, on which nobody who does not know a token has any
        influence: how long it takes says nothing of how much of a token was right.
        """
        return self._by_digest.get(digest_of(text)) if is_token(text) else None


def address_of(text: str) -> Address | None:
    """The IP address that a socket says; an IPv4 client of an IPv6 socket has its IPv4 address. None if it is none."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return (isinstance(found, IPv6Address) and found.ipv4_mapped) or found


def read(path: Path) -> Tokens:
    """The tokens of a file. Raises InvalidTokenFile, whose message names the file and the first wrong line."""
    tokens, wrong = parse(_text_of(path))
    if wrong:
        more = f" (and {len(wrong) - 1} more wrong lines)" if len(wrong) > 1 else ""
        raise InvalidTokenFile(f"{path}: {wrong[0]}{more}")
    if not tokens:
        raise InvalidTokenFile(f"{path}: there is no token in it")
    return Tokens(tokens)


def _text_of(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO would otherwise block
        try:
            mode = os.fstat(descriptor).st_mode  # of the file that is read, whatever its name means by now
            if not stat.S_ISREG(mode):
                raise InvalidTokenFile(f"{path}: it must be a regular file")
            if mode & FORBIDDEN:
                raise InvalidTokenFile(f"{path}: mode {stat.S_IMODE(mode):03o} lets others in: chmod 640, or 600")
            content = os.read(descriptor, LARGEST + 1)
        finally:
            os.close(descriptor)
    except OSError as wrong:
        raise InvalidTokenFile(f"{path}: {wrong.strerror}") from None
    if len(content) > LARGEST:
        raise InvalidTokenFile(f"{path}: it is longer than {LARGEST} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise InvalidTokenFile(f"{path}: it must be text in UTF-8") from None


def parse(text: str) -> tuple[list[Token], list[str]]:
    """The tokens of all right lines, and what is wrong with each other one: its number, and why."""
    tokens: list[Token] = []
    wrong, lines = [], dict[str, int]()  # a name or a digest -> its line
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            token = parse_line(words)
            for what, value in (("name", token.name), ("token", f"sha256:{token.digest}")):
                if value in lines:
                    raise ValueError(f"the {what} of line {lines[value]} again")
                lines[value] = number
            tokens.append(token)
        except ValueError as why:
            wrong.append(f"line {number}: {why}")
    return tokens, wrong


def parse_line(words: list[str]) -> Token:
    """The token that the words of a line tell. Raises ValueError; its message does not show a word."""
    name = words[0]
    if looks_like_token(name):
        raise ValueError("the first word must be a name, not a token")
    if not _NAME.fullmatch(name):
        raise ValueError(f"a name is 1 to {LONGEST} characters of A-Z a-z 0-9 . _ : @ -, a letter, a digit or _ first")
    digest = _DIGEST.fullmatch(words[1]) if len(words) > 1 else None
    if digest is None:
        raise ValueError("after the name comes sha256: and 64 hexadecimal digits, as `presque-token new` prints them")
    scopes, expires_at, networks = parse_grants(words[2:])
    return Token(name, digest[1].lower(), scopes, expires_at, networks)


def parse_grants(
    words: list[str],
) -> tuple[tuple[Scope, ...], float | None, tuple[IPv4Network | IPv6Network, ...]]:
    """The scopes, the end in epoch seconds and the networks that the words after the digest tell. Raises ValueError."""
    scopes: list[Scope] = []
    limits: dict[str, str] = {}
    for word in words:
        option, is_limit, value = word.partition("=")
        if not is_limit:
            scopes.append(parse_scope(word))
        elif option not in ("expires", "from"):
            raise ValueError("what has a = must be expires= or from=")
        elif option in limits:
            raise ValueError(f"{option}= is there twice")
        else:
            limits[option] = value
    if not scopes:
        raise ValueError("there is no scope, such as produce:mail.* or read:*")
    expires_at = _expiry(limits["expires"]) if "expires" in limits else None
    networks = tuple(map(_network, limits["from"].split(","))) if "from" in limits else ()
    return tuple(dict.fromkeys(scopes)), expires_at, networks


def _expiry(text: str) -> float:
    try:
        if not _TIME.fullmatch(text):
            raise ValueError
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError("expires= must be a date or a time, such as 2027-01-01 or 2027-01-01T12:00:00Z") from None


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as wrong:
        why = " (it has host bits: is the prefix too short?)" if "host bits" in str(wrong) else ""
        raise ValueError(f"from= must be networks, such as 10.0.0.0/8,192.0.2.7,::1{why}") from None
