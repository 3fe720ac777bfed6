"""What the token of a request is: `GET /v1/me`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from presque.http.routes import ANY
from presque.tokens.scopes import ALL
from presque.web.answers import json

if TYPE_CHECKING:
    from presque.http.request import Request
    from presque.http.routes import Routes


class Me(Struct):
    """The name of the token, its scopes, and its end in epoch seconds, null if it has none. Where requests need no
    token, `name` is null, and the scopes are all that there are.
    """

    name: str | None
    scopes: list[str]
    expires_at: float | None


def add(routes: Routes) -> None:
    """Declare the route."""

    @routes.at(
        "GET",
        "/v1/me",
        summary="The name and the scopes of the request's token.",
        name="showToken",
        scope=ANY,
        answers={200: Me},
    )
    def me(request: Request) -> bytes:
        token = request.token
        if token is None:
            return json(request, Me(None, list(map(str, ALL)), None))
        return json(request, Me(token.name, list(map(str, token.scopes)), token.expires_at))
