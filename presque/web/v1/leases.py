"""Leases under `/v1`: reservations, settlements and extensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from msgspec import Meta, Raw, Struct
from twisted.internet.defer import Deferred

from presque.errors import LeaseLost, UnknownJob
from presque.jobs import leases as rules
from presque.web import limits, params, surrogates
from presque.web.answers import answer, json
from presque.web.bad_request import BadRequest
from presque.web.bodies import decode
from presque.web.parameters import IDEMPOTENCY_KEY, WORKER
from presque.web.types import Lease, Receipt, Seconds, WorkerId

if TYPE_CHECKING:
    from presque.http.deliveries import Deliveries
    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.leases import Leased, Leases
    from presque.jobs.waiters import Waiters

T = TypeVar("T", rules.Settled, rules.Extended)

GONE = (404, 409)  # statuses when the job is gone or the receipt is not the job's


class Reserve(Struct, forbid_unknown_fields=True):
    """The number of jobs to lease, the lease in seconds, and the seconds to wait for the first job."""

    max: Annotated[int, Meta(ge=1, le=limits.RESERVATION)] = 1
    lease: Lease | None = None
    wait: Annotated[float, Meta(ge=0)] = 0
    worker_id: WorkerId | None = None


class ReservedJob(Struct):
    """A leased job. `receipt` settles or extends it within the next `lease` seconds; `attempt` counts from 1."""

    id: str
    queue: str
    payload: Raw
    headers: dict[str, str]
    receipt: str
    attempt: int
    max_attempts: int
    created_at: float
    lease: float
    lease_expires_at: float


class Reservation(Struct):
    """Leased jobs; empty if there were none."""

    jobs: list[ReservedJob]


class Ack(Struct, forbid_unknown_fields=True):
    """The work is done."""

    receipt: Receipt


class Nack(Struct, forbid_unknown_fields=True):
    """The attempt failed. Without `delay` the next try waits for the queue's back-off; after a `final` one there
    is no next try. Of an `error` of more than 1000 characters the first 300 and the last 700 are kept.
    """

    receipt: Receipt
    error: str | None = None
    delay: Seconds | None = None
    final: bool = False


class NackResult(Struct, omit_defaults=True):
    """The job's new state: it waits for its next try until `due_at`, `due_in` seconds after the nack, or is dead."""

    state: Literal["delayed", "dead"]
    due_at: float | None = None
    due_in: float | None = None


class Release(Struct, forbid_unknown_fields=True):
    """The job goes back, and the attempt is not counted."""

    receipt: Receipt
    delay: Seconds | None = None


class Extend(Struct, forbid_unknown_fields=True):
    """The lease starts again, for `lease` seconds or the queue's setting."""

    receipt: Receipt
    lease: Lease | None = None


class Extended(Struct):
    """The new end of the lease, in `lease` seconds."""

    lease: float
    lease_expires_at: float


def add(routes: Routes, leases: Leases, waiting: Waiters, deliveries: Deliveries) -> None:
    """Declare the routes."""
    _add_reservation(routes, leases, waiting, deliveries)
    _add_settlement(routes, leases)
    _add_extension(routes, leases)


