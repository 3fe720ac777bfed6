"""Taking jobs for good on the 2010 routes: what `/q` and `/qb` have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presque.web import limits
from presque.web.answers import error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.defer import Deferred

    from presque.http.request import Request
    from presque.jobs.queues import Taken
    from presque.web.parts import Parts


def take(
    request: Request,
    parts: Parts,
    queue: str,
    compose: Callable[[Request, Sequence[bytes]], bytes],
    *,
    wait: float,
    worker: str,
    limit: int,
) -> Deferred[bytes]:
    """Take up to `limit` jobs for `worker`, waiting up to `wait` seconds for the first. Fires with the answer, which
    `compose` makes from the payloads.
    """

    def compose_or_refuse(taken: Taken) -> bytes:
        return compose(request, taken.payloads) if taken.payloads else error(request, 404, "no job")

    if limit > 1:
        request.connection.check_room(limits.ANSWER)
    queues = parts.queues
    taking = parts.waiting.take([queue], lambda name, daemon: queues.take(name, limit, worker, daemon), wait)
    return parts.deliveries.deliver(request, taking, wait > 0, compose_or_refuse)
