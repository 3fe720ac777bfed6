"""From a request to its route's function, and from what that gives to the answer.

The table is made once from the Klein application's own map, so Klein's declarations stay the only ones. Klein itself is
asked only for what is not in the table: a path or a method that there is no route for, and OPTIONS. Its matcher and the
closures of its rendering cost more than Redis and the parsing of HTTP together.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from presque.http.routes import Routes
    from presque.http.site import Request

_VARIABLE = re.compile(r"<\w+>")  # Werkzeug's default converter: one segment that is not empty
_ANY = b"<>"  # stands for a variable in the tree; no segment has these characters


class Dispatch:
    """Answers requests. `explain(request, failure)` gives the answer to what a route failed with."""

    _log = Logger()

    def __init__(self, routes: Routes, explain: Callable[[Request, Failure], bytes]) -> None:
        self._klein = routes.app.resource()
        self._explain = explain
        self._tree: dict[bytes | str, Any] = {}  # segment -> tree; at the end of a path {method: function}
        for rule in routes.app.url_map.iter_rules():
            segments = [_VARIABLE.sub(_ANY.decode(), part).encode() for part in rule.rule[1:].split("/")]
            node = self._tree
            for segment in segments:
                node = node.setdefault(segment, {})
            for method in rule.methods or ():
                node[method] = routes.functions[rule.endpoint]  # a str, which no segment is

    def find(self, method: bytes, segments: Sequence[bytes]) -> tuple[Callable[..., Any], list[str]] | None:
        """The function for a request and the values of its path's variables; None where there is no route."""
        node, values = self._tree, []
        for segment in segments:
            following = node.get(segment)
            if following is None:
                following = node.get(_ANY) if segment else None
                if following is None:
                    return None
                values.append(segment.decode("ascii"))
            node = following
        function = node.get(method.decode("ascii"))
        return None if function is None else (function, values)

    def answer(self, request: Request, segments: list[bytes]) -> None:
        """Answer a request whose path has these segments, now or once the route's Deferred has fired."""
        found = self.find(request.method, segments)
        if found is None:
            request.prepath, request.postpath = [], segments
            request.render(self._klein)
            return
        function, values = found
        try:
            result = function(request, *values)
        except Exception:
            self._fail(Failure(), request)
            return
        if isinstance(result, bytes):
            self._end(result, request)
            return
        if not isinstance(result, Deferred):
            result = Deferred.fromCoroutine(result)
        result.addCallbacks(self._end, self._fail, callbackArgs=(request,), errbackArgs=(request,))
        result.addErrback(self._broken, request)

    def _end(self, body: bytes, request: Request) -> None:
        if request.channel is not None:  # else the client has left
            request.write(body)
            request.finish()

    def _fail(self, failure: Failure, request: Request) -> None:
        if request.channel is not None:
            self._end(self._explain(request, failure), request)

    def _broken(self, failure: Failure, request: Request) -> None:
        self._log.failure("{method} {path} was not answered", failure=failure, method=request.method, path=request.path)
        request.loseConnection()
