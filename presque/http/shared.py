"""What all connections of a daemon share."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, NamedTuple

from twisted.web.http import datetimeToString

from presque.http.buffers import Buffers
from presque.http.guests import Guests

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from presque.http.access import Access
    from presque.http.deliveries import Deliveries
    from presque.http.door import Door, Refusal
    from presque.http.request import Client, Request
    from presque.limits import Limits
    from presque.metrics import Meter


class Bounds(NamedTuple):
    """How much clients may take of a daemon."""

    body: int  # bytes of one body
    request_timeout: float  # seconds
    buffered: int  # bytes of bodies and unread answers of all clients
    connections: int
    connections_each: int  # from one address; 0: any number


class Shared:
    """What all connections share. `answer(request)` has a request answered; `explain(path, status, message,
    request id)` returns the body and the content type of a refusal that needs no route; `judge(request)`, if there is
    one, returns why a request is refused whose head is complete, before its body is read. `is_vital(path)` tells which
    requests are answered beyond all limits, and `settles(path)` which are not refused for want of memory.
    """

    is_vital: Callable[[bytes], bool] = staticmethod(lambda path: False)
    settles: Callable[[bytes], bool] = staticmethod(lambda path: False)

    def __init__(
        self,
        answer: Callable[[Request], None],
        explain: Callable[[bytes, int, str, bytes], tuple[bytes, bytes]],
        deliveries: Deliveries,
        door: Door,
        bounds: Bounds,
        limits: Limits,
        clock: IReactorTime,
        meter: Meter,
        judge: Callable[[Request], Refusal | None] | None = None,
    ) -> None:
        self.answer = answer
        self.explain = explain
        self.deliveries = deliveries
        self.door = door
        self.judge = judge
        self.max_body = bounds.body
        self.request_timeout = bounds.request_timeout
        self.buffers = Buffers(bounds.buffered)
        self.guests = Guests(bounds.connections, bounds.connections_each)
        self.limits = limits
        self.clock = clock
        self.meter = meter
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

    def judge_again(self) -> None:
        """Cut off the clients that wait for a job and would be refused now: those whose token is gone."""
        for connection in list(self.connections):
            request = connection.waiting
            if request is not None and self.judge is not None and self.judge(request) is not None:
                connection.abort()

    @property
    def busy(self) -> int:
        """How many requests have begun to arrive and are not answered yet."""
        return sum(connection.is_busy for connection in self.connections)
