"""Leases under `/v1`: reservations, and what the holder of a receipt says of its job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from twisted.internet.defer import Deferred

from presque.errors import LeaseLost, UnknownJob
from presque.jobs.leases import Settlement
from presque.web import limits, params, surrogates
from presque.web.answers import answer, json
from presque.web.parameters import IDEMPOTENCY_KEY, WORKER
from presque.web.params import BadRequest
from presque.web.v1 import models

if TYPE_CHECKING:
    from presque.http.deliveries import Deliveries
    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.leases import Leased, Leases, Settled
    from presque.jobs.outcomes import ExtensionOutcome, SettlementOutcome
    from presque.jobs.waiters import Waiters

GONE = (404, 409)  # what a receipt that is not the job's is answered with


def add(routes: Routes, leases: Leases, waiting: Waiters, deliveries: Deliveries) -> None:
    """Declare the routes."""
    _add_reservation(routes, leases, waiting, deliveries)
    _add_settlement(routes, leases)
    _add_extension(routes, leases)


def _add_reservation(routes: Routes, leases: Leases, waiting: Waiters, deliveries: Deliveries) -> None:
    @routes.at(
        "POST",
        "/v1/queues/<queues>/reservations",
        summary="Lease jobs of the first of these queues (separated by commas) that has any, or wait for one.",
        body=models.Reserve,
        name="reserve",
        answers={200: models.Reservation},
        query=("worker_id",),
        headers=(IDEMPOTENCY_KEY, WORKER),
        takes=True,
    )
    def reserve(request: Request, queues: str) -> Deferred[bytes]:
        asked = _asked(request)
        names = list(dict.fromkeys(queues.split(",")))
        if len(names) > limits.QUEUES:
            raise BadRequest(f"at most {limits.QUEUES} queues in one reservation")
        worker, key = params.worker(request, asked.worker_id), params.idempotency_key(request)
        wait, receipt = min(asked.wait, params.LONGEST_WAIT), leases.new_receipt()

        def take(name: str, daemon: bytes) -> Deferred[Leased]:
            return leases.reserve(name, asked.max, asked.lease, worker, key, daemon, receipt, names)

        async def take_again() -> Leased:
            before = await leases.reserved(names, worker, key)
            taken: Leased = before or await waiting.take(names, take, wait)
            return taken

        def compose(leased: Leased) -> bytes:
            return json(request, models.Reservation(_reserved(leased)))

        again = key and len(names) > 1  # in the partition of one queue, `take` finds what was leased before
        taking = Deferred.fromCoroutine(take_again()) if again else waiting.take(names, take, wait)
        return deliveries.deliver(request, taking, wait > 0, compose)


def _asked(request: Request) -> models.Reserve:
    body = params.body(request) or b"{}"
    asked = params.parse(body, models.Reserve)
    if surrogates.has_lone(body):
        raise BadRequest("worker_id must have no lone surrogates")
    return asked


def _reserved(leased: Leased) -> list[models.ReservedJob]:
    receipt, queue = leased.receipt.decode(), leased.queue
    figures = zip(leased.attempts, leased.max_attempts, leased.created_at, leased.left, leased.ends_at, strict=True)
    rows = zip(leased.numbers, leased.payloads, figures, strict=True)
    return [
        models.ReservedJob(
            f"{queue}:{number.decode()}",
            queue,
            msgspec.Raw(payload),
            receipt,
            *figures,
        )
        for number, payload, figures in rows
    ]


def _add_settlement(routes: Routes, leases: Leases) -> None:
    @routes.at(
        "POST",
        "/v1/jobs/<job_id>/ack",
        summary="The work is done: the job ends. May be repeated.",
        name="ack",
        body=models.Ack,
        answers={204: None},
        refuses=GONE,
    )
    async def ack(request: Request, job_id: str) -> bytes:
        await _settle(leases, job_id, "ack", params.parse(params.body(request), models.Ack))
        return answer(request, 204, b"")

    @routes.at(
        "POST",
        "/v1/jobs/<job_id>/nack",
        summary="The attempt failed: the job waits for its next try, or is dead. May be repeated.",
        name="nack",
        body=models.Nack,
        answers={200: models.NackResult},
        refuses=GONE,
    )
    async def nack(request: Request, job_id: str) -> bytes:
        said = params.parse(params.body(request), models.Nack)
        settled = await _settle(leases, job_id, "final" if said.final else "nack", said)
        state: Any = settled.became  # delayed or dead
        if state != "delayed":
            return json(request, models.NackResult(state))
        return json(request, models.NackResult(state, settled.due_at, settled.due_in))

    @routes.at(
        "POST",
        "/v1/jobs/<job_id>/release",
        summary="The job goes back, and the attempt is not counted. May be repeated.",
        name="release",
        body=models.Release,
        answers={204: None},
        refuses=GONE,
    )
    async def release(request: Request, job_id: str) -> bytes:
        await _settle(leases, job_id, "release", params.parse(params.body(request), models.Release))
        return answer(request, 204, b"")


async def _settle(
    leases: Leases, job_id: str, outcome: str, said: models.Ack | models.Nack | models.Release
) -> Settled:
    queue, number = params.job_id(job_id)
    delay, why = getattr(said, "delay", None), getattr(said, "error", None) or ""
    (settled,) = await leases.settle(queue, [Settlement(number, said.receipt.encode(), outcome, delay, why)])
    _raise_refusal(settled.became)
    return settled


def _add_extension(routes: Routes, leases: Leases) -> None:
    @routes.at(
        "POST",
        "/v1/jobs/<job_id>/extend",
        summary="The lease begins anew; the receipt stays the same.",
        name="extend",
        body=models.Extend,
        answers={200: models.Extended},
        refuses=GONE,
    )
    async def extend(request: Request, job_id: str) -> bytes:
        queue, number = params.job_id(job_id)
        asked = params.parse(params.body(request), models.Extend)
        (extended,) = await leases.extend(queue, [(number, asked.receipt.encode())], asked.lease)
        _raise_refusal(extended.became)
        return json(request, models.Extended(extended.lease, extended.ends_at))


def _raise_refusal(became: SettlementOutcome | ExtensionOutcome) -> None:
    if became == "lease-lost":
        raise LeaseLost
    if became == "not-found":
        raise UnknownJob
