"""Who may do what: decides by the head of a request and its route, before the body is read.

A request needs a token, as `Authorization: Bearer`, or as the password of `Basic`, whose user is ignored. Only routes
that are OPEN, and what lies below /health/, need none. What a token must allow is the scope of the route
(presque.http.routes), on the queues that the request names.

Requests of one client have the same header, and mostly the same method and target, so what was found good is remembered
until the file is read again; whether the token has ended, and where it comes from, is asked each time. What was found
wrong is not remembered.
"""

from __future__ import annotations

import binascii
from math import ceil
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from presque.errors import InvalidTokenFile
from presque.http.door import Refusal
from presque.http.routes import ANY, OPEN
from presque.tokens.file import Token, read
from presque.web.answers import is_modern
from presque.web.params import QUESTION_MARK
from presque.web.wrong_tokens import WrongTokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from presque.http.request import Request
    from presque.http.routes import Route
    from presque.tokens.file import Tokens

JOB = "job_id"  # the path variable of a job's id; most are asked for once
HEALTH = b"/health/"  # below this path no token is needed, whether there is a route or not
REMEMBERED = 4096  # headers, and as many requests
LONGEST = 1024  # bytes of a header's value; a token has 57
LONGEST_TARGET = 512  # bytes of a target that is remembered
CHALLENGE = ((b"WWW-Authenticate", b'Bearer realm="presque", Basic realm="presque"'),)

NOBODY = Token("", "", ())  # of a request that needs none: what it is told of queues is nothing

LIMIT = "wrong-tokens"  # its name

# Why a request has no token.
MISSING = "send a token: Authorization: Bearer presque_…"
WRONG = "the token is not valid"
EXPIRED = "the token has expired"
ELSEWHERE = "the token is not valid from this address"


class Judge:
    """Admits requests with the tokens of a file, or tells why not. `find(request)` is the route of a request and the
    values of its path variables; `now()` the time in epoch seconds, and `seconds()` one that is never set back.
    `limited(name)` counts a refusal because of that limit.

    `sessions(request)` is where a request without the header has its token from: a cookie, or a client's certificate.
    It returns None, or a token of `tokens`, which is then judged like any other.
    """

    _log = Logger()

    def __init__(
        self,
        path: Path,
        find: Callable[[Request], tuple[Route, list[str]] | None],
        now: Callable[[], float],
        seconds: Callable[[], float],
        limited: Callable[[str], object] = lambda limit: None,
    ) -> None:
        self._path = path
        self._find = find
        self._limited = limited
        self.now = now
        self.tokens: Tokens = read(path)
        self.sessions: Callable[[Request], Token | None] = lambda request: None
        self.wrong_tokens = WrongTokens(seconds)
        self._remembered: dict[bytes, Token] = {}  # the value of a header -> its token
        self._told: set[str] = set()  # names of tokens of which the log says why they are refused
        self._admitted: dict[tuple[bytes, bytes, bytes], Token] = {}  # a header, a method and a target -> the token

    def by_certificate(self, request: Request) -> Token | None:
        """The token that the client's certificate names: for `sessions`."""
        name = request.connection.client_name
        return None if name is None else self.tokens.by_name.get(name)

    def reload(self) -> bool:
        """Read the file again. If it cannot be used, everything stays as it was. Returns whether it could."""
        try:
            tokens = read(self._path)
        except InvalidTokenFile as wrong:
            self._log.error("SIGHUP: {why}; the tokens stay as they were", why=str(wrong))
            return False
        before, after = self.tokens.by_name, tokens.by_name
        figures = {
            "new": len(after.keys() - before.keys()),
            "gone": len(before.keys() - after.keys()),
            "changed": sum(before[name] != after[name] for name in before.keys() & after.keys()),
        }
        self.tokens, self._remembered, self._admitted, self._told = tokens, {}, {}, set()
        self._log.info(
            "SIGHUP: {file} has {count} tokens: {new} new, {gone} gone, {changed} changed",
            file=str(self._path),
            count=len(tokens),
            **figures,
        )
        return True

    def refusal(self, request: Request) -> Refusal | None:
        """Why a request whose head is complete is refused; None when it is admitted."""
        header = request.headers.get(b"authorization", b"")
        key = (header, request.method, request.target)
        if not request.head.repeated:
            token = self._admitted.get(key)
            if token is not None and self._why_not(token, request) is None:
                request.token = token
                return None
        found = self._find(request)
        if found[0].scope == OPEN if found else request.path.startswith(HEALTH):
            request.token = NOBODY
            return None
        token_or_why = self._token_of(request)
        if isinstance(token_or_why, str):
            return self._unauthorized(request, token_or_why)
        if found is not None and not self._may(token_or_why, *found, request):
            return _forbidden(request, found[0])
        request.token = token_or_why
        if header and found is not None and len(request.target) <= LONGEST_TARGET and JOB not in found[0].variables:
            _remember(self._admitted, key, token_or_why)
        return None

    def _token_of(self, request: Request) -> Token | str:
        """The token of a request, or why it has none."""
        header = request.headers.get(b"authorization")
        if header is None:
            token = self.sessions(request)
            if token is None:
                return MISSING
        elif b"authorization" in request.head.repeated:
            return WRONG
        elif (token := self._remembered.get(header)) is None:
            token = self.tokens.find(_secret_in(header))
            if token is None:
                return WRONG
            _remember(self._remembered, header, token)
        why = self._why_not(token, request)
        if why is not None and token.name not in self._told:
            self._told.add(token.name)
            address = request.connection.peer or "a Unix socket"
            self._log.warn("{name}: {why}; it came from {address}", name=token.name, why=why, address=address)
        return why or token

    def _why_not(self, token: Token, request: Request) -> str | None:
        """Why a token of the file is refused now and here."""
        if token.expires_at is not None and token.expires_at <= self.now():
            return EXPIRED
        if token.networks and not token.is_for(request.connection.peer):
            return ELSEWHERE
        return None

    @staticmethod
    def _may(token: Token, route: Route, values: list[str], request: Request) -> bool:
        verb, _, pattern = route.scope.partition(":")
        if verb == ANY:
            return True
        if pattern:
            return token.may_all(verb)
        named = False
        for queue in _queues_of(route, values, request):
            if not token.may(verb, queue):
                return False
            named = True
        return named or token.may_some(verb)

    def _unauthorized(self, request: Request, why: str) -> Refusal:
        address = request.connection.peer
        wait = 0.0 if why is MISSING else self.wrong_tokens.wait(address)  # none at all is no guess
        if not wait:
            return Refusal(401, why if is_modern(request.path) else "unauthorized", CHALLENGE)
        self._limited(LIMIT)
        if self.wrong_tokens.is_news(address):
            self._log.warn(
                "too many wrong tokens from {address}: further ones get 429, right ones are served",
                address=address or "a Unix socket",
            )
        message = "too many wrong tokens from this address" if is_modern(request.path) else "too many wrong tokens"
        return Refusal(429, message, ((b"Retry-After", b"%d" % ceil(wait)),))