def _add_reservation(routes: Routes, leases: Leases, waiting: Waiters, deliveries: Deliveries) -> None:
    @routes.at(
        "POST",
        "/v1/queues/<queues>/reservations",
        summary="Lease jobs from the first of these queues (separated by commas) that has any, or wait for one.",
        body=Reserve,
        name="reserve",
        scope="consume",
        answers={200: Reservation},
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
            return json(request, Reservation(_reserved(leased)))

        if asked.max > 1:
            request.connection.check_room(limits.ANSWER)
        again = key and len(names) > 1  # with a single queue, `take` itself finds the jobs leased before
        taking = Deferred.fromCoroutine(take_again()) if again else waiting.take(names, take, wait)
        return deliveries.deliver(request, taking, wait > 0, compose)


def _asked(request: Request) -> Reserve:
    body = request.body or b"{}"
    asked = decode(body, Reserve)
    if surrogates.has_lone(body):
        raise BadRequest("worker_id must have no lone surrogates")
    return asked


def _reserved(leased: Leased) -> list[ReservedJob]:
    receipt, queue = leased.receipt.decode(), leased.queue
    figures = zip(leased.attempts, leased.max_attempts, leased.created_at, leased.left, leased.ends_at, strict=True)
    rows = zip(leased.numbers, leased.payloads, leased.headers, figures, strict=True)
    return [
        ReservedJob(
            f"{queue}:{number.decode()}",
            queue,
            Raw(payload),
            headers,
            receipt,
            *figures,
        )
        for number, payload, headers, figures in rows
    ]


def _add_settlement(routes: Routes, leases: Leases) -> None:
    @routes.at(
        "POST",
        "/v1/jobs/<job_id>/ack",
        summary="The work is done: end the job. May be repeated.",
        name="ack",
        scope="consume",
        body=Ack,
        answers={204: None},
        refuses=GONE,
    )
    def ack(request: Request, job_id: str) -> Deferred[bytes]:
        receipt = decode(request.body, Ack).receipt.encode()
        acked = leases.ack(*params.job_id(job_id), receipt)
        return acked.addCallback(lambda _: answer(request, 204, b""))

    @routes.at(
        "POST",
        "/v1/jobs/<job_id>/nack",
        summary="The attempt failed: the job waits for its next try, or is dead. May be repeated.",
        name="nack",
        scope="consume",
        body=Nack,
        answers={200: NackResult},
        refuses=GONE,
    )
    def nack(request: Request, job_id: str) -> Deferred[bytes]:

        def compose(settled: rules.Settled) -> bytes:
            state: Any = settled.became  # delayed or dead
            times = (settled.due_at, settled.due_in) if state == "delayed" else ()
            return json(request, NackResult(state, *times))

        said = decode(request.body, Nack)
        return _settle(leases, job_id, "final" if said.final else "nack", said).addCallback(compose)

    @routes.at(
        "POST",
        "/v1/jobs/<job_id>/release",
        summary="The job goes back, and the attempt is not counted. May be repeated.",
        name="release",
        scope="consume",
        body=Release,
        answers={204: None},
        refuses=GONE,
    )
    def release(request: Request, job_id: str) -> Deferred[bytes]:
        settled = _settle(leases, job_id, "release", decode(request.body, Release))
        return settled.addCallback(lambda _: answer(request, 204, b""))


def _settle(leases: Leases, job_id: str, outcome: str, said: Nack | Release) -> Deferred[rules.Settled]:
    queue, number = params.job_id(job_id)
    delay, why = getattr(said, "delay", None), getattr(said, "error", None) or ""
    settlement = rules.Settlement(number, said.receipt.encode(), outcome, delay, why)
    return leases.settle(queue, [settlement]).addCallback(_only)


def _add_extension(routes: Routes, leases: Leases) -> None:
    @routes.at(
        "POST",
        "/v1/jobs/<job_id>/extend",
        summary="Extend a lease; the receipt stays the same.",
        name="extend",
        scope="consume",
        body=Extend,
        answers={200: Extended},
        refuses=GONE,
    )
    def extend(request: Request, job_id: str) -> Deferred[bytes]:
        queue, number = params.job_id(job_id)
        asked = decode(request.body, Extend)
        extended = leases.extend(queue, [(number, asked.receipt.encode())], asked.lease).addCallback(_only)
        return extended.addCallback(lambda each: json(request, Extended(each.lease, each.ends_at)))


def _only(became: list[T]) -> T:
    """The result for the only job in the call. Raises LeaseLost or UnknownJob when it was refused."""
    (each,) = became
    if each.became == "lease-lost":
        raise LeaseLost
    if each.became == "not-found":
        raise UnknownJob
    return each
