"""The Klein application: all routes, and what their failures are answered with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from klein import Klein
from twisted.logger import Logger
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from presque.errors import (
    Duplicate,
    InvalidName,
    InvalidWorker,
    PresqueError,
    QueuePaused,
    StoreFull,
    StoreUnavailable,
    UnknownWorker,
)
from presque.web import dashboard, routes2010
from presque.web.answers import answer, error
from presque.web.params import BadRequest

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from presque.queues import Queues
    from presque.waiting import Waiting
    from presque.web.handoff import Handoff
    from presque.workers import Workers

_log = Logger()

# The first class that fits gives the status.
STATUSES: tuple[tuple[type[PresqueError], int], ...] = (
    (InvalidName, 400),
    (InvalidWorker, 400),
    (Duplicate, 400),
    (QueuePaused, 404),
    (UnknownWorker, 404),
    (StoreFull, 503),
    (StoreUnavailable, 503),
    (PresqueError, 400),
)


def make_app(queues: Queues, workers: Workers, waiting: Waiting, handoff: Handoff) -> Klein:
    """The application over these."""
    app = Klein()
    app.url_map.merge_slashes = False
    routes2010.add(app, queues, workers, waiting, handoff)
    dashboard.add(app, queues)

    @app.handle_errors(PresqueError)
    def refused(request: Any, failure: Failure) -> bytes:
        wrong = cast("PresqueError", failure.value)
        status = next(status for kind, status in STATUSES if isinstance(wrong, kind))
        return error(request, status, _message(wrong))

    @app.handle_errors(MethodNotAllowed)
    def wrong_method(request: Any, failure: Failure) -> bytes:
        allowed = sorted({*(cast("MethodNotAllowed", failure.value).valid_methods or ()), "OPTIONS"})
        request.setHeader(b"Allow", ", ".join(allowed).encode())
        return answer(request, 204, b"") if request.method == b"OPTIONS" else error(request, 405, "method not allowed")

    @app.handle_errors(HTTPException)
    def no_route(request: Any, failure: Failure) -> bytes:
        return error(request, 404, "not found")

    @app.handle_errors(Exception)
    def broken(request: Any, failure: Failure) -> bytes:
        _log.failure("{method} {path} failed", failure=failure, method=request.method, path=request.path)
        return error(request, 500, "internal error")

    return app


def _message(wrong: PresqueError) -> str:
    """What the 2010 routes say: the text of a bad request, for all else the class's docstring."""
    return str(wrong) if isinstance(wrong, BadRequest) else str(type(wrong).__doc__)
