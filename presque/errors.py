"""Everything that presque refuses, and why.

    PresqueError
      InvalidName          invalid-name           not a valid queue name
      InvalidScheduleName  invalid-name           not a valid name of a schedule
      InvalidWorker        bad-request            not a valid worker id
      InvalidSchedule      bad-request            not a schedule: the message says why
      Duplicate            duplicate              a job with this uniq key is waiting already
      QueueFull            queue-full             the queue has reached its max_length
        QueueTooLarge      queue-full             the queue has reached its max_bytes
      TooManyQueues        overloaded             the queue does not exist, and there are too many to create it
      IdempotencyMismatch  idempotency-mismatch   the idempotency key belongs to another request
      InvalidCursor        bad-request            not the cursor of a page
      QueuePaused          wrong-state            the queue is stopped: it hands nothing out
      NotAccepting         wrong-state            the queue accepts no insertions
      WrongState           wrong-state            the job is in a state that does not allow this
      LeaseLost            lease-lost             the receipt is not, or no longer, the job's
      UnknownWorker        not-found              no worker of that name is registered
      UnknownJob           not-found              the job does not exist
      UnknownQueue         not-found              the queue does not exist
      UnknownSchedule      not-found              the schedule does not exist
      LaterSchedule        wrong-state            the schedule needs what this release or its time zones lack
      StoreError
        StoreUnavailable   store-unavailable      nothing was done
          Overloaded       overloaded             a limit of this daemon is reached: nothing was done
          OutcomeUnknown   store-outcome-unknown  the reply never came: it may or may not have been done
            PartlyDone     store-outcome-unknown  some parts of a request were done, perhaps not all
        StoreFull          store-full             the memory or disk of the store is full: nothing was done
        StoreUnfit                                this Redis cannot be used: the daemon exits
      InvalidTokenFile                            the file of the tokens cannot be used: the message says why

Each class has a `code`, the slug of its problem type, and a `message` for clients. Both are attributes, because `python
-OO` removes docstrings. HTTP statuses live in `presque.web` alone.
"""

from __future__ import annotations


class PresqueError(Exception):
    """A refusal by presque."""

    code = "bad-request"
    message = "bad request"
    limit = ""  # the name of the limit that was reached, see presque.limits


class InvalidName(PresqueError):
    """Not a valid queue name: see `presque.redis.keys.check_name`."""

    code = "invalid-name"
    message = "invalid queue name"


class InvalidScheduleName(PresqueError):
    """Not a valid name of a schedule; the rule is that for queues."""

    code = "invalid-name"
    message = "invalid schedule name"


class InvalidSchedule(PresqueError):
    """Not a schedule: the message says why."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidWorker(PresqueError):
    """Not a valid worker id: see `presque.jobs.workers.check_worker`."""

    message = "invalid worker_id"


class Duplicate(PresqueError):
    """A job with this uniq key is waiting already: `existing` is its id, or empty if it is in the same request."""

    code = "duplicate"
    message = "job already exists"

    def __init__(self, existing: str) -> None:
        super().__init__(existing)
        self.existing = existing


class QueueFull(PresqueError):
    """The queue has reached its `max_length`."""

    code = "queue-full"
    message = "queue is full"
    limit = "queue-length"


class QueueTooLarge(QueueFull):
    """The queue has reached its `max_bytes`."""

    limit = "queue-bytes"


class TooManyQueues(PresqueError):
    """The queue does not exist, and there are too many to create it."""

    code = "overloaded"
    message = "there are too many queues, nothing was done"
    limit = "queues"


class IdempotencyMismatch(PresqueError):
    """The idempotency key was used for a request with another body."""

    code = "idempotency-mismatch"
    message = "another request was made with this idempotency key"


class InvalidCursor(PresqueError):
    """Not the cursor of a page of jobs or schedules."""

    message = "cursor must be the next of the previous page"


class LeaseLost(PresqueError):
    """The receipt is not, or no longer, the job's."""

    code = "lease-lost"
    message = "the receipt is no longer the job's"


class UnknownJob(PresqueError):
    """The job does not exist."""

    code = "not-found"
    message = "unknown job"


class UnknownQueue(PresqueError):
    """The queue does not exist."""

    code = "not-found"
    message = "unknown queue"


class UnknownSchedule(PresqueError):
    """The schedule does not exist."""

    code = "not-found"
    message = "unknown schedule"


class LaterSchedule(PresqueError):
    """The schedule was made by a later release and needs what this one lacks, or a time zone that is unknown here."""

    code = "wrong-state"
    message = "the schedule needs something that this release or its time zone data lacks"


class QueuePaused(PresqueError):
    """The queue is stopped: it hands nothing out."""

    code = "wrong-state"
    message = "queue is closed"


class NotAccepting(PresqueError):
    """The queue's `accepting` is off: it accepts no insertions."""

    code = "wrong-state"
    message = "queue accepts no jobs"


class WrongState(PresqueError):
    """The job is in a state that does not allow this."""

    code = "wrong-state"
    message = "the job's state does not allow this"


class UnknownWorker(PresqueError):
    """No worker of that name is registered."""

    code = "not-found"
    message = "unknown worker"


class StoreError(PresqueError):
    """The store did not do it."""

    message = "the store did not do it"


class StoreUnavailable(StoreError):
    """Redis is away or refuses: nothing was done."""

    code = "store-unavailable"
    message = "the store is not available, nothing was done"


class Overloaded(StoreUnavailable):
    """A limit of this daemon is reached: nothing was done."""

    code = "overloaded"

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit
        self.message = f"a limit of this daemon is reached, nothing was done: {limit}"


class OutcomeUnknown(StoreUnavailable):
    """The reply never came: it may or may not have been done."""

    code = "store-outcome-unknown"
    message = "the store did not answer, it may or may not have been done"


class PartlyDone(OutcomeUnknown):
    """Some parts of a request were done before the store went away: `count` jobs were `verb`."""

    def __init__(self, verb: str, count: int) -> None:
        super().__init__(verb, count)
        self.verb = verb
        self.count = count
        self.message = f"the store went away: {count} jobs were {verb}, the others may or may not have been"


class StoreFull(StoreError):
    """The store has no room, in memory or on disk: nothing was done."""

    code = "store-full"
    limit = "store-memory"
    message = "the store is full, nothing was done"


class StoreUnfit(StoreError):
    """This Redis cannot be used; the message says why."""


class InvalidTokenFile(PresqueError):
    """The file of the tokens cannot be used; the message names the file, and the line, and shows no word of it."""


def one_line(text: str) -> str:
    """`text` with unprintable characters, line breaks among them, as Python escapes."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
