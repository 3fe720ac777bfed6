"""How routes are declared: with Klein, one function a method and path, and no surprises from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from klein import Klein


def route(app: Klein, method: str, *paths: str, takes: bool = False) -> Callable[[Any], Any]:
    """Declare a route at each of `paths`. A GET answers HEAD too, unless it `takes` jobs.

    Klein lets a second endpoint of one name replace the first without a word, and a route without a method takes any;
    so each gets one method and a name that says which and where.
    """

    def declare(function: Any) -> Any:
        for path in paths:
            endpoint = f"{method} {path}"
            assert endpoint not in app.endpoints, endpoint
            app.route(path, methods=[method], endpoint=endpoint)(function)
            if takes:
                for rule in app.url_map.iter_rules(endpoint):
                    assert rule.methods is not None
                    rule.methods.discard("HEAD")
        return function

    return declare
