"""Finds the route of a request, calls its function, and answers with the result.

The table is made once from the Klein application's own map, so routes are declared only in Klein. Klein itself answers
only requests that are not in the table: unknown paths and methods, and OPTIONS. Its matcher and the closures of its
rendering cost more than Redis and HTTP parsing together.
"""

from __future__ import annotations

import re
from functools import lru_cache
from http import HTTPStatus
from io import BytesIO
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.resource import Resource

from presque.http.request import JSON
from presque.http.target import in_origin_form, segments_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from presque.http.request import Request
    from presque.http.routes import Route, Routes

_VARIABLE = re.compile(r"<\w+>")  # Werkzeug's default converter: one non-empty segment
_ANY = b"<>"  # represents a variable in the tree; no segment has these characters
LONGEST_REMEMBERED = 512  # bytes of a method and a path; a queue name has up to 128
_NOWHERE = IPv4Address("TCP", "127.0.0.1", 80)


class Table:
    """Answers requests. `admit(request, route)` is called between finding a route and calling it, and raises the reason
    to refuse the request. `explain(request, failure)` returns the answer to a failure, and `refuse(request, status,
    message)` the answer to a request without a route.
    """

    _log = Logger()

    def __init__(
        self,
        routes: Routes,
        admit: Callable[[Request, Route], None],
        explain: Callable[[Request, Failure], bytes],
        refuse: Callable[[Request, int, str], bytes],
    ) -> None:
        self._klein = routes.app.resource()
        self._admit = admit
        self._explain = explain
        self._refuse = refuse
        self._routed = lru_cache(maxsize=4096)(self._route)  # nearly all requests are for the same queues
        self._tree: dict[bytes | str, Any] = {}  # segment -> tree; at the end of a path {method: Route}
        for rule in routes.app.url_map.iter_rules():
            segments = [_VARIABLE.sub(_ANY.decode(), part).encode() for part in rule.rule[1:].split("/")]
            node = self._tree
            for segment in segments:
                node = node.setdefault(segment, {})
            for method in rule.methods or ():
                node[method] = routes.by_endpoint[rule.endpoint]  # the key is a str, segments are bytes

    def find(self, method: bytes, segments: Sequence[bytes]) -> tuple[Route, list[str]] | None:
        """The route for a request and the values of its path variables; None if there is no route."""
        node, values = self._tree, []
        for segment in segments:
            following = node.get(segment)
            if following is None:
                following = node.get(_ANY) if segment else None
                if following is None:
                    return None
                values.append(segment.decode("ascii"))
            node = following
        route = node.get(method.decode("ascii"))
        return None if route is None else (route, values)

    def answer(self, request: Request) -> None:
        """Answer a request, now or once the route's Deferred has fired."""
        path, method = request.target, request.method
        if b"?" in path:
            path = path[: path.index(b"?")]
        routed = self._routed if len(method) + len(path) <= LONGEST_REMEMBERED else self._route
        request.path, found = routed(method, path)
        if found is not None:
            self._call(request, *found)
        else:
            self._answer_without_route(request)

    def _answer_without_route(self, request: Request) -> None:
        path = request.path
        if path == b"*" and request.method == b"OPTIONS":
            request.code = HTTPStatus.NO_CONTENT
            request.respond(b"")
        elif not (path.startswith(b"/") and request.method.isupper()):
            request.respond(self._refuse(request, HTTPStatus.BAD_REQUEST, "bad request"))
        elif b"//" in in_origin_form(request.target.partition(b"?")[0]):
            request.respond(self._refuse(request, HTTPStatus.NOT_FOUND, "not found"))
        else:
            _AtKlein(request, path[1:].split(b"/")).render(self._klein)

    def _route(self, method: bytes, path: bytes) -> tuple[bytes, tuple[Route, list[str]] | None]:
        """The normalized path, and the route found for it."""
        path = in_origin_form(path)
        if not path.startswith(b"/") or not method.isupper():
            return path, None
        segments = segments_of(path)
        return b"/" + b"/".join(segments), None if b"//" in path else self.find(method, segments)

    def _call(self, request: Request, route: Route, values: list[str]) -> None:
        request.route = route
        try:
            self._admit(request, route)
            result = route.function(request, *values)
        except Exception:
            self._answer_with(Failure(), request)
            return
        if isinstance(result, bytes):
            request.respond(result)
            return
        if not isinstance(result, Deferred):
            result = Deferred.fromCoroutine(result)
        result.addBoth(self._answer_with, request)

    def _answer_with(self, result: bytes | Failure, request: Request) -> None:
        """Answer with a route's result, or the answer to its failure. If that fails too, cut the client off."""
        try:
            if not isinstance(result, Failure):
                request.respond(result)
            elif not request.has_left:
                request.respond(self._explain(request, result))
        except Exception:
            about: dict[str, Any] = {"method": request.method, "path": request.path, "request": request.id.decode()}
            self._log.failure("{method} {path} was not answered (request {request})", **about)
            request.connection.abort()


class _AtKlein(server.Request):
    """A request without a route, as a `twisted.web` request for Klein, whose answer is passed on."""

    def __init__(self, request: Request, segments: list[bytes]) -> None:
        super().__init__(_Nowhere(), False)
        self._request = request
        self._body = b""
        self.method, self.uri, self.path = request.method, request.target, request.path
        self.clientproto = request.version
        self.prepath, self.postpath = [], segments
        self.content = BytesIO(request.body)
        self.content_type = JSON

    def getRequestHostname(self) -> bytes:
        """A constant: no answer depends on the Host header."""
        return b"presque"

    @property
    def id(self) -> bytes:
        """As of the request."""
        return self._request.id

    def set_header(self, name: bytes, value: bytes) -> None:
        """As `Request.set_header`."""
        self._request.set_header(name, value)

    def write(self, data: bytes) -> None:
        """Keep Klein's answer."""
        self._body += data

    def finish(self) -> None:
        """Klein has answered."""
        self._request.code, self._request.content_type = self.code, self.content_type
        self._request.respond(self._body)


class _Nowhere:
    """The channel of a request for Klein."""

    site = server.Site(Resource(), parsePOSTFormSubmission=False)
    transport = None

    def getHost(self) -> IPv4Address:
        """An address."""
        return _NOWHERE

    getPeer = getHost

    def isSecure(self) -> bool:
        """Whether it came over TLS."""
        return False
