"""The registry of workers: the queues of each, its start, and its counters.

A worker registers itself on a queue; a job that an unregistered worker fetches counts on the queue alone. A worker's
figures are kept in each partition in which it is on a queue, and summed when they are read. Lists are read page by
page. Errors are those of `presque.jobs.queues`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import DeferredList, ensureDeferred

from presque.errors import InvalidWorker, OutcomeUnknown, StoreError, StoreUnavailable, UnknownWorker
from presque.jobs.pages import answering, merged
from presque.redis.units import seconds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from twisted.internet.defer import Deferred

    from presque.redis.store import Store

LONGEST_ID = 256  # characters
PAGE = 250  # rows that one script reads; to make JSON of them takes some milliseconds
TOGETHER = 10  # workers read at the same time, each in every partition
LONGEST_PAGE = 1000  # rows that one script reads where a row is a name alone


@dataclass(frozen=True)
class Worker:
    """A worker. Times are whole epoch seconds."""

    worker_id: str
    started_at: int
    last_seen: int
    processed: int
    failed: int
    queues: tuple[str, ...]


def check_worker(worker: str) -> None:
    """Raise InvalidWorker unless `worker` can name a worker."""
    if not worker or len(worker) > LONGEST_ID or not worker.isprintable():
        raise InvalidWorker


class Workers:
    """All workers of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def register(self, queue: str, worker: str) -> None:
        """Register `worker` on `queue`. In every partition that knows it, its counters start at 0 and its time at now.
        Jobs that the queue kept in its name go back to the front. Raises InvalidWorker, or OutcomeUnknown when only a
        part of this was done.
        """
        check_worker(worker)
        while await self._store.on_queue("register", queue, worker.encode()):
            pass  # more jobs were kept for it than one script gives back
        if self._store.partitions > 1:
            try:
                await self._store.everywhere("restart_worker", worker.encode())
            except StoreError:
                raise OutcomeUnknown from None

    def unregister(self, queue: str, worker: str) -> Deferred[int]:
        """Remove `worker` from `queue`, and forget it once it is on no queue. Fires with 1 when it was on the queue,
        else 0. Raises InvalidWorker.
        """
        check_worker(worker)
        return self._store.on_queue("unregister", queue, worker.encode())

    async def one(self, worker: str) -> tuple[Worker, list[int]]:
        """A worker, and the partitions that did not answer. Raises InvalidWorker, UnknownWorker or StoreUnavailable."""
        check_worker(worker)
        size = b"%d" % LONGEST_PAGE
        rows = []
        replies, missing = await self._store.where_there_is_an_answer("worker", worker.encode(), b"", size)
        for partition, (figures, *queues) in [(n, reply) for n, reply in replies.items() if reply]:
            page = queues
            try:
                while len(page) == LONGEST_PAGE:
                    _, *page = await self._store.in_partition("worker", partition, worker.encode(), page[-1], size) or [
                        0
                    ]
                    queues += page
            except StoreError:
                missing.append(partition)
            rows.append((figures, queues))
        if not rows:
            raise StoreUnavailable if missing else UnknownWorker
        return _worker(worker.encode(), rows), sorted(missing)

    async def all(self, missing: list[int]) -> AsyncIterator[Worker]:
        """All workers, by id. Adds to `missing` the partitions that do not answer; raises StoreUnavailable when none
        answers.
        """
        async for worker in self._after("", missing):
            yield worker

    async def page(self, after: str, limit: int, missing: list[int]) -> tuple[list[Worker], str]:
        """Up to `limit` workers whose ids follow `after`, by id, and the id of the last one if there may be more, else
        "". Errors and `missing` as for `all`.
        """
        found: list[Worker] = []
        async for worker in self._after(after, missing):
            found.append(worker)
            if len(found) == limit:
                return found, worker.worker_id
        return found, ""

    async def _after(self, after: str, missing: list[int]) -> AsyncIterator[Worker]:
        partitions = range(self._store.partitions)
        start = after.encode() + b"\1" if after else b""  # no id contains this, so all rows of `after` are before it
        streams = [answering(partition, self._in_partition(partition, start), missing) for partition in partitions]
        async for worker, rows in merged(streams):
            yield _worker(worker, rows)
        if len(missing) == len(partitions):
            raise StoreUnavailable

    async def _in_partition(self, partition: int, after: bytes) -> AsyncIterator[tuple[bytes, Row]]:
        """The workers of a partition, by id, from the row `after` on."""
        current, row = b"", ([], [])  # type: bytes, Row
        while True:
            page, *figures = await self._store.in_partition("workers", partition, after, b"%d" % PAGE)
            each = iter(zip(*figures, strict=True))
            seen = b""
            for registration in page:
                worker, _, queue = registration.partition(b"\0")
                if worker != seen:
                    seen, known = worker, list(next(each))
                    if worker != current:
                        if current:
                            yield current, row
                        current, row = worker, (known, [])
                row[1].append(queue)
            if len(page) < PAGE:
                break
            after = page[-1]
        if current:
            yield current, row

    async def sums(self) -> tuple[int, int, list[int]]:
        """The jobs handed out and failed, summed over all queues, and the partitions that did not answer."""
        size, totals = b"%d" % LONGEST_PAGE, [0, 0]
        replies, missing = await self._store.where_there_is_an_answer("sums", b"", size)
        for partition, (processed, failed, after) in replies.items():
            while True:
                totals[0] += processed
                totals[1] += failed
                if not after:
                    break
                try:
                    processed, failed, after = await self._store.in_partition("sums", partition, after, size)
                except StoreError:
                    missing.append(partition)
                    break
        return totals[0], totals[1], sorted(missing)

    async def page_of_queue(self, queue: str, after: str, limit: int, missing: list[int]) -> tuple[list[Worker], str]:
        """As `page`, of the workers on `queue`."""
        _, _, *ids = await self._store.on_queue("queue_workers", queue, after.encode(), b"%d" % limit)
        answers: list[tuple[bool, Any]] = []
        for first in range(0, len(ids), TOGETHER):
            some = [ensureDeferred(self.one(worker.decode())) for worker in ids[first : first + TOGETHER]]
            answers += await DeferredList(some, consumeErrors=True)
        found = []
        for is_answer, answer in answers:
            if is_answer:
                found.append(answer[0])
                missing += answer[1]
            else:
                answer.trap(UnknownWorker)  # it has left meanwhile
        return found, ids[-1].decode() if len(ids) == limit else ""

    async def on_queue(self, queue: str) -> tuple[list[str], int, int]:
        """The ids of the workers on `queue`, sorted, and the queue's processed and failed."""
        size = b"%d" % LONGEST_PAGE
        processed, failed, *page = await self._store.on_queue("queue_workers", queue, b"", size)
        workers = [worker.decode() for worker in page]
        while len(page) == LONGEST_PAGE:
            _, _, *page = await self._store.on_queue("queue_workers", queue, page[-1], size)
            workers += [worker.decode() for worker in page]
        return workers, processed, failed


Row = tuple[list[Any], list[bytes]]  # of a partition: {started, seen, processed, failed}, and queues


def _worker(worker: bytes, rows: list[Row]) -> Worker:
    """A worker from its rows in several partitions."""
    started, seen, processed, failed = zip(*(figures for figures, _ in rows), strict=True)
    return Worker(
        worker.decode(),
        int(seconds(min((int(time) for time in started if time), default=0))),
        int(seconds(max((int(float(time)) for time in seen if time), default=0))),
        sum(int(count or 0) for count in processed),
        sum(int(count or 0) for count in failed),
        tuple(sorted(queue.decode() for queue in chain.from_iterable(queues for _, queues in rows))),
    )
