"""Several settlements or extensions in one request, each for itself: one script call a queue, all queues at once, and
a result for each item, whatever becomes of the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from presque.errors import StoreUnavailable, UnknownJob
from presque.jobs.leases import Settlement
from presque.web import params
from presque.web.answers import json
from presque.web.params import BadRequest
from presque.web.v1 import models

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import msgspec
    from twisted.internet.defer import Deferred

    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.leases import Extended, Leases, Settled

T = TypeVar("T")


def add(routes: Routes, leases: Leases) -> None:
    """Declare the routes."""

    @routes.at(
        "POST",
        "/v1/settlements",
        summary="Settle up to 1000 jobs, each for itself. May be repeated.",
        name="settle",
        body=models.Settlements,
        answers={200: models.SettleResults},
    )
    async def settle(request: Request) -> bytes:
        raws = params.parse(params.body(request), models.SettlementItems).settlements
        items = [_read(raw, models.Settle) for raw in raws]
        results = await _carry_out(items, _settlement, leases.settle_several)
        return json(request, {"results": [_settled(*each) for each in zip(items, results, strict=True)]})

    @routes.at(
        "POST",
        "/v1/extensions",
        summary="Let up to 1000 leases begin anew, each for itself; the receipts stay the same.",
        name="extendSeveral",
        body=models.Extensions,
        answers={200: models.ExtendResults},
    )
    async def extend_several(request: Request) -> bytes:
        asked = params.parse(params.body(request), models.ExtensionItems)
        items = [_read(raw, models.LeasedJob) for raw in asked.jobs]
        results = await _carry_out(items, _pair, lambda by_queue: leases.extend_several(by_queue, asked.lease))
        return json(request, {"results": [_extended(*each) for each in zip(items, results, strict=True)]})


class Wrong:
    """An item that says something wrong: `detail` says what, `id` is its job's where it has one."""

    def __init__(self, raw: bytes, detail: str) -> None:
        self.detail = detail
        try:
            named: Any = params.parse(raw, dict[str, Any]).get("id")
        except BadRequest:
            named = None
        self.id = named if isinstance(named, str) else None


def _read(raw: msgspec.Raw, kind: type[T]) -> T | Wrong:
    try:
        return params.parse(bytes(raw), kind)
    except BadRequest as wrong:
        return Wrong(bytes(raw), str(wrong))


def _settlement(item: models.Settle, number: bytes) -> Settlement:
    outcome = "final" if item.final and item.outcome == "nack" else item.outcome
    return Settlement(number, item.receipt.encode(), outcome, item.delay, item.error or "")


def _pair(item: models.LeasedJob, number: bytes) -> tuple[bytes, bytes]:
    return number, item.receipt.encode()


async def _carry_out(
    items: Sequence[Any],
    make: Callable[[Any, bytes], Any],
    ask: Callable[[dict[str, list[Any]]], Deferred[dict[str, list[Any]]]],
) -> list[Any]:
    """What became of each item, None where it was not asked for. Fails with StoreUnavailable when nothing was done at
    all because the store is away.
    """
    places: dict[str, list[int]] = {}
    by_queue: dict[str, list[Any]] = {}
    for place, item in enumerate(items):
        try:
            queue, number = ("", b"") if isinstance(item, Wrong) else params.job_id(item.id)
        except UnknownJob:
            continue
        if queue:
            places.setdefault(queue, []).append(place)
            by_queue.setdefault(queue, []).append(make(item, number))
    became: list[Any] = [None] * len(items)
    for queue, results in (await ask(by_queue)).items():
        for place, result in zip(places[queue], results, strict=True):
            became[place] = result
    asked = [result for result in became if result is not None]
    if asked and all(result.became == "unavailable" for result in asked):
        raise StoreUnavailable
    return became


def _settled(item: models.Settle | Wrong, settled: Settled | None) -> models.SettleResult:
    if isinstance(item, Wrong):
        return models.SettleResult(item.id, "bad-request", detail=item.detail)
    if settled is None:  # no job can have such an id
        return models.SettleResult(item.id, "not-found")
    if settled.became != "delayed":
        return models.SettleResult(item.id, settled.became)
    return models.SettleResult(item.id, settled.became, settled.due_at, settled.due_in)


def _extended(item: models.LeasedJob | Wrong, extended: Extended | None) -> models.ExtendResult:
    if isinstance(item, Wrong):
        return models.ExtendResult(item.id, "bad-request", detail=item.detail)
    if extended is None:
        return models.ExtendResult(item.id, "not-found")
    if extended.became != "extended":
        return models.ExtendResult(item.id, extended.became)
    return models.ExtendResult(item.id, extended.became, extended.lease, extended.ends_at)
