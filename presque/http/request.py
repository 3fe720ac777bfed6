"""A request as the routes see it, and its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.web.http import parse_qs

from presque.http.request_id import HEADER, request_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from presque.http.arrival import Arrival
    from presque.http.head import Head
    from presque.http.routes import Route


class Client(Protocol):
    """The interface of a client's connection: presque.http.connection."""

    arrival: Arrival
    request_timeout: float

    @property
    def is_busy(self) -> bool:
        """Whether a request has begun to arrive and is not answered yet."""

    def respond(self, request: Request, body: bytes) -> None:
        """Send the answer."""

    def settled(self) -> None:
        """No delivery on this connection is awaited any more."""

    def loseConnection(self) -> None:
        """Close once everything written has arrived."""

    def abort(self) -> None:
        """Cut the client off."""


JSON = b"application/json"


class Delivery(Protocol):
    """The interface of the jobs in an answer: presque.http.deliveries."""

    @property
    def is_waiting(self) -> bool:
        """Whether the client waits for a job."""

    @property
    def has_jobs(self) -> bool:
        """Whether the answer being written contains jobs."""

    def written(self, mark: int) -> None:
        """The answer is in the stream to the client and ends at position `mark`."""

    def left(self) -> None:
        """The client has left before the answer."""


class Request:
    """One request. `target` is as the client sent it; `path` is plain ASCII, as used for routing. Names of headers are
    in lower case.
    """

    is_last = False  # the connection closes after the answer
    has_left = False  # the client left before the answer
    route: Route | None = None  # the route that answers it, once found
    delivery: Delivery | None = None
    is_answered = False
    code = 200
    content_type = JSON
    answer_headers: Sequence[tuple[bytes, bytes]] = ()
    body = b""
    began = 0.0  # when it had arrived whole (seconds, by the daemon's clock); only for the access log
    _query: dict[bytes, list[bytes]] | None = None
    _id: bytes | None = None

    def __init__(self, connection: Client, method: bytes, target: bytes, version: bytes, head: Head) -> None:
        self.connection = connection
        self.method = method
        self.target = self.path = target
        self.version = version
        self.head = head
        self.headers = head.headers  # name -> value, the last one if repeated

    def values(self, name: bytes) -> Sequence[bytes]:
        """All values of a header, in order."""
        several = self.head.repeated.get(name)
        if several is not None:
            return several
        value = self.headers.get(name)
        return [] if value is None else [value]

    @property
    def id(self) -> bytes:
        """Its id: the client's X-Request-Id or, made at the first use, one of our own. The answer then has it."""
        if self._id is None:
            self._id = request_id(self.headers.get(HEADER))
        return self._id

    @property
    def has_id(self) -> bool:
        """Whether the answer is to have its id."""
        return self._id is not None or HEADER in self.headers

    @property
    def query(self) -> dict[bytes, list[bytes]]:
        """The query parameters, decoded: name -> values, including empty ones."""
        if self._query is None:
            text = self.target.partition(b"?")[2]
            self._query = parse_qs(text, keep_blank_values=True) if text else {}
        return self._query

    def set_header(self, name: bytes, value: bytes) -> None:
        """Set a header of the answer."""
        self.answer_headers = [*self.answer_headers, (name, value)]

    def close(self) -> None:
        """Close the connection after the answer, and say so in the answer."""
        if not self.is_last:
            self.is_last = True
            self.set_header(b"Connection", b"close")

    def respond(self, body: bytes) -> None:
        """Send the answer with this body; does nothing if the client has left."""
        if not self.has_left:
            self.connection.respond(self, body)

    def left(self) -> None:
        """The client has left before the answer."""
        self.has_left = True
        if self.delivery is not None:
            self.delivery.left()
