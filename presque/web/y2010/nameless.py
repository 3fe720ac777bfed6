"""The 2010 routes that need a queue name, requested without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presque.http.routes import ANY
from presque.web.answers import error

if TYPE_CHECKING:
    from presque.http.request import Request
    from presque.http.routes import Routes


def add(routes: Routes) -> None:
    """Declare the routes."""
    paths = {
        "/q": ("GET", "POST", "PUT", "DELETE"),
        "/qb": ("GET", "POST"),
        "/j": ("GET",),
        "/control": ("GET", "POST"),
        "/w": ("POST", "DELETE"),
    }
    for path, methods in paths.items():
        for method in methods:

            @routes.at(method, path, path + "/", summary="The name is missing.", takes=path in ("/q", "/qb"), scope=ANY)
            def nameless(request: Request) -> bytes:
                return error(request, 404, "queue name is missing")
