"""What all connections of a daemon share."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

from twisted.web.http import datetimeToString

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from presque.http.access import Access
    from presque.http.deliveries import Deliveries
    from presque.http.door import Door
    from presque.http.request import Client, Request


class Shared:
    """What all connections share. `answer(request)` has a request answered; `explain(path, status, message,
    request id)` returns the body and the content type of a refusal that needs no route.
    """

    def __init__(
        self,
        answer: Callable[[Request], None],
        explain: Callable[[bytes, int, str, bytes], tuple[bytes, bytes]],
        deliveries: Deliveries,
        door: Door,
        max_body: int,
        request_timeout: float,
        clock: IReactorTime,
    ) -> None:
        self.answer = answer
        self.explain = explain
        self.deliveries = deliveries
        self.door = door
        self.max_body = max_body  # bytes
        self.request_timeout = request_timeout  # seconds
        self.clock = clock
        self.connections: set[Client] = set()
        self.changed: Callable[[], object] = lambda: (
            None
        )  # called when a connection has ended, or its last answer is written
        self.access: Access | None = None  # the access log, if there is one
        self.stopping = False  # each connection is closed after its next answer
        self._date = b""  # the Date header during the second `_dated`
        self._dated = 0

    def date(self) -> bytes:
        """The Date header of an answer that is sent now."""
        if (second := int(time())) != self._dated:  # by the wall clock, which is for people
            self._dated, self._date = second, b"Date: %b\r\n" % datetimeToString(second)
        return self._date

    @property
    def busy(self) -> int:
        """How many requests have begun to arrive and are not answered yet."""
        return sum(connection.is_busy for connection in self.connections)
