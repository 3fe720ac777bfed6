"""What goes in and out of `/v1`: every body and every answer, checked by msgspec. Times are epoch seconds, durations
seconds; decimals are allowed in both.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

Seconds = Annotated[float, Meta(ge=0, le=315360000)]  # ten years
Lease = Annotated[float, Meta(ge=0.001, le=604800)]  # a week
Epoch = Annotated[float, Meta(ge=0, le=253402300800)]  # the year 10000
Attempts = Annotated[int, Meta(ge=1, le=1000)]
UniqueKey = Annotated[str, Meta(min_length=1, max_length=1024)]
WorkerId = Annotated[str, Meta(min_length=1, max_length=256)]
Receipt = Annotated[str, Meta(min_length=1, max_length=256)]
ErrorText = Annotated[str, Meta(max_length=10000)]


class NewJob(Struct, forbid_unknown_fields=True):
    """A job to insert. `payload` is any JSON, and comes back byte for byte; not both of `delay` and `run_at`."""

    payload: Raw
    delay: Seconds | None = None
    run_at: Epoch | None = None
    unique: UniqueKey | None = None
    max_attempts: Attempts | None = None


class NewJobs(Struct, forbid_unknown_fields=True):
    """Jobs to insert, all or none."""

    jobs: Annotated[list[NewJob], Meta(min_length=1, max_length=1000)]


class JobRef(Struct):
    """An inserted job."""

    id: str
    state: Literal["ready", "delayed"]


class JobRefs(Struct):
    """Inserted jobs, in the order of the request."""

    jobs: list[JobRef]


class Reserve(Struct, forbid_unknown_fields=True):
    """How many jobs to lease, for how long, and how long to wait for the first."""

    max: Annotated[int, Meta(ge=1, le=100)] = 1
    lease: Lease | None = None
    wait: Annotated[float, Meta(ge=0)] = 0
    worker_id: WorkerId | None = None


class ReservedJob(Struct):
    """A leased job. `receipt` settles or extends it; `attempt` counts from 1."""

    id: str
    queue: str
    payload: Raw
    receipt: str
    attempt: int
    max_attempts: int
    created_at: float
    lease_expires_at: float


class Reservation(Struct):
    """Leased jobs, none when there were none."""

    jobs: list[ReservedJob]


class Ack(Struct, forbid_unknown_fields=True):
    """The work is done."""

    receipt: Receipt


class Nack(Struct, forbid_unknown_fields=True):
    """The attempt failed. Without `delay` the next try waits for the queue's back-off."""

    receipt: Receipt
    error: ErrorText = ""
    delay: Seconds | None = None


class NackResult(Struct, omit_defaults=True):
    """What became of the job: it waits for its next try until `due_at`, or is dead."""

    state: Literal["delayed", "dead"]
    due_at: float | None = None


class Release(Struct, forbid_unknown_fields=True):
    """The job goes back, and the attempt is not counted."""

    receipt: Receipt
    delay: Seconds | None = None


class Extend(Struct, forbid_unknown_fields=True):
    """The lease begins anew, for `lease` seconds or the queue's."""

    receipt: Receipt
    lease: Lease | None = None


class Extended(Struct):
    """When the lease ends now."""

    lease_expires_at: float


class Settle(Struct, forbid_unknown_fields=True):
    """What is said of one job: as ack, nack or release."""

    id: str
    receipt: Receipt
    outcome: Literal["ack", "nack", "release"]
    error: ErrorText = ""
    delay: Seconds | None = None


class Settlements(Struct, forbid_unknown_fields=True):
    """What is said of several jobs, each for itself."""

    settlements: Annotated[list[Settle], Meta(min_length=1, max_length=1000)]


class SettleResult(Struct, omit_defaults=True):
    """What became of one: acked, released, delayed (until `due_at`), dead, or refused with lease-lost or not-found."""

    id: str
    result: Literal["acked", "released", "delayed", "dead", "lease-lost", "not-found"]
    due_at: float | None = None


class SettleResults(Struct):
    """What became of each, in the order of the request."""

    results: list[SettleResult]


class FailedAttempt(Struct):
    """An attempt that failed."""

    attempt: int
    at: float
    error: str


class JobView(Struct, omit_defaults=True):
    """All that is known of a job. `attempts` have failed so far; `history` has the last ten of them."""

    id: str
    queue: str
    state: Literal["ready", "delayed", "leased", "dead"]
    payload: Raw
    attempts: int
    max_attempts: int
    created_at: float
    due_at: float | None = None
    lease_expires_at: float | None = None
    died_at: float | None = None
    unique: str | None = None
    last_error: str | None = None
    history: list[FailedAttempt] = []


class JobPage(Struct):
    """Some jobs of a state; `next` is the cursor of the next page, null on the last."""

    jobs: list[JobView]
    next: str | None


class Backoff(Struct, forbid_unknown_fields=True):
    """The wait before the next try: `first`, times `factor` each time, at most `max`; spread by a fifth either way."""

    first: Annotated[float, Meta(ge=0, le=604800)] | UnsetType | None = UNSET
    factor: Annotated[float, Meta(ge=1, le=100)] | UnsetType | None = UNSET
    max: Annotated[float, Meta(ge=0, le=2592000)] | UnsetType | None = UNSET


class DeadKeep(Struct, forbid_unknown_fields=True):
    """How many dead jobs are kept, and for how long."""

    count: Annotated[int, Meta(ge=0, le=10000000)] | UnsetType | None = UNSET
    age: Annotated[float, Meta(ge=0, le=315360000)] | UnsetType | None = UNSET


class QueueSettings(Struct, forbid_unknown_fields=True):
    """A queue's settings. What is left out of a PATCH stays; null puts the default back."""

    lease: Lease | UnsetType | None = UNSET
    max_attempts: Attempts | UnsetType | None = UNSET
    backoff: Backoff | UnsetType | None = UNSET
    max_length: Annotated[int, Meta(ge=1, le=1000000000)] | UnsetType | None = UNSET
    dead_keep: DeadKeep | UnsetType | None = UNSET
    redeliver_after: Lease | UnsetType | None = UNSET


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
    settings: QueueSettings


class QueuePage(Struct):
    """Some queues, by name; `next` is the cursor of the next page, null on the last."""

    queues: list[QueueView]
    next: str | None


class Purge(Struct, forbid_unknown_fields=True):
    """Which jobs to delete: those of a state, without one all."""

    state: Literal["ready", "delayed", "dead"] | None = None


class RetryDead(Struct, forbid_unknown_fields=True):
    """Which dead jobs to make ready again: these, or up to `limit`, the longest dead first."""

    ids: Annotated[list[str], Meta(max_length=1000)] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] | None = None


class Moved(Struct):
    """How many jobs were moved."""

    moved: int


class Problem(Struct, omit_defaults=True):
    """An error, as RFC 9457 has it. `existing` is the job that has a unique key already."""

    type: str
    title: str
    status: int
    detail: str
    existing: str | None = None


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
