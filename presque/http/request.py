"""A request as the routes see it: what the client asked, and what it is to be answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.web.http import parse_qs

if TYPE_CHECKING:
    from collections.abc import Callable

    from presque.http.arrival import Arrival


class Client(Protocol):
    """A client's connection, as others know it: presque.http.connection."""

    arrival: Arrival
    mark: int
    request_timeout: float

    @property
    def is_busy(self) -> bool:
        """Whether a request has begun to come, and is not answered."""

    def respond(self, request: Request, body: bytes) -> None:
        """Send the answer."""

    def settled(self) -> None:
        """Nothing that was written is awaited any more."""

    def loseConnection(self) -> None:
        """Close when all has arrived."""

    def abort(self) -> None:
        """Cut the client off."""


JSON = b"application/json"


class Request:
    """One request. Its `target` is as the client sent it; its `path` is plain ASCII, as it is routed. Headers have
    their names in lower case.
    """

    __slots__ = (
        "_query",
        "answer_headers",
        "body",
        "code",
        "connection",
        "content_type",
        "has_left",
        "headers",
        "is_answered",
        "is_last",
        "method",
        "path",
        "repeated",
        "target",
        "version",
        "when_left",
    )

    def __init__(self, connection: Client, method: bytes, target: bytes, version: bytes) -> None:
        self.connection = connection
        self.method = method
        self.target = target
        self.path = target
        self.version = version
        self.headers: dict[bytes, bytes] = {}  # name -> value, the last where there are several
        self.repeated: dict[bytes, list[bytes]] = {}  # name -> all values, of headers that are there several times
        self.body = b""
        self.is_last = False  # the connection closes after the answer
        self.has_left = False  # the client, before it was answered
        self.when_left: Callable[[], object] | None = None  # called then
        self.is_answered = False
        self.code = 200
        self.content_type = JSON
        self.answer_headers: list[tuple[bytes, bytes]] = []
        self._query: dict[bytes, list[bytes]] | None = None

    def add_header(self, name: bytes, value: bytes) -> None:
        """A header has come; its name is in lower case."""
        if name in self.headers:
            self.repeated.setdefault(name, [self.headers[name]]).append(value)
        self.headers[name] = value

    def values(self, name: bytes) -> list[bytes]:
        """All values of a header, in their order."""
        several = self.repeated.get(name)
        if several is not None:
            return several
        value = self.headers.get(name)
        return [] if value is None else [value]

    @property
    def query(self) -> dict[bytes, list[bytes]]:
        """The parameters of the target's query, decoded: name -> values, the empty ones too."""
        if self._query is None:
            text = self.target.partition(b"?")[2]
            self._query = parse_qs(text, keep_blank_values=True) if text else {}
        return self._query

    def set_header(self, name: bytes, value: bytes) -> None:
        """Set a header of the answer."""
        self.answer_headers.append((name, value))

    def close(self) -> None:
        """The connection closes after the answer, and the answer says so."""
        self.is_last = True
        self.answer_headers.append((b"Connection", b"close"))

    def respond(self, body: bytes) -> None:
        """Send the answer, `body` being its body; nobody is told when the client has left."""
        if not self.has_left:
            self.connection.respond(self, body)

    def left(self) -> None:
        """The client has left before it was answered."""
        self.has_left = True
        if self.when_left is not None:
            self.when_left()
