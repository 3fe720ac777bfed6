"""Everything that presque refuses, and why.

    PresqueError
      InvalidName          invalid-name        no queue can be called that
      InvalidWorker        bad-request         no worker can be called that
      Duplicate            duplicate           a job with this uniq key waits already
      QueueFull            queue-full          the queue has as many jobs as it may
      IdempotencyMismatch  idempotency-mismatch  another request had this idempotency key
      QueuePaused          wrong-state         the queue is stopped: it hands nothing out
      LeaseLost            lease-lost          the receipt is not, or no longer, the job's
      UnknownWorker        not-found           nobody of that name is registered
      UnknownJob           not-found           there is no such job
      UnknownQueue         not-found           there is no such queue
      StoreError
        StoreUnavailable   store-unavailable   nothing was done
          OutcomeUnknown   store-unavailable   the reply never came: perhaps it was done
        StoreFull          store-full          Redis has reached its maxmemory: nothing was done
        StoreUnfit                             this Redis cannot be used at all: the daemon ends

Each class carries its `code`, the slug by which the outside knows it. HTTP statuses live in `presque.web` alone.
"""

from __future__ import annotations


class PresqueError(Exception):
    """Something that presque refuses."""

    code = "bad-request"


class InvalidName(PresqueError):
    """invalid queue name"""

    code = "invalid-name"


class InvalidWorker(PresqueError):
    """invalid worker_id"""


class Duplicate(PresqueError):
    """job already exists"""

    code = "duplicate"

    def __init__(self, existing: str) -> None:
        super().__init__(existing)
        self.existing = existing


class QueueFull(PresqueError):
    """queue is full"""

    code = "queue-full"


class IdempotencyMismatch(PresqueError):
    """another request was made with this idempotency key"""

    code = "idempotency-mismatch"


class LeaseLost(PresqueError):
    """the receipt is no longer the job's"""

    code = "lease-lost"


class UnknownJob(PresqueError):
    """unknown job"""

    code = "not-found"


class UnknownQueue(PresqueError):
    """unknown queue"""

    code = "not-found"


class QueuePaused(PresqueError):
    """queue is closed"""

    code = "wrong-state"


class UnknownWorker(PresqueError):
    """unknown worker"""

    code = "not-found"


class StoreError(PresqueError):
    """The store did not do it."""


class StoreUnavailable(StoreError):
    """the store is not available, nothing was done"""

    code = "store-unavailable"


class OutcomeUnknown(StoreUnavailable):
    """the store did not answer, it may or may not have been done"""


class StoreFull(StoreError):
    """the store is full, nothing was done"""

    code = "store-full"


class StoreUnfit(StoreError):
    """This Redis cannot be used: the text says why."""
