"""From a request to its route's function, and from what that gives to the answer.

The table is made once from the Klein application's own map, so Klein's declarations stay the only ones. Klein itself is
asked only for what is not in the table: a path or a method that there is no route for, and OPTIONS. Its matcher and the
closures of its rendering cost more than Redis and the parsing of HTTP together.
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

_VARIABLE = re.compile(r"<\w+>")  # Werkzeug's default converter: one segment that is not empty
_ANY = b"<>"  # stands for a variable in the tree; no segment has these characters
LONGEST_REMEMBERED = 512  # bytes of a method and a path: a queue's name has 128 at most
_NOWHERE = IPv4Address("TCP", "127.0.0.1", 80)


class Table:
    """Answers requests. `admit(request, route)` is asked between finding a route and calling it, and raises what keeps
    the request from it. `explain(request, failure)` gives the answer to a failure, and `refuse(request, status,
    message)` the answer to a request for which there is no route.
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
                node[method] = routes.by_endpoint[rule.endpoint]  # a str, which no segment is

    def find(self, method: bytes, segments: Sequence[bytes]) -> tuple[Route, list[str]] | None:
        """The route for a request and the values of its path's variables; None where there is none."""
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
        """A path as it is routed, and what is found for it."""
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
        """Answer with what a route has given, or with what its failure means; where that fails, cut the client off."""
        try:
            if not isinstance(result, Failure):
                request.respond(result)
            elif not request.has_left:
                request.respond(self._explain(request, result))
        except Exception:
            self._log.failure("{method} {path} was not answered", method=request.method, path=request.path)
            request.connection.abort()


class _AtKlein(server.Request):
    """A request for which there is no route, as Klein knows requests. What it is answered answers the other."""

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
        """Nothing here depends on what a client says that we are called."""
        return b"presque"

    def set_header(self, name: bytes, value: bytes) -> None:
        """As a Request's."""
        self._request.set_header(name, value)

    def write(self, data: bytes) -> None:
        """Keep what Klein answers."""
        self._body += data

    def finish(self) -> None:
        """Klein has answered."""
        self._request.code, self._request.content_type = self.code, self.content_type
        self._request.respond(self._body)


class _Nowhere:
    """The channel of a request that Klein sees."""

    site = server.Site(Resource(), parsePOSTFormSubmission=False)
    transport = None

    def getHost(self) -> IPv4Address:
        """An address."""
        return _NOWHERE

    getPeer = getHost

    def isSecure(self) -> bool:
        """Whether it came by TLS."""
        return False
