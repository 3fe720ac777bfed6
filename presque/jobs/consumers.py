"""Who consumes: registered workers, and whoever holds jobs under a name that is not registered or under none; and what
each holds, until when.

The list is read page by page: first the registered workers by id, then the others by queue. Errors are those of
`presque.jobs.queues`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.defer import DeferredList

from presque.errors import InvalidCursor, InvalidName, InvalidWorker, StoreError
from presque.jobs.workers import check_worker
from presque.redis import keys
from presque.redis.units import seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from presque.jobs.workers import Worker, Workers
    from presque.redis.connection import Reply
    from presque.redis.store import Store

PAGE = 100  # registered workers, or queues of which consumers hold jobs
LOOKED_AT = 1000  # queues of a partition that one script looks at
LOOKS = 10  # for one page
MOST_HELD = 1000  # jobs of a queue of which it is told who holds them
MOST_TOLD = 100  # jobs that are told of one consumer
TOGETHER = 10  # queues read at the same time
REGISTERED, OTHERS = "w", "q"  # first letters of cursors; a worker's id or a queue's name follows


class Hold(NamedTuple):
    """A job that a consumer holds, and until when (epoch seconds)."""

    job_id: str
    until: float


@dataclass
class Consumer:
    """A consumer. `worker` is what is registered under its name, and `queues` those on which it is registered, or of
    which it holds jobs. It holds `holding` jobs, the first MOST_TOLD of which are in `holds`.
    """

    name: str  # empty if it gave none
    queues: tuple[str, ...]
    worker: Worker | None = None
    holding: int = 0
    holds: list[Hold] = field(default_factory=list)

    def hold(self, hold: Hold) -> None:
        """It holds this job too."""
        self.holding += 1
        if len(self.holds) < MOST_TOLD:
            self.holds.append(hold)


class Held(NamedTuple):
    """A job of a queue that is held, and by whom."""

    hold: Hold
    name: str
    is_registered: bool  # on this queue


@dataclass
class Page:
    """Some consumers. `incomplete` are queues of which not everything that is held is told, because it is too much;
    `missing` the partitions that did not answer; `following` is the cursor of the next page, None on the last. `held`
    is what was read for it, by queue.
    """

    consumers: list[Consumer] = field(default_factory=list)
    incomplete: set[str] = field(default_factory=set)
    missing: list[int] = field(default_factory=list)
    following: str | None = None
    held: dict[str, list[Held]] = field(default_factory=dict)


class Consumers:
    """All consumers of one store."""

    def __init__(self, store: Store, workers: Workers) -> None:
        self._store = store
        self._workers = workers

    async def page(self, queue: str, cursor: str) -> Page:
        """A page of all consumers, or of those of `queue` unless it is empty, from a `cursor` on ("" for the first
        page). Raises InvalidName or InvalidCursor.
        """
        if queue:
            keys.check_name(queue)
        kind, after = _split(cursor)
        page = Page()
        if kind == REGISTERED:
            await self._add_registered(page, queue, after)
            if page.following is None:
                kind, after = OTHERS, ""
        if kind == OTHERS:
            await self._add_others(page, queue, after)
        page.missing = sorted(set(page.missing))
        return page

    async def _add_registered(self, page: Page, queue: str, after: str) -> None:
        if queue:
            workers, last = await self._workers.page_of_queue(queue, after, PAGE, page.missing)
        else:
            workers, last = await self._workers.page(after, PAGE, page.missing)
        by_name = {each.worker_id: Consumer(each.worker_id, each.queues, each) for each in workers}
        page.consumers += by_name.values()
        if last:
            page.following = REGISTERED + last
        named = sorted({name for each in workers for name in each.queues if queue in ("", name)})
        page.incomplete |= set(named[PAGE:])
        await self._read_held(named[:PAGE], page)
        for each in (each for name in named[:PAGE] for each in page.held.get(name, ())):
            if each.is_registered and each.name in by_name:
                by_name[each.name].hold(each.hold)

    async def _add_others(self, page: Page, queue: str, after: str) -> None:
        """Add those that are not registered on the queue of which they hold jobs."""
        named = [queue] if queue else await self._queues_after(page, after)
        found: dict[str, Consumer] = {}
        await self._read_held(named, page)
        for name in named:
            for each in page.held.get(name, ()):
                if not each.is_registered:
                    consumer = found.setdefault(each.name, Consumer(each.name, ()))
                    consumer.queues = tuple(dict.fromkeys((*consumer.queues, name)))
                    consumer.hold(each.hold)
        page.consumers += [found[name] for name in sorted(found)]

    async def _queues_after(self, page: Page, after: str) -> list[str]:
        """Up to PAGE queues after a name of which consumers hold jobs. Sets the page's cursor."""
        found: list[str] = []
        for _ in range(LOOKS):
            replies, missing = await self._store.where_there_is_an_answer(
                "held_queues", after.encode(), b"%d" % LOOKED_AT
            )
            page.missing += missing
            ends = [last for last, *_ in replies.values() if last]
            end = min(ends, default=b"")  # up to there, all partitions have been looked at
            names = sorted(name for _, *names in replies.values() for name in names if not end or name <= end)
            found += [name.decode() for name in names]
            after = end.decode()
            if len(found) > PAGE:
                found = found[:PAGE]
                after = found[-1]
            if len(found) == PAGE or not after:
                break
        page.following = OTHERS + after if after else None
        return found

    async def _read_held(self, queues: Iterable[str], page: Page) -> None:
        """Read what is held of several queues. Adds to the page what is not told."""
        names = [queue for queue in queues if queue not in page.held]
        for first in range(0, len(names), TOGETHER):
            some = names[first : first + TOGETHER]
            asked = [self._store.on_queue("holders", queue, b"%d" % MOST_HELD) for queue in some]
            answers: list[tuple[bool, Any]] = await DeferredList(asked, consumeErrors=True)
            for queue, (is_answer, answer) in zip(some, answers, strict=True):
                if is_answer:
                    page.held[queue] = _held_of(queue, answer)
                    page.incomplete |= {queue} if answer[0] else set()
                else:
                    answer.trap(StoreError)
                    page.missing.append(keys.partition_of(queue, self._store.partitions))


def _split(cursor: str) -> tuple[str, str]:
    """The kind of a cursor, and what follows. Raises InvalidCursor."""
    kind, after = cursor[:1] or REGISTERED, cursor[1:]
    try:
        if kind == REGISTERED and after:
            check_worker(after)
        elif kind == OTHERS and after:
            keys.check_name(after)
    except (InvalidName, InvalidWorker):
        raise InvalidCursor from None
    if kind not in (REGISTERED, OTHERS):
        raise InvalidCursor
    return kind, after


def _held_of(queue: str, reply: Reply) -> list[Held]:
    """What `holders.lua` replies."""
    rows = zip(reply[1::4], reply[2::4], reply[3::4], reply[4::4], strict=True)
    return [
        Held(Hold(f"{queue}:{number.decode()}", seconds(int(at))), worker.decode(errors="replace"), bool(is_registered))
        for number, at, worker, is_registered in rows
    ]
