"""The queues: one method a verb, one script call a method.

Every method returns a Deferred. Beside what its docstring names, each may fail with StoreUnavailable (nothing was
done), OutcomeUnknown (the reply never came) or StoreFull (nothing was done). Names are checked here: InvalidName.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from presque import keys
from presque.errors import Duplicate, QueuePaused
from presque.redis.connection import NO_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from twisted.internet.defer import Deferred

    from presque.redis.connection import Reply, Store

HOLD = 5.0  # seconds that a taken job is kept for its consumer before it is handed out again, unless extended
HEAD = 14  # bytes before the payload in a stored job: see `jobs` in presque.keys
MOST_AT_ONCE = 1000  # jobs taken, settled, given back or moved by one script call


@dataclass(frozen=True)
class Taken:
    """Jobs taken from a queue and held under one receipt. Without jobs there is nothing held."""

    queue: str
    worker: str
    receipt: bytes
    numbers: tuple[bytes, ...]
    payloads: tuple[bytes, ...]


@dataclass(frozen=True)
class Counts:
    """A queue in numbers: jobs by state, what was fetched and failed since it began, and whether it is stopped."""

    ready: int
    delayed: int
    leased: int
    processed: int
    failed: int
    paused: bool


class Queues:
    """All queues of one store. `nonce` tells this daemon's receipts from those of others: a few random characters."""

    def __init__(self, store: Store, nonce: str) -> None:
        self._store = store
        self.partitions = store.partitions
        self._receipts = (b"%b-%x" % (nonce.encode(), n) for n in count(1))

    def push(
        self, queue: str, payloads: Sequence[bytes], due: float | None = None, uniq: bytes = b""
    ) -> Deferred[list[str]]:
        """Insert jobs, all or none. Fires with their ids. `due`, epoch seconds, keeps them back until then; `uniq`, for
        one job alone, fails with Duplicate while another with that key waits.
        """
        inserted = self._store.on_queue("push", queue, _due(due), uniq, *payloads)
        return inserted.addCallback(_ids, queue, len(payloads))

    def fail(
        self, queue: str, payload: bytes, due: float | None = None, uniq: bytes = b"", worker: str = ""
    ) -> Deferred[list[str]]:
        """As `push` with one job, for a worker that failed at it: counts one failure on the queue and the worker."""
        failed = self._store.on_queue("fail", queue, _due(due), uniq, worker.encode(), payload)
        return failed.addCallback(_ids, queue, 1)

    def take(self, queue: str, most: int = 1, worker: str = "") -> Deferred[Taken]:
        """Take up to `most` (1000) jobs: due ones first, then the oldest. They are held for HOLD seconds and must be
        settled or given back. Fails with QueuePaused.
        """
        receipt = next(self._receipts)
        hold = b"%d" % (HOLD * 1000)
        reply = self._store.on_queue("take", queue, b"%d" % most, hold, receipt, worker.encode())
        return reply.addCallback(_taken, queue, worker, receipt)

    def settle(self, taken: Iterable[Taken]) -> Deferred[int]:
        """End jobs, all of one queue, that have reached their consumers. Fires with how many were ended."""
        queue, pairs = _pairs(taken)
        return self._store.on_queue("settle", queue, *pairs, until=NO_LIMIT)

    def give_back(self, taken: Taken) -> Deferred[int]:
        """Put jobs that did not reach their consumer back to the front, uncounted. Fires with how many it did."""
        queue, pairs = _pairs([taken])
        return self._store.on_queue("give_back", queue, taken.worker.encode(), *pairs, until=NO_LIMIT)

    def extend(self, taken: Taken) -> Deferred[int]:
        """Hold jobs for another HOLD seconds from now. Fires with how many are still held."""
        queue, pairs = _pairs([taken])
        return self._store.on_queue("extend", queue, b"%d" % (HOLD * 1000), *pairs)

    def counts(self, queue: str) -> Deferred[Counts]:
        """The queue in numbers; one that does not exist has zeros and is open."""

        def counted(reply: Reply) -> Counts:
            ready, delayed, leased, processed, failed, paused = reply
            return Counts(ready, delayed, leased, processed, failed, bool(paused))

        return self._store.on_queue("inspect", queue).addCallback(counted)

    def peek(self, queue: str, most: int = MOST_AT_ONCE) -> Deferred[list[bytes]]:
        """The payloads of ready jobs in the order in which they would be taken; they stay where they are."""
        reply = self._store.on_queue("peek", queue, b"%d" % most)
        return reply.addCallback(lambda jobs: [job[HEAD:] for job in jobs])

    def pause(self, queue: str) -> Deferred[int]:
        """Stop the queue: it takes insertions and hands nothing out."""
        return self._store.on_queue("pause", queue)

    def resume(self, queue: str) -> Deferred[int]:
        """Open the queue again."""
        return self._store.on_queue("resume", queue)

    def delete(self, queue: str) -> Deferred[int]:
        """Delete the queue with its jobs in every state, its uniq keys, counters and policy."""
        return self._store.on_queue("delete", queue)

    def names(self) -> Deferred[list[str]]:
        """The names of all queues, sorted."""
        return self._store.everywhere("names").addCallback(
            lambda replies: sorted(name.decode() for names in replies for name in names)
        )

    def due(self, partition: int, most: int) -> Deferred[list[str]]:
        """The queues of a partition that need moving now, the most overdue first."""
        reply = self._store.in_partition("due", partition, b"%d" % most)
        return reply.addCallback(lambda names: [name.decode() for name in names])

    def move(self, queue: str, most: int = MOST_AT_ONCE) -> Deferred[int]:
        """Move up to `most` due delayed jobs, and as many run-out holds, to the front. Fires with how many it did."""
        return self._store.on_queue("move", queue, b"%d" % most)

    def channel(self, queue: str) -> bytes:
        """The channel on which it is published that `queue` may have a job."""
        return keys.queue_key("ready", queue, self.partitions)


def _due(due: float | None) -> bytes:
    return b"" if due is None else b"%d" % max(0, due * 1000)


def _ids(reply: Reply, queue: str, jobs: int) -> list[str]:
    if isinstance(reply, list):
        raise Duplicate(f"{queue}:{reply[0].decode()}")
    return [f"{queue}:{number}" for number in range(reply, reply + jobs)]


def _taken(reply: Reply, queue: str, worker: str, receipt: bytes) -> Taken:
    if reply == 0:
        raise QueuePaused
    return Taken(queue, worker, receipt, tuple(reply[::2]), tuple([job[HEAD:] for job in reply[1::2]]))


def _pairs(taken: Iterable[Taken]) -> tuple[str, list[bytes]]:
    pairs: list[bytes] = []
    queue = ""
    for each in taken:
        queue = each.queue
        for number in each.numbers:
            pairs += (number, each.receipt)
    return queue, pairs
