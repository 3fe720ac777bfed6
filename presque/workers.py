"""The registry of workers: who works on what, since when, and how much.

A worker is registered on a queue by itself, or by its first fetch or failure there. Its figures are kept in each
partition in which it has a queue, and summed when read. Failures as in `presque.queues`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from presque.errors import InvalidWorker, UnknownWorker

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from presque.redis.connection import Reply
    from presque.redis.store import Store

LONGEST_ID = 256  # characters


@dataclass(frozen=True)
class Worker:
    """A worker. Times are epoch seconds."""

    worker_id: str
    started_at: int
    last_seen: int
    processed: int
    failed: int
    queues: tuple[str, ...]


@dataclass(frozen=True)
class Totals:
    """Workers, and what was fetched from and failed on the queues in question."""

    workers: tuple[Worker, ...]
    processed: int
    failed: int


def check_worker(worker: str) -> None:
    """Raise InvalidWorker unless `worker` can name a worker."""
    if not worker or len(worker) > LONGEST_ID or not worker.isprintable():
        raise InvalidWorker


class Workers:
    """All workers of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def register(self, queue: str, worker: str) -> Deferred[Any]:
        """Register `worker` on `queue`; its counters start at 0 and its time now, in every partition that knows it."""
        check_worker(worker)
        registered = self._store.on_queue("register", queue, worker.encode())
        if self._store.partitions == 1:
            return registered
        return registered.addCallback(lambda _: self._store.everywhere("restart_worker", worker.encode()))

    def unregister(self, queue: str, worker: str) -> Deferred[int]:
        """Take `worker` off `queue`, and forget it once it is on none; nothing happens when it was not there."""
        check_worker(worker)
        return self._store.on_queue("unregister", queue, worker.encode())

    def one(self, worker: str) -> Deferred[Worker]:
        """What is known of `worker`. Fails with UnknownWorker."""
        check_worker(worker)

        def gathered(partitions: list[Reply]) -> Worker:
            rows = [row for row in partitions if row]
            if not rows:
                raise UnknownWorker
            return _worker(worker, rows)

        return self._store.everywhere("worker", worker.encode()).addCallback(gathered)

    def all(self) -> Deferred[Totals]:
        """All workers, by id, and the sums over all queues."""

        def gathered(partitions: list[Reply]) -> Totals:
            rows: dict[bytes, list[list[bytes | None]]] = {}
            for _, _, *figures in partitions:
                hashes = [dict(zip(flat[::2], flat[1::2], strict=True)) for flat in figures]
                for worker in hashes[0]:
                    rows.setdefault(worker, []).append([figure.get(worker) for figure in hashes])
            workers = tuple(_worker(worker.decode(), rows[worker]) for worker in sorted(rows))
            return Totals(workers, sum(each[0] for each in partitions), sum(each[1] for each in partitions))

        return self._store.everywhere("workers").addCallback(gathered)

    def on_queue(self, queue: str) -> Deferred[tuple[list[str], int, int]]:
        """The ids of the workers on `queue`, sorted, and the queue's processed and failed."""

        def gathered(reply: Reply) -> tuple[list[str], int, int]:
            processed, failed, workers = reply
            return sorted(worker.decode() for worker in workers), processed, failed

        return self._store.on_queue("queue_workers", queue).addCallback(gathered)


def _worker(worker: str, rows: list[list[bytes | None]]) -> Worker:
    """A worker from its rows in several partitions: {queues, started, seen, processed, failed}, see `worker.lua`."""
    queues, started, seen, processed, failed = zip(*rows, strict=True)
    return Worker(
        worker,
        min(int(time) for time in started if time) // 1000,
        max(int(time) for time in seen if time) // 1000,
        sum(int(count or 0) for count in processed),
        sum(int(count or 0) for count in failed),
        tuple(sorted(queue for names in queues if names for queue in names.decode().split())),
    )
