"""Schedules: jobs that are inserted again and again, at the times of a cron expression or after equal intervals.

The store has the next time of each schedule. Any daemon fires those whose time has come: it computes the time that
follows, and one script inserts the job and sets that time, if the time that has come is still the one that the daemon
has read. So there is no leader, and each time fires once. Only the Redis clock counts.

Times are epoch seconds. Errors are those of `presque.jobs.queues`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from presque.errors import (
    InvalidCursor,
    InvalidName,
    InvalidSchedule,
    InvalidScheduleName,
    LaterSchedule,
    UnknownSchedule,
)
from presque.jobs import records
from presque.jobs.queues import NewJob, refusal
from presque.jobs.times import Definition, after, check, plan
from presque.redis import keys
from presque.redis.units import milliseconds, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.internet.defer import Deferred

    from presque.redis.connection import Reply
    from presque.redis.store import Store


class State(msgspec.Struct, frozen=True):
    """What a schedule has done: how many jobs it inserted, which one last, and when. `why` is why it last inserted
    none: missed, overlap, duplicate, full, large, many or closed. Times are epoch seconds, in the store epoch ms.
    """

    created_at: float = 0
    fired: int = 0
    last_number: int = 0
    last_at: float | None = None
    skipped: int = 0
    why: str = ""
    why_at: float | None = None


class Options(records.Options):
    """The options of the job of a schedule; `expires_in` is ms."""

    expires_in: int | None = None


@dataclass(frozen=True)
class Schedule:
    """A schedule, its job, its next time, and what it has done."""

    queue: str
    name: str
    definition: Definition
    job: NewJob
    next_at: float | None
    state: State

    @property
    def last_job(self) -> str | None:
        """The id of the job that it inserted last."""
        return f"{self.queue}:{self.state.last_number}" if self.state.last_number else None


class Due(NamedTuple):
    """A schedule whose time `at` has come, as read at `now`, with its definition in MessagePack."""

    queue: str
    name: str
    at: float
    now: float
    packed: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Definition).decode
_decode_state = msgspec.msgpack.Decoder(State).decode
_decode_options = msgspec.msgpack.Decoder(Options).decode
_KNOWN = [name.encode() for name in Definition.__struct_fields__]


class Schedules:
    """All schedules of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.partitions = store.partitions

    async def put(self, queue: str, name: str, definition: Definition, job: NewJob) -> tuple[Schedule, bool]:
        """Create a schedule, or change it. Returns it, and whether it is new. `job` is due at once or after a delay.
        Its times begin now; if `cron`, `every` and `timezone` were the same before, they go on. Raises InvalidSchedule
        or InvalidScheduleName.
        """
        _check_name(name)
        check(definition)
        value = _stored(definition, job)

        def put(now: float, checked: bytes) -> Deferred[Reply]:
            begins = None if definition.paused else after(definition, now)
            return self._store.on_queue("put_schedule", queue, name.encode(), value, _text(begins), checked)

        now = self._store.now()
        reply = await put(now, _text(now))
        if isinstance(reply, bytes):  # Redis' clock was set: this is what it shows
            reply = await put(seconds(float(reply)), b"")
        is_new, at, state = reply
        return _schedule(queue, name, at, state, value), bool(is_new)

    async def get(self, queue: str, name: str) -> Schedule:
        """The schedule. Raises UnknownSchedule, LaterSchedule or InvalidScheduleName."""
        return (await self._read(queue, name))[1]

    async def _read(self, queue: str, name: str) -> tuple[float, Schedule]:
        """Now, and the schedule."""
        _check_name(name)
        now, *found = await self._store.on_queue("get_schedule", queue, name.encode())
        if not found[-1]:
            raise UnknownSchedule
        return seconds(float(now)), _schedule(queue, name, *found)

    async def delete(self, queue: str, name: str) -> None:
        """Delete the schedule. Raises UnknownSchedule or InvalidScheduleName."""
        _check_name(name)
        if not await self._store.on_queue("delete_schedule", queue, name.encode()):
            raise UnknownSchedule

    async def list_schedules(self, cursor: str, limit: int) -> tuple[list[Schedule], str | None, list[int]]:
        """Up to `limit` schedules, sorted by "<queue>/<name>", after `cursor`, which is "" for the first page; the
        cursor of the next page, None on the last; and the partitions that did not answer. Schedules that this release
        cannot read are left out. Raises InvalidCursor.
        """
        if cursor:
            _check_cursor(cursor)
        args = cursor.encode(), b"%d" % limit
        replies, missing = await self._store.where_there_is_an_answer("list_schedules", *args)
        found, ends = [], []
        for more, *rows in replies.values():
            found += list(zip(rows[::4], rows[1::4], rows[2::4], rows[3::4], strict=True))
            if more:
                ends.append(rows[-4])
        # A partition that ended early may have more, which come before the last ones of the others.
        page = sorted(row for row in found if not ends or row[0] <= min(ends))[:limit]
        is_last = len(page) == len(found) and not ends
        return list(_readable(page)), None if is_last else page[-1][0].decode(), missing

    async def next_times(self, queue: str, name: str, count: int) -> list[float]:
        """The next `count` times, or those that it would have if it is paused (epoch seconds). Raises as `get`."""
        now, schedule = await self._read(queue, name)
        first = schedule.next_at or after(schedule.definition, now)
        times: list[float] = []
        while first is not None and len(times) < count:
            times.append(first)
            first = after(schedule.definition, first, first)
        return times

    async def run_now(self, queue: str, name: str) -> tuple[str, Literal["ready", "delayed"]]:
        """Insert its job now, even if it is paused; its times go on as they were. Returns the id of the job and its
        state. Raises as `get`, and Duplicate, QueueFull or NotAccepting.
        """
        _check_name(name)
        reply = await self._store.on_queue("run_schedule", queue, name.encode(), *_KNOWN)
        if isinstance(reply, int):
            raise LaterSchedule if reply else UnknownSchedule
        if not isinstance(reply[0], int):
            raise refusal(reply, queue)
        return f"{queue}:{reply[0]}", "ready" if reply[1] == b"r" else "delayed"

    def due(self, partition: int, skip: int, limit: int) -> Deferred[list[Due]]:
        """Up to `limit` schedules of a partition whose time has come, the most overdue first; the first `skip` are left
        out.
        """

        def read(reply: Reply) -> list[Due]:
            now, *rows = reply
            found = []
            for member, at, packed in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
                queue, _, name = member.decode().partition("/")
                found.append(Due(queue, name, seconds(float(at)), seconds(float(now)), packed))
            return found

        return self._store.in_partition("due_schedules", partition, b"%d" % skip, b"%d" % limit).addCallback(read)

    async def fire(self, due: Due) -> int:
        """Do what is to be done at the time that has come. Returns how many times fired or were skipped: 0 if the
        schedule has changed, or another daemon was first. Raises LaterSchedule.
        """
        at, done = due.at, 0
        for fires, following in plan(_definition(due.packed), due.at, due.now):
            args = (due.name.encode(), _text(at), due.packed, _text(following), b"1" if fires else b"0")
            if await self._store.on_queue("fire_schedule", due.queue, *args) < 0:
                break
            done += 1
            if following is not None:
                at = following
        return done


