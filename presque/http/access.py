"""The access log: a line for each request. It has no query string and no body, which may contain secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from presque.http.request import Request

LONGEST_METHOD = 16  # characters
NOWHERE = "-"  # the path of a request that has no route

_LINE = "{method} {path} {status} in {seconds} s, {bytes} bytes, request {request}"


class Access:
    """Logs each request with its method, the path of its route, the status, the seconds since it had arrived whole, the
    bytes of the answer's body, and its id.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock

    def begun(self, request: Request) -> None:
        """A request has arrived whole."""
        request.began = self._clock.seconds()

    def answered(self, request: Request, size: int) -> None:
        """It was answered with a body of `size` bytes."""
        self._tell(request, request.code, size)

    def left(self, request: Request) -> None:
        """The client has left before the answer."""
        self._tell(request, "left", 0)

    def refused(self, method: bytes, status: int, size: int, request_id: bytes) -> None:
        """A request was refused without a route, perhaps before all of it came."""
        self._line(method, NOWHERE, int(status), 0.0, size, request_id)

    def _tell(self, request: Request, status: int | str, size: int) -> None:
        path = NOWHERE if request.route is None else request.route.path
        self._line(request.method, path, status, self._clock.seconds() - request.began, size, request.id)

    def _line(self, method: bytes, path: str, status: int | str, seconds: float, size: int, request_id: bytes) -> None:
        self._log.info(
            _LINE,
            method=method[:LONGEST_METHOD].decode("latin-1") or NOWHERE,
            path=path,
            status=status,
            seconds=round(seconds, 6),
            bytes=size,
            request=request_id.decode(),
        )
