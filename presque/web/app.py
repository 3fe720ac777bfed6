"""The Klein application: all routes, and the answers to their failures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from twisted.logger import Logger
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from presque.errors import (
    Duplicate,
    IdempotencyMismatch,
    LaterSchedule,
    LeaseLost,
    NotAccepting,
    PartlyDone,
    PresqueError,
    QueueFull,
    QueuePaused,
    StoreError,
    UnknownJob,
    UnknownQueue,
    UnknownSchedule,
    UnknownWorker,
    WrongState,
)
from presque.http.routes import Route, Routes
from presque.web import openapi, ops
from presque.web.answers import answer, error, is_modern
from presque.web.bad_request import BadRequest
from presque.web.dashboard import page as dashboard
from presque.web.params import QUESTION_MARK, refuse_unknown
from presque.web.v1 import routes as routes_v1
from presque.web.y2010 import routes as routes2010

if TYPE_CHECKING:
    from klein import Klein
    from twisted.python.failure import Failure

    from presque.http.request import Request
    from presque.web.parts import Parts

_log = Logger()

# The first matching class gives the status: on the 2010 routes, and below /v1.
STATUSES: tuple[tuple[type[PresqueError], int, int], ...] = (
    (Duplicate, 400, 409),
    (IdempotencyMismatch, 422, 422),
    (LaterSchedule, 409, 409),
    (LeaseLost, 409, 409),
    (NotAccepting, 409, 409),
    (QueueFull, 429, 429),
    (QueuePaused, 404, 404),
    (UnknownJob, 404, 404),
    (UnknownQueue, 404, 404),
    (UnknownSchedule, 404, 404),
    (UnknownWorker, 404, 404),
    (WrongState, 409, 409),
    (StoreError, 503, 503),
    (PresqueError, 400, 400),
)


def make_routes(parts: Parts) -> Routes:
    """The application that calls these parts, and the list of its routes."""
    routes = Routes()
    routes2010.add(routes, parts)
    routes_v1.add(routes, parts)
    dashboard.add(routes, parts.queue_list)
    ops.add(routes, parts.checks)
    openapi.add(routes)
    _answer_what_has_no_route(routes.app)
    return routes


def admit(request: Request, route: Route) -> None:
    """Refuse a request below /v1 with unknown query parameters; the 2010 routes ignore them."""
    if QUESTION_MARK in request.target and is_modern(request.path):
        refuse_unknown(request, route.query)


def explain(request: Request, failure: Failure) -> bytes:
    """The answer to the failure of a route."""
    wrong = failure.value
    if not isinstance(wrong, PresqueError):
        path = request.path if request.route is None else request.route.path
        about: dict[str, Any] = {"method": request.method.decode(), "path": path, "request": request.id.decode()}
        _log.failure("{method} {path} failed (request {request})", failure=failure, **about)
        return error(request, 500, "internal error")
    modern = is_modern(request.path)
    status = next((new if modern else old) for kind, old, new in STATUSES if isinstance(wrong, kind))
    return error(request, status, _message(wrong), wrong.code, **_members(wrong))


def _answer_what_has_no_route(app: Klein) -> None:
    @app.handle_errors(MethodNotAllowed)
    def wrong_method(request: Any, failure: Failure) -> bytes:
        allowed = sorted({*(cast("MethodNotAllowed", failure.value).valid_methods or ()), "OPTIONS"})
        request.set_header(b"Allow", ", ".join(allowed).encode())
        return answer(request, 204, b"") if request.method == b"OPTIONS" else error(request, 405, "method not allowed")

    @app.handle_errors(HTTPException)
    def no_route(request: Any, failure: Failure) -> bytes:
        return error(request, 404, "not found")

    @app.handle_errors(Exception)
    def broken(request: Any, failure: Failure) -> bytes:
        return explain(request, failure)


def _members(wrong: PresqueError) -> dict[str, Any]:
    """Further members of a problem."""
    if isinstance(wrong, Duplicate):
        return {"existing": wrong.existing or None}
    return {wrong.verb: wrong.count} if isinstance(wrong, PartlyDone) else {}


def _message(wrong: PresqueError) -> str:
    """The text of a bad request; for other errors the message of their class."""
    return str(wrong) if isinstance(wrong, BadRequest) else wrong.message