def _queues_of(route: Route, values: list[str], request: Request) -> Iterator[str]:
    """The queues that a request names in its path and its query. An invalid name is one that the route refuses."""
    for variable, value in zip(route.variables, values, strict=True):
        if variable == "queue":
            yield value
        elif variable == "queues":
            yield from value.split(",")
        elif variable == JOB:
            yield value.rpartition(":")[0]
    if QUESTION_MARK in request.target:
        for name in ("queue", "queue_name"):
            if name in route.query:
                for text in request.query.get(name.encode(), ()):
                    if text:
                        yield text.decode(errors="surrogateescape")


def _remember(found: dict[Any, Token], key: Any, token: Token) -> None:
    if len(found) >= REMEMBERED:
        found.clear()
    found[key] = token


def _secret_in(header: bytes) -> bytes:
    """The token in the value of an Authorization header, or b""."""
    scheme, _, value = header.partition(b" ")
    value = value.strip(b" ")
    if len(header) > LONGEST:
        return b""
    if scheme.lower() == b"bearer":
        return value
    if scheme.lower() != b"basic":
        return b""
    try:
        return binascii.a2b_base64(value, strict_mode=True).partition(b":")[2]
    except binascii.Error:
        return b""


def _forbidden(request: Request, route: Route) -> Refusal:
    if not is_modern(request.path):
        return Refusal(403, "forbidden")
    verb, _, everything = route.scope.partition(":")
    where = "all queues" if everything else "every queue that the request names"
    return Refusal(403, f"the token needs the scope {verb} for {where}")


def may(request: Request, verb: str, queue: str) -> bool:
    """Whether a request may do this in a queue that its head does not name: one in its body, or of a list. Without
    --tokens every request may.
    """
    return request.token is None or request.token.may(verb, queue)


def is_restricted(request: Request, verb: str) -> bool:
    """Whether there may be queues with which a request may not do this."""
    return request.token is not None and not request.token.may_all(verb)
