"""How routes are declared: with Klein, one function per method and path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from klein import Klein

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ANY = "any"  # the scope of a route that any token may use
OPEN = ""  # the scope of a route that needs no token


@dataclass(frozen=True)
class Route:
    """A route: its function, and everything that `/openapi.json` says about it."""

    function: Any  # called with the request and the values of the path variables
    method: str
    path: str
    summary: str
    body: Any  # the type of its body, None if it has none
    answers: Mapping[int, Any]  # status -> the type of the body, None for an empty one
    query: tuple[str, ...]
    headers: tuple[str, ...]
    name: str = ""  # of the operation; generated clients use it
    needs_body: bool = True
    refuses: tuple[int, ...] = ()  # statuses of its own errors, besides those of every route
    tells: tuple[str, ...] = ()  # headers of its answers
    is_alias: bool = False  # a second path of the same operation
    scope: str = ANY  # what a token must allow, see Routes.at

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """The names of its path variables, in order."""
        return tuple(re.findall(r"<(\w+)>", self.path))


class Routes:
    """The one Klein application, and the list of its routes."""

    def __init__(self) -> None:
        self.app = Klein()
        self.app.url_map.merge_slashes = False
        self.listed: list[Route] = []
        self.by_endpoint: dict[str, Route] = {}  # by Klein's name of the endpoint

    def at(
        self,
        method: str,
        *paths: str,
        summary: str,
        takes: bool = False,
        body: Any = None,
        answers: Mapping[int, Any] | None = None,
        query: tuple[str, ...] = (),
        headers: tuple[str, ...] = (),
        name: str = "",
        needs_body: bool = True,
        refuses: tuple[int, ...] = (),
        tells: tuple[str, ...] = (),
        scope: str,
    ) -> Callable[[Any], Any]:
        """Declare a route at each of `paths`. Its `summary` is an argument because `python -OO` removes docstrings. GET
        answers HEAD too, unless it `takes` jobs. A route with `answers` and a `name` is described at `/openapi.json`
        under the first of its paths; `presque.web.parameters` describes the names in `query` and `headers`.

        `scope` is what a request's token must allow: `produce`, `consume`, `read` or `manage`, on every queue that the
        request names in its path or query. A route that names none needs a token that allows this on some queue, and
        must itself leave out the others; `read:*` and the like need a token that allows it on all. ANY: whatever the
        token allows. OPEN: no token at all, which is for health checks.

        In Klein a second endpoint of one name silently replaces the first, and a route without a method accepts any;
        so each route gets one method, and an endpoint name made of method and path.
        """

        def declare(function: Any) -> Any:
            for path in paths:
                endpoint = f"{method} {path}"
                if endpoint in self.app.endpoints:
                    raise ValueError(f"there are two routes {endpoint}")
                self.app.route(path, methods=[method], endpoint=endpoint)(function)
                known = (method, path, summary, body, answers or {}, query, headers, name, needs_body, refuses, tells)
                route = self.by_endpoint[endpoint] = Route(function, *known, is_alias=path != paths[0], scope=scope)
                self.listed.append(route)
                if takes:
                    for rule in self.app.url_map.iter_rules(endpoint):
                        if rule.methods:
                            rule.methods.discard("HEAD")
            return function

        return declare
