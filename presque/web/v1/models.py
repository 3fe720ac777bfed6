"""What goes in and out of `/v1`: every body and every answer, checked by msgspec. Times are epoch seconds, durations
seconds; decimals are allowed in both.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from presque.jobs.outcomes import ExtensionOutcome, SettlementOutcome  # noqa: TC001  # msgspec reads annotations
from presque.jobs.policy import MAX_ATTEMPTS
from presque.web import limits
from presque.web.v1.settings import QueueSettings  # noqa: TC001  # msgspec reads the annotations

Seconds = Annotated[float, Meta(ge=0, le=315360000)]  # ten years
Lease = Annotated[float, Meta(ge=0.001, le=limits.LEASE)]
Epoch = Annotated[float, Meta(ge=0, le=253402300800)]  # the year 10000
Attempts = Annotated[int, Meta(ge=1, le=MAX_ATTEMPTS)]
UniqueKey = Annotated[str, Meta(min_length=1, max_length=1024)]
WorkerId = Annotated[str, Meta(min_length=1, max_length=256)]
Receipt = Annotated[str, Meta(min_length=1, max_length=256)]


class NewJob(Struct, forbid_unknown_fields=True):
    """A job to insert. `payload` is any JSON, and comes back byte for byte; not both of `delay` and `run_at`."""

    payload: Raw
    delay: Seconds | None = None
    run_at: Epoch | None = None
    unique: UniqueKey | None = None
    max_attempts: Attempts | None = None


class NewJobs(Struct, forbid_unknown_fields=True):
    """Jobs to insert, all or none."""

    jobs: Annotated[list[NewJob], Meta(min_length=1, max_length=limits.JOBS)]


class JobRef(Struct):
    """An inserted job."""

    id: str
    state: Literal["ready", "delayed"]


class JobRefs(Struct):
    """Inserted jobs, in the order of the request."""

    jobs: list[JobRef]


class Reserve(Struct, forbid_unknown_fields=True):
    """How many jobs to lease, for how long, and how long to wait for the first."""

    max: Annotated[int, Meta(ge=1, le=limits.RESERVATION)] = 1
    lease: Lease | None = None
    wait: Annotated[float, Meta(ge=0)] = 0
    worker_id: WorkerId | None = None


class ReservedJob(Struct):
    """A leased job. `receipt` settles or extends it within the next `lease` seconds; `attempt` counts from 1."""

    id: str
    queue: str
    payload: Raw
    receipt: str
    attempt: int
    max_attempts: int
    created_at: float
    lease: float
    lease_expires_at: float


class Reservation(Struct):
    """Leased jobs, none when there were none."""

    jobs: list[ReservedJob]


class Ack(Struct, forbid_unknown_fields=True):
    """The work is done."""

    receipt: Receipt


class Nack(Struct, forbid_unknown_fields=True):
    """The attempt failed. Without `delay` the next try waits for the queue's back-off; after a `final` one there is
    none. Of an `error` of more than 1000 characters the first 300 and the last 700 are kept.
    """

    receipt: Receipt
    error: str | None = None
    delay: Seconds | None = None
    final: bool = False


class NackResult(Struct, omit_defaults=True):
    """What became of the job: it waits for its next try until `due_at`, `due_in` seconds after the nack, or is dead."""

    state: Literal["delayed", "dead"]
    due_at: float | None = None
    due_in: float | None = None


class Release(Struct, forbid_unknown_fields=True):
    """The job goes back, and the attempt is not counted."""

    receipt: Receipt
    delay: Seconds | None = None


class Extend(Struct, forbid_unknown_fields=True):
    """The lease begins anew, for `lease` seconds or the queue's."""

    receipt: Receipt
    lease: Lease | None = None


class Extended(Struct):
    """When the lease ends now: in `lease` seconds."""

    lease: float
    lease_expires_at: float


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


class FailedAttempt(Struct):
    """An attempt that failed."""

    attempt: int
    at: float
    error: str


class JobView(Struct, omit_defaults=True):
    """All that is known of a job. `attempts` have failed so far; `history` has the last ten of them. `worker` is who
    holds it, where a name was given.
    """

    id: str
    queue: str
    state: Literal["ready", "delayed", "leased", "dead"]
    payload: Raw
    attempts: int
    max_attempts: int
    created_at: float
    due_at: float | None = None
    lease_expires_at: float | None = None
    worker: str | None = None
    died_at: float | None = None
    unique: str | None = None
    last_error: str | None = None
    history: list[FailedAttempt] = []


class JobPage(Struct):
    """Some jobs of a state; `next` is the cursor of the next page, null on the last."""

    jobs: list[JobView]
    next: str | None


class QueueView(Struct):
    """A queue in numbers. `oldest_ready_age` is null without a ready job."""

    name: str
    policy: Literal["open", "closed"]
    ready: int
    delayed: int
    leased: int
    dead: int
    processed: int
    failed: int
    oldest_ready_age: float | None
    settings: QueueSettings  # type: ignore[valid-type]  # made from the rows


class QueuePage(Struct):
    """Some queues, by name; `next` is the cursor of the next page, null on the last. `missing_partitions` are those
    that gave no answer, so their queues are not listed; it is there only when there are any.
    """

    queues: list[QueueView]
    next: str | None
    missing_partitions: list[int] | UnsetType = UNSET


class Purge(Struct, forbid_unknown_fields=True):
    """Which jobs to delete: those of a state, or all."""

    state: Literal["ready", "delayed", "leased", "dead", "all"]


class Purged(Struct):
    """How many jobs were deleted."""

    purged: int


class RetryDead(Struct, forbid_unknown_fields=True):
    """Which dead jobs to make ready again: these, or up to `limit`, the longest dead first, or all."""

    ids: Annotated[list[str], Meta(max_length=limits.JOBS)] | None = None
    limit: Annotated[int, Meta(ge=1, le=limits.JOBS)] | None = None
    all: bool = False


class Moved(Struct):
    """How many jobs were moved, and which of the ids are no dead jobs of this queue."""

    moved: int
    not_found: list[str]


class Limits(Struct):
    """What a request may ask for: bytes of a `body`; jobs inserted, settled or extended; jobs and queues of a
    `reservation`; seconds of a `wait` and of a `lease`; headers of a job.
    """

    body: int
    jobs: int
    reservation: int
    queues: int
    wait: float
    lease: float
    headers: int


class About(Struct):
    """What this interface is, the time by which it counts, and what it can do."""

    version: str
    now: float
    limits: Limits
    features: list[str]


class ProblemType(Struct):
    """A type of problem: its title, its status, and what to do."""

    type: str
    title: str
    status: int
    detail: str


class Problem(Struct, omit_defaults=True):
    """An error, as RFC 9457 has it. `existing` is the job that has a unique key already; `purged` and `moved` count
    what was done before the store went away.
    """

    type: str
    title: str
    status: int
    detail: str
    existing: str | None = None
    purged: int | None = None
    moved: int | None = None


class Error(Struct):
    """An error of the routes of 2010."""

    error: str


class Batch2010(Struct):
    """Jobs to insert, all or none."""

    jobs: list[dict[str, Any]]


class Control2010(Struct):
    """What a queue's policy is to be."""

    status: Literal["stop", "start"]


class Worker2010(Struct):
    """A worker that registers."""

    worker_id: str
