"""The parameters in paths, queries and headers, by name: a name has the same meaning on every route.

These are for the description at `/openapi.json`; `presque.web.params` reads and checks them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta

from presque.web import limits
from presque.web.types import LONGEST, ErrorPart, Seconds, UniqueKey, WorkerId

QUEUE = r"[A-Za-z0-9_][A-Za-z0-9._:@-]{0,127}"
WORKER = "X-presque-workerid"
IDEMPOTENCY_KEY = "Idempotency-Key"
TRACEPARENT = "traceparent"


@dataclass(frozen=True)
class Parameter:
    """A parameter's type, meaning, and an example."""

    type: Any
    meaning: str
    example: Any


PARAMETERS = {
    "queue": Parameter(Annotated[str, Meta(pattern=f"^{QUEUE}$")], "The name of a queue.", "mail"),
    "name": Parameter(Annotated[str, Meta(pattern=f"^{QUEUE}$")], "The name of a schedule of the queue.", "report"),
    "queues": Parameter(
        Annotated[str, Meta(pattern=f"^{QUEUE}(,{QUEUE})*$")],
        "Up to 20 names of queues, separated by commas; jobs come from the first queue that has any.",
        "urgent,mail",
    ),
    "job_id": Parameter(Annotated[str, Meta(pattern=f"^{QUEUE}:[0-9]{{1,15}}$")], "The id of a job.", "mail:17"),
    "slug": Parameter(Annotated[str, Meta(pattern="^[a-z-]+$")], "The last part of a problem's type.", "lease-lost"),
    "delayed": Parameter(
        Annotated[int, Meta(ge=0, le=253402300800)],  # clients in Go send decimals with seven digits
        "Epoch seconds before which the job is not handed out, decimals allowed; a time in the past is due.",
        1794562800,
    ),
    "uniq": Parameter(
        UniqueKey, "While a job with this key waits, ready or delayed, another one is refused.", "order-42"
    ),
    "wait": Parameter(Annotated[float, Meta(ge=0)], "Seconds to wait for a job; more than 55 count as 55.", 20),
    "batch_size": Parameter(
        Annotated[int, Meta(ge=0)], "Number of jobs to take: 0 counts as 10, more than 1000 as 1000.", 10
    ),
    "with_desc": Parameter(Literal[0, 1], "1 adds the texts of the ready jobs.", 1),
    "worker_id": Parameter(WorkerId, "The worker, unless the header X-presque-workerid names it.", "w1"),
    "queue_name": Parameter(Annotated[str, Meta(pattern=f"^{QUEUE}$")], "The queue whose workers to list.", "mail"),
    "state": Parameter(Literal["ready", "delayed", "leased", "dead"], "The state of the jobs.", "ready"),
    "limit": Parameter(Annotated[int, Meta(ge=1, le=1000)], "Number of items per page; 100 by default.", 100),
    "cursor": Parameter(str, "The `next` of the previous page.", "100"),
    "count": Parameter(
        Annotated[int, Meta(ge=1, le=limits.TIMES)], "Number of times of the schedule; 10 by default.", 10
    ),
    "target": Parameter(
        Annotated[float, Meta(ge=limits.SHORTEST_TARGET, le=LONGEST)],
        "Seconds in which the jobs of the queue are to be done; 30 by default.",
        30,
    ),
    "error": Parameter(ErrorPart, "Only jobs whose last error contains this text.", "mailbox is full"),
    "older_than": Parameter(Seconds, "Only jobs that were inserted at least so many seconds ago.", 3600),
    WORKER: Parameter(WorkerId, "The worker.", "w1"),
    TRACEPARENT: Parameter(
        Annotated[str, Meta(pattern="^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")],
        "The trace of the insertion (W3C Trace Context), kept among the headers of each job that has none of its own.",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ),
    IDEMPOTENCY_KEY: Parameter(
        Annotated[str, Meta(min_length=1, max_length=255)],
        "A request that is repeated with this key gets the first answer and does nothing more.",
        "7f6b2c1e",
    ),
}
