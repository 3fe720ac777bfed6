"""What is in Redis: the data model of `presque.redis.keys` read back, and its invariants."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from math import inf
from typing import Any

import msgspec

from presque.jobs.counters import BUCKETS, COUNTED
from presque.redis.keys import PARTITION_KEYS, QUEUE_KEYS

DUMP = """
local read = { list = 'LRANGE', zset = 'ZRANGE', hash = 'HGETALL', set = 'SMEMBERS', string = 'GET' }
local reply = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind = redis.call('TYPE', key).ok
  local range = kind == 'list' and { 0, -1 } or kind == 'zset' and { 0, -1, 'WITHSCORES' } or {}
  reply[#reply + 1] = { key, kind, redis.call(read[kind], key, unpack(range)) }
end
return reply
"""
CLASS = 2**49  # ranks of one priority
USUAL = 5  # the priority of a job that names none
DEAD_AGE = 1_209_600_000  # ms; the default of the setting
ENDS = ("delivered", "acked", "failed", "died", "expired", "deleted")  # what is counted besides insertions
REASONS = ("released", "failed_lease", "failed_worker", "refused_full", "refused_closed", "refused_duplicate")
TIMES = ("wait", "run")
FACTS = {"n", "base", "out", "at", "off", "classes", "gone", "asked", "run_outs", *ENDS, *COUNTED}


@dataclass
class Record:
    """A job as it is stored in `jobs`."""

    created: int  # epoch ms
    mark: str
    options: dict[str, Any]
    payload: bytes

    @classmethod
    def of(cls, stored: bytes) -> Record:
        created, mark, rest = int(stored[:13]), stored[13:14].decode(), stored[14:]
        if mark in "-d":
            return cls(created, mark, {}, rest)
        assert mark in "xX", mark
        length = int.from_bytes(rest[:2], "big")
        return cls(created, mark, dict(msgspec.msgpack.decode(rest[2 : 2 + length])), rest[2 + length :])

    def stored(self) -> bytes:
        head = b"%013d%b" % (self.created, self.mark.encode())
        packed = msgspec.msgpack.encode(self.options)
        return head + (len(packed).to_bytes(2, "big") + packed if self.mark in "xX" else b"") + self.payload


@dataclass
class Live:
    """What is stored in `live` about a job that is leased or once failed."""

    mark: str
    receipt: bytes
    facts: dict[str, Any]

    @classmethod
    def of(cls, stored: bytes) -> Live:
        head, found, facts = stored.partition(b" ")
        return cls(head[:1].decode(), head[1:], dict(msgspec.msgpack.decode(facts)) if found else {})


@dataclass
class Hold:
    """A member of `held`: the jobs of one take. `numbers` may name jobs that were cancelled since."""

    kind: str  # h or k
    mark: str
    receipt: bytes
    numbers: list[int]
    worker: bytes  # in whose name they are kept

    @classmethod
    def of(cls, member: bytes) -> Hold:
        line, _, worker = member.partition(b"\n")
        head, *numbers = line.split(b" ")
        return cls(head[:1].decode(), head[1:2].decode(), head[2:], [int(number) for number in numbers], worker)


class Stored:
    """All that is in Redis at one moment: hashes and sorted sets as dicts."""

    def __init__(self, redis: Any) -> None:
        make = {
            b"hash": lambda flat: dict(zip(flat[::2], flat[1::2], strict=True)),
            b"zset": lambda flat: dict(zip(flat[::2], map(float, flat[1::2]), strict=True)),
        }
        self.keys = {
            key.decode().removeprefix("presque:{0}"): make.get(kind, lambda value: value)(value)
            for key, kind, value in redis("EVAL", DUMP, 0)
        }

    def get(self, queue: str, key: str, default: Any = ()) -> Any:
        """A key of a queue, or of the partition, with an empty `queue`."""
        return self.keys.get(f":{queue}:{key}" if queue else f"/{key}", default)

    def queues(self) -> list[str]:
        """The queues that have any key."""
        return sorted({key[1:].rpartition(":")[0] for key in self.keys if key.startswith(":")})

    def of(self, queue: str) -> StoredQueue:
        return StoredQueue(self, queue)

    def check(self, queues: Any) -> None:
        """The invariants of the whole: those of each queue, and that there is nothing else."""
        known = {f":{queue}:{key}" for queue in queues for key in QUEUE_KEYS} | {f"/{key}" for key in PARTITION_KEYS}
        calls = re.compile("/(idempotency|reservation)/")
        assert {key for key in self.keys if not calls.match(key)} <= known | {"presque:store"}, "nothing else is there"
        for queue in queues:
            self.of(queue).check()
        names = {queue.encode() for queue in queues}
        assert set(self.get("", "due", {})) <= set(self.get("", "queues", {})) <= names
        for key in ("worker_processed", "worker_failed"):
            assert all(int(n) >= 0 for n in self.get("", key, {}).values()), f"{key} is a count"


class StoredQueue:
    """What is stored of one queue, decoded."""

    def __init__(self, stored: Stored, queue: str) -> None:
        def get(key: str) -> dict[bytes, Any]:
            return stored.get(queue, key, {})

        def by_number(key: str) -> dict[int, Any]:
            return {int(member): value for member, value in get(key).items() if member != b"deaths"}

        self.stored, self.queue = stored, queue
        self.q = {name.decode(): value.decode() for name, value in get("q").items()}
        self.jobs = {number: Record.of(record) for number, record in by_number("jobs").items()}
        self.live = {number: Live.of(fields) for number, fields in by_number("live").items()}
        self.ready = [int(number) for number in stored.get(queue, "ready")]
        self.front, self.behind, self.delayed = by_number("front"), by_number("behind"), by_number("delayed")
        self.leased, self.dead, self.expiring = by_number("leased"), by_number("dead"), by_number("expiring")
        self.held = [(Hold.of(member), deadline) for member, deadline in get("held").items()]
        self.uniq = {key: int(number) for key, number in get("uniq").items()}
        self.kept = get("kept")
        self.acked = {**get("acked_before"), **get("acked")}
        self.standing = [n for n in self.ready if n in self.jobs and self.jobs[n].mark in "-x"]
        self.in_hold = {n: hold for hold, _ in self.held for n in hold.numbers if n in self.jobs}

    def fact(self, name: str) -> int:
        return int(float(self.q.get(name, 0)))

    def times(self, name: str) -> int:
        """How many waits or runs were counted, in all buckets."""
        return sum(self.fact(f"{name}{bucket}") for bucket in BUCKETS)

    def settings(self) -> dict[str, str]:
        return {name: value for name, value in self.q.items() if name not in FACTS}

    def waiting(self) -> set[int]:
        return {*self.standing, *self.front, *self.behind, *self.delayed}

    def places(self) -> Counter[int]:
        """How often each number stands somewhere."""
        held = [number for hold, _ in self.held for number in hold.numbers if number in self.jobs]
        sets = (self.standing, self.front, self.behind, self.delayed, self.leased, self.dead, held)
        return Counter(number for numbers in sets for number in numbers)

    def deadlines(self) -> list[float]:
        """When something is to be done about the queue."""
        times = [*self.delayed.values(), *self.leased.values(), *self.expiring.values()]
        times += [deadline for _, deadline in self.held]
        age = float(self.q.get("dead_age", DEAD_AGE))
        return times + [died + age for died in self.dead.values()]

    def check(self) -> None:
        """What must hold of any queue: the invariants as `presque.redis.keys` numbers them, and what else it says."""
        # 1
        at, due = self.q.get("at"), self.stored.get("", "due", {}).get(self.queue.encode())
        assert (None if at in (None, "") else float(at)) == due, "`at` is the queue's score in `due`"
        assert (inf if due is None else due) <= min(self.deadlines(), default=inf), "the mover comes in time"
        # 2
        assert self.ready == sorted(set(self.ready)), "`ready` is ascending"
        assert not set(self.standing) & set(self.live), "what stands in `ready` was never taken"
        first = self.ready[0] if self.ready else inf
        stands = {number for number, record in self.jobs.items() if record.mark in "-x" and number >= first}
        assert set(self.standing) == stands, "the mark and the first number say whether a job stands in `ready`"
        # 3
        assert len(self.ready) - self.fact("gone") == len(self.standing), "the holes are counted"
        # 4
        for number, record in self.jobs.items():
            assert (record.mark in "xX") == bool(record.options), f"the mark of {number} says whether it has options"
        self._check_places()
        self._check_what_belongs_to_jobs()

    def _check_places(self) -> None:
        places = self.places()
        assert set(places.values()) <= {1}, "each job is in one place"
        assert set(places) == set(self.jobs), "each job has a record, and nothing else has"
        priorities = {number: record.options.get("priority", USUAL) for number, record in self.jobs.items()}
        assert all(priorities[number] >= USUAL for number in self.front), "in front: the default and above"
        assert all(priorities[number] < USUAL for number in self.behind), "behind: what is below the default"
        if any(priority != USUAL for priority in priorities.values()):
            assert self.q.get("classes") == "1", "a fetch looks behind, and the mover at priorities"
        for number, rank in [*self.front.items(), *self.behind.items()]:
            assert rank // CLASS == 9 - priorities[number], f"the rank of {number} is of its priority"
        for key in ("front", "behind", "delayed"):
            assert all(len(member) == 16 for member in self.stored.get(self.queue, key, {})), f"{key} sorts by number"

    def _check_what_belongs_to_jobs(self) -> None:
        waiting = self.waiting()
        for number, live in self.live.items():
            assert number in self.jobs, "`live` is of jobs that there are"
            assert live.mark == ("x" if self.jobs[number].mark in "xX" else "-"), "`live` says what the record says"
            assert bool(live.receipt) == (number in self.leased), "who is leased has a receipt, and nobody else"
            assert live.receipt or live.facts, "there is something to say"
            assert "worker" not in live.facts or live.receipt, "a worker holds a lease"
        assert set(self.leased) <= set(self.live), "who is leased has a receipt"
        expires = {number: self.jobs[number].options.get("expires") for number in waiting if number in self.jobs}
        expires = {number: at for number, at in expires.items() if at is not None}
        assert self.expiring == expires, "who waits and expires is in `expiring`"
        assert set(self.uniq.values()) <= waiting, "a uniq key is a waiting job's"
        assert all(self.jobs[n].options["unique"].encode() == key for key, n in self.uniq.items()), "and its own"
        for number, hold in self.in_hold.items():
            plain = self.jobs[number].mark in "-d" and number not in self.live
            assert hold.kind in "hk"
            assert hold.mark == "x" or (hold.mark == "-" and plain), "a hold says if more than `jobs` is concerned"
        members = {(worker, member) for worker, said in self.kept.items() for member in said.split(b"\0") if member}
        for member in self.stored.get(self.queue, "held", {}):
            hold = Hold.of(member)
            if hold.kind == "k":
                assert (hold.worker, member) in members, "what is kept for a worker is found by its name"
        for name in FACTS - {"at", "off", "run_outs"}:
            assert self.fact(name) >= 0, f"{name} is a count"