def _stored(definition: Definition, job: NewJob) -> bytes:
    """A schedule as the store has it: see `schedules` in presque.redis.keys."""
    delay, options, payload = job.to_store()
    packed = _encode(definition)
    return b"%d %d %b\n%b%b%b" % (len(packed), len(options), delay, packed, options, payload)


def _schedule(queue: str, name: str, at: bytes, state: bytes, value: bytes) -> Schedule:
    """A schedule from what the store has."""
    head, _, rest = value.partition(b"\n")
    size, more, delay = head.split(b" ")
    middle, end = int(size), int(size) + int(more)
    options = _decode_options(rest[middle:end]) if int(more) else Options()
    next_at = seconds(float(at)) if at else None
    job = _job(delay, options, rest[end:])
    return Schedule(queue, name, _definition(rest[:middle]), job, next_at, _state(state))


def _job(delay: bytes, options: Options, payload: bytes) -> NewJob:
    return NewJob(
        payload,
        delay=seconds(int(delay)) if delay else None,
        uniq=options.uniq,
        max_attempts=options.limit,
        priority=options.priority,
        expires_in=None if options.expires_in is None else seconds(options.expires_in),
        headers=options.headers,
    )


def _state(packed: bytes) -> State:
    state = _decode_state(packed) if packed else State()
    last_at, why_at = (None if time is None else seconds(time) for time in (state.last_at, state.why_at))
    return msgspec.structs.replace(state, created_at=seconds(state.created_at), last_at=last_at, why_at=why_at)


def _readable(rows: list[tuple[bytes, bytes, bytes, bytes]]) -> Iterator[Schedule]:
    for member, *found in rows:
        queue, _, name = member.decode().partition("/")
        with suppress(LaterSchedule):
            yield _schedule(queue, name, *found)


def _definition(packed: bytes) -> Definition:
    """Raises LaterSchedule if a later release has made it."""
    try:
        definition = _decode(packed)
        check(definition)
    except (msgspec.MsgspecError, InvalidSchedule):
        raise LaterSchedule from None
    return definition


def _check_name(name: str) -> None:
    try:
        keys.check_name(name)
    except InvalidName:
        raise InvalidScheduleName from None


def _check_cursor(cursor: str) -> None:
    try:
        for name in cursor.partition("/")[::2]:
            keys.check_name(name)
    except InvalidName:
        raise InvalidCursor from None


def _text(time: float | None) -> bytes:
    """A time as the store takes it, in whole milliseconds; the first one that is not before it."""
    return b"" if time is None else b"%d" % ceil(round(milliseconds(time), 3))
