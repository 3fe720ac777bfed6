"""A request as the routes see it: what the client asked, and what it is to be answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.web.http import parse_qs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from presque.http.arrival import Arrival
    from presque.http.head import Head
    from presque.http.routes import Route


class Client(Protocol):
    """A client's connection, as others know it: presque.http.connection."""

    arrival: Arrival
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


class Delivery(Protocol):
    """Jobs that go out with an answer, as the connection knows them: presque.http.deliveries."""

    @property
    def is_waiting(self) -> bool:
        """Whether the client waits for a job."""

    @property
    def has_jobs(self) -> bool:
        """Whether the answer that is written now has jobs in it."""

    def written(self, mark: int) -> None:
        """The answer is in the stream to the client, and ends at this place."""

    def left(self) -> None:
        """The client has left before it was answered."""


class Request:
    """One request. Its `target` is as the client sent it; its `path` is plain ASCII, as it is routed. Headers have
    their names in lower case.
    """

    is_last = False  # the connection closes after the answer
    has_left = False  # the client, before it was answered
    route: Route | None = None  # that answers it, once it is found
    delivery: Delivery | None = None
    is_answered = False
    code = 200
    content_type = JSON
    answer_headers: Sequence[tuple[bytes, bytes]] = ()
    body = b""
    _query: dict[bytes, list[bytes]] | None = None

    def __init__(self, connection: Client, method: bytes, target: bytes, version: bytes, head: Head) -> None:
        self.connection = connection
        self.method = method
        self.target = self.path = target
        self.version = version
        self.head = head
        self.headers = head.headers  # name -> value, the last where there are several

    def values(self, name: bytes) -> Sequence[bytes]:
        """All values of a header, in their order."""
        several = self.head.repeated.get(name)
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
        self.answer_headers = [*self.answer_headers, (name, value)]

    def close(self) -> None:
        """The connection closes after the answer, and the answer says so."""
        if not self.is_last:
            self.is_last = True
            self.set_header(b"Connection", b"close")

    def respond(self, body: bytes) -> None:
        """Send the answer, `body` being its body; nobody is told when the client has left."""
        if not self.has_left:
            self.connection.respond(self, body)

    def left(self) -> None:
        """The client has left before it was answered."""
        self.has_left = True
        if self.delivery is not None:
            self.delivery.left()
