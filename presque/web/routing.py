"""How routes are declared: with Klein, one function a method and path, and no surprises from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from klein import Klein

from presque.web.answers import is_modern
from presque.web.params import refuse_unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from presque.web.site import Request


@dataclass(frozen=True)
class Route:
    """What is known of a route beside its function: enough to describe it to others."""

    method: str
    path: str
    summary: str
    body: Any  # the type of its body, None without one
    answers: Mapping[int, Any]  # status -> the type of that answer, None for an empty one
    query: tuple[str, ...]
    headers: tuple[str, ...]


def _strict(function: Any, query: tuple[str, ...]) -> Any:
    """`function` for requests that have no parameters in their query but those."""

    def strict(request: Request, *values: str) -> Any:
        if b"?" in request.uri:
            refuse_unknown(request, query)
        return function(request, *values)

    return strict


class Routes:
    """The one Klein application, and the list of its routes."""

    def __init__(self) -> None:
        self.app = Klein()
        self.app.url_map.merge_slashes = False
        self.listed: list[Route] = []
        self.functions: dict[str, Any] = {}  # by Klein's name of the endpoint

    def at(
        self,
        method: str,
        *paths: str,
        takes: bool = False,
        body: Any = None,
        answers: Mapping[int, Any] | None = None,
        query: tuple[str, ...] = (),
        headers: tuple[str, ...] = (),
    ) -> Callable[[Any], Any]:
        """Declare a route at each of `paths`; its summary is the function's docstring. A GET answers HEAD too, unless
        it `takes` jobs. Below /v1 a parameter that is not in `query` is refused; the routes of 2010 ignore it.

        Klein lets a second endpoint of one name replace the first without a word, and a route without a method takes
        any; so each gets one method and a name that says which and where.
        """

        def declare(function: Any) -> Any:
            for path in paths:
                endpoint = f"{method} {path}"
                assert endpoint not in self.app.endpoints, endpoint
                self.app.route(path, methods=[method], endpoint=endpoint)(function)
                self.functions[endpoint] = _strict(function, query) if is_modern(path.encode()) else function
                summary = (function.__doc__ or "").strip()
                self.listed.append(Route(method, path, summary, body, answers or {}, query, headers))
                if takes:
                    for rule in self.app.url_map.iter_rules(endpoint):
                        assert rule.methods is not None
                        rule.methods.discard("HEAD")
            return function

        return declare
