"""Several independent settlements or extensions in one request: one script call per queue, all queues at the same
time, and a result for each item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from msgspec import Meta, Raw, Struct

from presque.errors import StoreUnavailable, UnknownJob
from presque.jobs.leases import Settlement
from presque.jobs.outcomes import ExtensionOutcome, SettlementOutcome
from presque.web import limits, params
from presque.web.answers import json
from presque.web.auth import may
from presque.web.bad_request import BadRequest
from presque.web.bodies import decode
from presque.web.types import Lease, Receipt, Seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.defer import Deferred

    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.leases import Extended, Leases, Settled

FORBIDDEN = "forbidden: the token needs the scope consume for the job's queue"


class LeasedJob(Struct, forbid_unknown_fields=True):
    """A job whose lease is to be extended."""

    id: str
    receipt: Receipt


class Extensions(Struct, forbid_unknown_fields=True):
    """Leases to extend independently, to `lease` seconds from now or their queues' settings."""

    jobs: Annotated[list[LeasedJob], Meta(min_length=1, max_length=limits.JOBS)]
    lease: Lease | None = None


class ExtensionItems(Struct, forbid_unknown_fields=True):
    """As Extensions, with jobs that are decoded one by one."""

    jobs: Annotated[list[Raw], Meta(min_length=1, max_length=limits.JOBS)]
    lease: Lease | None = None


class ExtendResult(Struct, omit_defaults=True):
    """The result of one extension: extended for `lease` seconds; refused with lease-lost, not-found or bad-request
    (`detail` says why; `id` is null if it has none); unavailable: nothing was done; unknown: it may have been done.
    """

    id: str | None
    result: ExtensionOutcome
    lease: float | None = None
    lease_expires_at: float | None = None
    detail: str | None = None


class ExtendResults(Struct):
    """The results, in the order of the request."""

    results: list[ExtendResult]


class Settle(Struct, forbid_unknown_fields=True):
    """The settlement of one job, as with ack, nack or release."""

    id: str
    receipt: Receipt
    outcome: Literal["ack", "nack", "release"]
    error: str | None = None
    delay: Seconds | None = None
    final: bool = False


class Settlements(Struct, forbid_unknown_fields=True):
    """Independent settlements of several jobs."""

    settlements: Annotated[list[Settle], Meta(min_length=1, max_length=limits.JOBS)]


class SettlementItems(Struct, forbid_unknown_fields=True):
    """As Settlements, with items that are decoded one by one."""

    settlements: Annotated[list[Raw], Meta(min_length=1, max_length=limits.JOBS)]


class SettleResult(Struct, omit_defaults=True):
    """The result of one settlement: acked, released, delayed (until `due_at`, `due_in` seconds after the nack), dead;
    refused with lease-lost, not-found or bad-request (`detail` says why; `id` is null if it has none); unavailable:
    nothing was done; unknown: it may have been done.
    """

    id: str | None
    result: SettlementOutcome
    due_at: float | None = None
    due_in: float | None = None
    detail: str | None = None


class SettleResults(Struct):
    """The results, in the order of the request."""

    results: list[SettleResult]


Item = TypeVar("Item", LeasedJob, Settle)


def add(routes: Routes, leases: Leases) -> None:
    """Declare the routes."""

    @routes.at(
        "POST",
        "/v1/settlements",
        summary="Settle up to 1000 jobs independently. May be repeated.",
        name="settle",
        scope="consume",
        body=Settlements,
        answers={200: SettleResults},
    )
    async def settle(request: Request) -> bytes:
        raws = decode(request.body, SettlementItems).settlements
        items = [_read(request, raw, Settle) for raw in raws]
        results = await _carry_out(items, _settlement, leases.settle_several)
        return json(request, {"results": [_settled(*each) for each in zip(items, results, strict=True)]})

    @routes.at(
        "POST",
        "/v1/extensions",
        summary="Extend up to 1000 leases independently; the receipts stay the same.",
        name="extendSeveral",
        scope="consume",
        body=Extensions,
        answers={200: ExtendResults},
    )
    async def extend_several(request: Request) -> bytes:
        asked = decode(request.body, ExtensionItems)
        items = [_read(request, raw, LeasedJob) for raw in asked.jobs]
        results = await _carry_out(items, _pair, lambda by_queue: leases.extend_several(by_queue, asked.lease))
        return json(request, {"results": [_extended(*each) for each in zip(items, results, strict=True)]})


class Wrong:
    """An invalid item: `detail` says why, `id` is the id of its job, or None."""

    def __init__(self, raw: bytes, detail: str) -> None:
        self.detail = detail
        try:
            named: Any = decode(raw, dict[str, Any]).get("id")
        except BadRequest:
            named = None
        self.id = named if isinstance(named, str) else None


def _read(request: Request, raw: Raw, kind: type[Item]) -> Item | Wrong:
    """An item; one of a queue from which the request may not consume is a wrong one, and spoils no other."""
    try:
        item = decode(bytes(raw), kind)
    except BadRequest as wrong:
        return Wrong(bytes(raw), str(wrong))
    if request.token is not None and not may(request, "consume", item.id.rpartition(":")[0]):
        return Wrong(bytes(raw), FORBIDDEN)
    return item


def _settlement(item: Settle, number: bytes) -> Settlement:
    outcome = "final" if item.final and item.outcome == "nack" else item.outcome
    return Settlement(number, item.receipt.encode(), outcome, item.delay, item.error or "")


def _pair(item: LeasedJob, number: bytes) -> tuple[bytes, bytes]:
    return number, item.receipt.encode()


async def _carry_out(
    items: Sequence[Any],
    make: Callable[[Any, bytes], Any],
    ask: Callable[[dict[str, list[Any]]], Deferred[dict[str, list[Any]]]],
) -> list[Any]:
    """The result for each item, None if the store was not asked about it. Raises StoreUnavailable when nothing at all
    was done because the store is away.
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


def _settled(item: Settle | Wrong, settled: Settled | None) -> SettleResult:
    if isinstance(item, Wrong):
        return SettleResult(item.id, "bad-request", detail=item.detail)
    if settled is None:  # not a valid id of a job
        return SettleResult(item.id, "not-found")
    if settled.became != "delayed":
        return SettleResult(item.id, settled.became)
    return SettleResult(item.id, settled.became, settled.due_at, settled.due_in)


def _extended(item: LeasedJob | Wrong, extended: Extended | None) -> ExtendResult:
    if isinstance(item, Wrong):
        return ExtendResult(item.id, "bad-request", detail=item.detail)
    if extended is None:
        return ExtendResult(item.id, "not-found")
    if extended.became != "extended":
        return ExtendResult(item.id, extended.became)
    return ExtendResult(item.id, extended.became, extended.lease, extended.ends_at)
