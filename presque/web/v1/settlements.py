"""Several settlements or extensions in one request, each for itself: one script call a queue, all queues at once, and
a result for each item, whatever becomes of the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from msgspec import Meta, Raw, Struct

from presque.errors import StoreUnavailable, UnknownJob
from presque.jobs.leases import Settlement
from presque.jobs.outcomes import ExtensionOutcome, SettlementOutcome
from presque.web import limits, params
from presque.web.answers import json
from presque.web.bad_request import BadRequest
from presque.web.bodies import decode
from presque.web.types import Lease, Receipt, Seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.defer import Deferred

    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.leases import Extended, Leases, Settled

T = TypeVar("T")


class LeasedJob(Struct, forbid_unknown_fields=True):
    """A job whose lease is to be extended."""

    id: str
    receipt: Receipt


class Extensions(Struct, forbid_unknown_fields=True):
    """Leases that begin anew, for `lease` seconds or their queues', each for itself."""

    jobs: Annotated[list[LeasedJob], Meta(min_length=1, max_length=limits.JOBS)]
    lease: Lease | None = None


class ExtensionItems(Struct, forbid_unknown_fields=True):
    """As Extensions, whose jobs are looked at one by one."""

    jobs: Annotated[list[Raw], Meta(min_length=1, max_length=limits.JOBS)]
    lease: Lease | None = None


class ExtendResult(Struct, omit_defaults=True):
    """What became of one: extended for `lease` seconds; refused with lease-lost, not-found or bad-request (`detail`
    says why; `id` is null where there is none); unavailable: nothing was done; unknown: perhaps it was.
    """

    id: str | None
    result: ExtensionOutcome
    lease: float | None = None
    lease_expires_at: float | None = None
    detail: str | None = None


class ExtendResults(Struct):
    """What became of each, in the order of the request."""

    results: list[ExtendResult]


class Settle(Struct, forbid_unknown_fields=True):
    """What is said of one job: as ack, nack or release."""

    id: str
    receipt: Receipt
    outcome: Literal["ack", "nack", "release"]
    error: str | None = None
    delay: Seconds | None = None
    final: bool = False


class Settlements(Struct, forbid_unknown_fields=True):
    """What is said of several jobs, each for itself."""

    settlements: Annotated[list[Settle], Meta(min_length=1, max_length=limits.JOBS)]


class SettlementItems(Struct, forbid_unknown_fields=True):
    """As Settlements, which are looked at one by one."""

    settlements: Annotated[list[Raw], Meta(min_length=1, max_length=limits.JOBS)]


class SettleResult(Struct, omit_defaults=True):
    """What became of one: acked, released, delayed (until `due_at`, `due_in` seconds after the nack), dead; refused
    with lease-lost, not-found or bad-request (`detail` says why; `id` is null where there is none); unavailable:
    nothing was done; unknown: perhaps it was.
    """

    id: str | None
    result: SettlementOutcome
    due_at: float | None = None
    due_in: float | None = None
    detail: str | None = None


class SettleResults(Struct):
    """What became of each, in the order of the request."""

    results: list[SettleResult]


def add(routes: Routes, leases: Leases) -> None:
    """Declare the routes."""

    @routes.at(
        "POST",
        "/v1/settlements",
        summary="Settle up to 1000 jobs, each for itself. May be repeated.",
        name="settle",
        body=Settlements,
        answers={200: SettleResults},
    )
    async def settle(request: Request) -> bytes:
        raws = decode(request.body, SettlementItems).settlements
        items = [_read(raw, Settle) for raw in raws]
        results = await _carry_out(items, _settlement, leases.settle_several)
        return json(request, {"results": [_settled(*each) for each in zip(items, results, strict=True)]})

    @routes.at(
        "POST",
        "/v1/extensions",
        summary="Let up to 1000 leases begin anew, each for itself; the receipts stay the same.",
        name="extendSeveral",
        body=Extensions,
        answers={200: ExtendResults},
    )
    async def extend_several(request: Request) -> bytes:
        asked = decode(request.body, ExtensionItems)
        items = [_read(raw, LeasedJob) for raw in asked.jobs]
        results = await _carry_out(items, _pair, lambda by_queue: leases.extend_several(by_queue, asked.lease))
        return json(request, {"results": [_extended(*each) for each in zip(items, results, strict=True)]})


class Wrong:
    """An item that says something wrong: `detail` says what, `id` is its job's where it has one."""

    def __init__(self, raw: bytes, detail: str) -> None:
        self.detail = detail
        try:
            named: Any = decode(raw, dict[str, Any]).get("id")
        except BadRequest:
            named = None
        self.id = named if isinstance(named, str) else None


def _read(raw: Raw, kind: type[T]) -> T | Wrong:
    try:
        return decode(bytes(raw), kind)
    except BadRequest as wrong:
        return Wrong(bytes(raw), str(wrong))


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


def _settled(item: Settle | Wrong, settled: Settled | None) -> SettleResult:
    if isinstance(item, Wrong):
        return SettleResult(item.id, "bad-request", detail=item.detail)
    if settled is None:  # no job can have such an id
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
