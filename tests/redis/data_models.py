"""What the keys of a store say, in either data model, in the same words; and what must hold of data model 3."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from programs import Redis

Dump = dict[str, Any]

_NAME = re.compile(rb"[A-Za-z0-9_][A-Za-z0-9._:@-]{0,127}")  # of a queue
_READS = {
    b"string": lambda command, key: command("GET", key),
    b"hash": lambda command, key: _pairs(command("HGETALL", key)),
    b"set": lambda command, key: set(command("SMEMBERS", key)),
    b"list": lambda command, key: command("LRANGE", key, 0, -1),
    b"zset": lambda command, key: {name: float(score) for name, score in _pairs(_ranked(command, key)).items()},
}


def _pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _ranked(command: Any, key: bytes) -> list[bytes]:
    return command("ZRANGE", key, 0, -1, "WITHSCORES")


def dump_of(redis: Redis) -> Dump:
    """All keys of a store with their values, once two readings are the same."""
    found = _read(redis)
    while found != (again := _read(redis)):
        found = again
    return found


def _read(redis: Redis) -> Dump:
    command = redis.session()
    kinds = {key: command("TYPE", key) for key in command("KEYS", "presque:*")}
    return {key.decode(): _READS[kind](command, key) for key, kind in kinds.items() if kind != b"none"}


def own_keys(dump: Dump) -> dict[tuple[str, str], Dump]:
    """The keys of each queue by name: (partition, queue) -> {name: value}."""
    queues: dict[tuple[str, str], Dump] = {}
    for key, value in dump.items():
        partition, found, rest = key.partition("}:")
        if found:
            queue, _, name = rest.rpartition(":")
            queues.setdefault((partition[len("presque:{") :], queue), {})[name] = value
    for key, value in dump.items():
        if key.endswith("}/queues"):
            for name in filter(_NAME.fullmatch, value):
                queues.setdefault((key[len("presque:{") : -len("}/queues")], name.decode()), {})
    return queues


def _place(job: dict[str, Any], place: Any) -> dict[str, Any]:
    assert "place" not in job, f"it is in two places: {job} {place}"
    return {**job, "place": place}


def _failures(packed: bytes | list[Any]) -> list[Any]:
    failures = msgspec.msgpack.decode(packed) if isinstance(packed, bytes) else packed
    return [(number, int(at), why) for number, at, why in failures]


def read_old(dump: Dump) -> dict[str, Any]:
    """What a store of data model 2 says."""
    return {queue: _read_old(dump, partition, queue, own) for (partition, queue), own in own_keys(dump).items()}


def _read_old(dump: Dump, partition: str, queue: str, own: Dump) -> dict[str, Any]:
    name, here = queue.encode(), f"presque:{{{partition}}}/"
    of = {key: own.get(key, {}) for key in ("jobs", "uniq_of", "attempts", "limits", "history", "run_outs", "holders")}
    receipts = own.get("receipts", {})
    jobs = {}
    for number, record in of["jobs"].items():
        jobs[number] = {
            "created": record[:13],
            "payload": record[14:],
            "unique": of["uniq_of"].get(number),
            "limit": int(of["limits"].get(number, 0)),
            "attempts": int(of["attempts"].get(number, 0)),
            "run_outs": int(of["run_outs"].get(number, 0)),
            "failures": _failures(of["history"].get(number, b"\x90")),
        }
    for number, deadline in own.get("leased", {}).items():
        receipt = receipts[number]
        under, _, worker = of["holders"].get(number, b"").partition(b" ")
        worker = worker if under == receipt else b""
        for each, pairs in own.get("kept", {}).items():
            texts = pairs.split()
            if (number, receipt) in zip(texts[::2], texts[1::2], strict=True):
                worker = each
        jobs[number] = _place(jobs[number], ("leased", deadline, receipt, worker))
    for key in ("dead", "delayed"):
        for number, at in own.get(key, {}).items():
            plain = b"%d" % int(number)
            jobs[plain] = _place(jobs[plain], (key, at))
    order = [b"%d" % int(number) for number in own.get("front", {})] + own.get("ready", [])
    for number in order:
        jobs[number] = _place(jobs[number], ("ready",))
    assert all("place" in job for job in jobs.values())
    processed, failed = (int(dump.get(here + key, {}).get(name, 0)) for key in ("processed", "failed"))
    return {
        "jobs": jobs,
        "order": order,
        "uniq": own.get("uniq", {}),
        "settings": own.get("settings", {}),
        "settled": own.get("acked_by", {}),
        "facts": (processed, failed, name in dump.get(here + "paused", ()), name in dump.get(here + "queues", ())),
        "kept": {
            worker: held
            for worker in own.get("kept", ())
            if (held := sorted(number for number, job in jobs.items() if _keeper(job) == worker))
        },
        "waiting": own.get("waiting", {}),
    }


def _keeper(job: dict[str, Any]) -> bytes | None:
    place = job["place"]
    return place[3] if place[0] == "leased" and place[2][:1] == b"k" else None


def _split(record: bytes) -> tuple[bytes, dict[str, Any], bytes]:
    """The mark, the options and the payload of a record."""
    mark = record[13:14]
    if mark in b"xX":
        ends = 16 + int.from_bytes(record[14:16], "big")
        return mark, msgspec.msgpack.decode(record[16:ends]), record[ends:]
    return mark, {}, record[14:]


def _live(text: bytes) -> tuple[bytes, bytes, dict[str, Any]]:
    head, _, packed = text.partition(b" ")
    return head[:1], head[1:], msgspec.msgpack.decode(packed) if packed else {}


FACTS = {
    b"n",
    b"base",
    b"out",
    b"at",
    b"off",
    b"classes",
    b"gone",
    b"delivered",
    b"acked",
    b"failed",
    b"died",
} | {
    b"expired",
    b"deleted",
}


def read_new(dump: Dump) -> dict[str, Any]:
    """What a store of data model 3 says."""
    return {queue: _read_new(own) for (_, queue), own in own_keys(dump).items()}


def _read_new(own: Dump) -> dict[str, Any]:
    jobs = {}
    for number, record in own.get("jobs", {}).items():
        _, options, payload = _split(record)
        _, receipt, more = _live(own.get("live", {}).get(number, b"-"))
        jobs[number] = {
            "created": record[:13],
            "payload": payload,
            "unique": options["unique"].encode() if "unique" in options else None,
            "limit": options.get("limit", 0),
            "attempts": more.get("attempts", 0),
            "run_outs": more.get("run_outs", 0),
            "failures": _failures(more.get("failures", [])),
        }
        if deadline := own.get("leased", {}).get(number):
            place = ("leased", deadline, receipt, more.get("worker", "").encode())
            jobs[number] = _place(jobs[number], place)
        else:
            assert receipt == b""
    kept = {}
    for member, deadline in own.get("held", {}).items():
        head, _, worker = member.partition(b"\n")
        name, *numbers = head.split(b" ")
        for number in numbers:
            jobs[number] = _place(jobs[number], ("leased", deadline, name[:1] + name[2:], worker))
        if name[:1] == b"k" and member in own.get("kept", {}).get(worker, b"").split(b"\0"):
            kept.setdefault(worker, []).extend(numbers)
    for key in ("dead", "delayed"):
        for number, at in own.get(key, {}).items():
            plain = b"%d" % int(number)
            jobs[plain] = _place(jobs[plain], (key, at))
    order = [b"%d" % int(number) for number in own.get("front", {})]
    order += [number for number in own.get("ready", []) if own.get("jobs", {}).get(number, b"")[13:14] in (b"-", b"x")]
    order += [b"%d" % int(number) for number in own.get("behind", {})]
    for number in order:
        jobs[number] = _place(jobs[number], ("ready",))
    q = own.get("q", {})
    return {
        "jobs": jobs,
        "order": order,
        "uniq": own.get("uniq", {}),
        "settings": {name: value for name, value in q.items() if name not in FACTS},
        "settled": {**own.get("acked_before", {}), **own.get("acked", {})},
        "facts": (int(q.get(b"out", 0)), int(q.get(b"failed", 0)), q.get(b"off") == b"paused", b"n" in q),
        "kept": {worker: sorted(numbers) for worker, numbers in kept.items()},
        "waiting": own.get("waiting", {}),
    }


def check(dump: Dump) -> None:
    """Assert what presque.redis.keys promises of a store of data model 3."""
    for (partition, queue), own in own_keys(dump).items():
        name, q, jobs = queue.encode(), own.get("q", {}), own.get("jobs", {})
        assert set(own) <= NAMES, (queue, set(own) - NAMES)
        due = dump.get(f"presque:{{{partition}}}/due", {}).get(name)
        assert (float(q[b"at"]) if b"at" in q else None) == due, queue
        expiring = [options["expires"] for _, options, _ in map(_split, jobs.values()) if "expires" in options]
        assert set(own.get("expiring", {}).values()) <= set(expiring)
        deadlines = [at for key in ("delayed", "leased", "held", "expiring") for at in own.get(key, {}).values()]
        first = min(deadlines, default=math.inf)
        assert first == math.inf or (due is not None and due <= first), (queue, due, first)
        read_new({key: value for key, value in dump.items() if key.startswith(f"presque:{{{partition}}}:{queue}:")})
        _check_ready(own)
        for number, text in own.get("live", {}).items():
            mark, receipt, more = _live(text)
            assert mark == (b"x" if jobs[number][13:14] in b"xX" else b"-"), (queue, number)
            assert (receipt != b"") == (number in own.get("leased", {})), (queue, number)
            assert receipt or more, (queue, number)
        for member in own.get("held", {}):
            numbers = member.partition(b"\n")[0].split(b" ")[1:]
            touched = any(jobs.get(each, b" " * 14)[13:14] in b"xX" or each in own.get("live", {}) for each in numbers)
            assert not touched or member[1:2] == b"x", member
        assert (name in dump.get(f"presque:{{{partition}}}/queues", {})) == (b"n" in q), queue


NAMES = {"q", "ready", "front", "behind", "delayed", "leased", "dead", "held", "jobs", "live", "uniq", "expiring"}
NAMES |= {"acked", "acked_before", "kept", "waiting", "workers"}  # the last until workers are converted


def _check_ready(own: Dump) -> None:
    ready, jobs = own.get("ready", []), own.get("jobs", {})
    numbers = [int(number) for number in ready]
    assert numbers == sorted(set(numbers))
    stand = [number for number in ready if jobs.get(number, b"")[13:14] in (b"-", b"x")]
    assert not set(stand) & set(own.get("live", ()))
    assert len(ready) - int(own.get("q", {}).get(b"gone", 0)) == len(stand), (
        own.get("q"),
        ready,
        {n: jobs.get(n) for n in ready},
    )
    there = {
        number for number, record in jobs.items() if record[13:14] in b"-x" and numbers and int(number) >= numbers[0]
    }
    assert there == set(stand)
    elsewhere = {
        b"%d" % int(number) for key in ("front", "behind", "delayed", "leased", "dead") for number in own.get(key, ())
    }
    held = {number for member in own.get("held", ()) for number in member.partition(b"\n")[0].split(b" ")[1:]}
    assert not (elsewhere | held) & set(stand)
    assert set(jobs) <= elsewhere | held | set(stand), "a job is nowhere"
    assert elsewhere <= set(jobs)
