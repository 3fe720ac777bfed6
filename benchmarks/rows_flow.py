"""Rows 1, 2, 3, 11 and 14: jobs go in and come out, and each is accounted for."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.load import Client, Lost, Refused, encoded, insist, percentile, together, until, whole
from presque.redis.scripts import SCRIPTS

if TYPE_CHECKING:
    from benchmarks.load import Bench, Redis

JOBS = "presque:{0}:bench:jobs"
LEASED = "presque:{0}:bench:leased"


def number_of(text: str | dict[str, int]) -> int:
    """The number that a job carries."""
    value = json.loads(text) if isinstance(text, str) else text
    return int(value["n"])


def account(tried: set[int], acknowledged: set[int], delivered: list[int]) -> dict[str, int]:
    """The accounting of a total queue."""
    counts = Counter(delivered)
    return {
        "acknowledged": len(acknowledged),
        "delivered": len(delivered),
        "lost": len(acknowledged - set(counts)),
        "unexpected": len(set(counts) - tried),
        "duplicated": sum(counts.values()) - len(counts),
    }


def drained(redis: Redis) -> bool:
    return redis.command("HLEN", JOBS) == 0


def base(bench: Bench, figures: dict[str, Any]) -> bool:
    """base: 16 producers, 16 consumers, batches of 10; lost and duplicated 0, no queue key left."""
    total, producers = bench.size(100_000, 8_000), 16
    redis = bench.redis()
    port = bench.daemon(redis.url).port
    acknowledged: set[int] = set()
    delivered: list[int] = []
    done = threading.Event()
    ends = time.monotonic() + 300

    def produce(part: int) -> None:
        client = Client(port)
        names = range(part * total // producers, (part + 1) * total // producers)
        for at in range(0, len(names), 10):
            some = names[at : at + 10]
            reply = client.post("/qb/bench", {"jobs": [{"n": n} for n in some]})
            assert reply.status == 201, reply
            acknowledged.update(some)

    def consume() -> None:
        client = Client(port)
        while not done.is_set() and time.monotonic() < ends:
            reply = client.ask("GET", "/qb/bench?batch_size=10")
            if reply.status == 200:
                delivered.extend(map(number_of, reply.json))
            else:
                time.sleep(0.005)

    def watch() -> None:
        try:
            until(lambda: len(acknowledged) == total and drained(redis), 280, "the end of all jobs")
        finally:
            done.set()

    began = time.monotonic()
    together([*(partial(produce, part) for part in range(producers)), *[consume] * 16, watch])
    figures.update(account(set(range(total)), acknowledged, delivered))
    figures["jobs_per_second"] = round(total / (time.monotonic() - began))
    figures["keys_left"] = len(redis.command("KEYS", "presque:{0}:bench:*"))
    bad = ("lost", "unexpected", "duplicated", "keys_left")
    return figures["acknowledged"] == total and not any(figures[name] for name in bad)


def chaos(bench: Bench, figures: dict[str, Any], kills: int, total: int, fsync: str, victim: str) -> bool:
    """Producers over /v1 with idempotency keys, consumers over both interfaces, two daemons, and kills."""
    redis = bench.redis("--appendfsync", fsync)
    daemons = [bench.daemon(redis.url) for _ in range(2)]
    ports = [daemon.port for daemon in daemons]
    acknowledged: set[int] = set()
    delivered: list[int] = []
    done, lock = threading.Event(), threading.Lock()
    state = {"allowed": total // (kills + 1), "next": 0, "retried": 0, "out": 0, "refused_acks": 0}
    ends = time.monotonic() + 600

    def produce(seed: int) -> None:
        chance = random.Random(seed)
        clients = [Client(port) for port in ports]
        while not done.is_set():
            with lock:
                some = range(state["next"], min(state["next"] + chance.choice([1, 5, 10]), state["allowed"]))
                state["next"] += len(some)
            if state["next"] >= total and not some:
                return
            if not some:
                time.sleep(0.005)
                continue
            value = {"jobs": [{"payload": {"n": n}} for n in some]}
            key = f"{bench.seed}-{some.start}"

            def insert(value: Any = value, key: str = key) -> Any:
                return chance.choice(clients).post("/v1/queues/bench/jobs", value, Idempotency_Key=key)

            _, tries = insist(insert, (201,))
            with lock:
                state["retried"] += tries - 1
            acknowledged.update(some)

    def consume(seed: int, modern: bool) -> None:
        chance = random.Random(seed)
        clients = [Client(port) for port in ports]
        while not done.is_set() and time.monotonic() < ends:
            client = chance.choice(clients)
            try:
                got = reserve(client, clients, chance) if modern else fetch(client)
            except (Refused, Lost):
                got = 0
            if not got:
                time.sleep(0.01)

    def fetch(client: Client) -> int:
        reply = client.ask("GET", "/qb/bench?batch_size=10")
        if reply.status != 200:
            return 0
        delivered.extend(map(number_of, reply.json))
        return len(reply.json)

    def reserve(client: Client, clients: list[Client], chance: random.Random) -> int:
        jobs = client.post("/v1/queues/bench/reservations", {"max": 10, "lease": 5}).json["jobs"]
        delivered.extend(number_of(job["payload"]) for job in jobs)
        said = [{"id": job["id"], "receipt": job["receipt"], "outcome": "ack"} for job in jobs]
        if said:
            reply, _ = insist(lambda: chance.choice(clients).post("/v1/settlements", {"settlements": said}), (200,))
            with lock:
                state["refused_acks"] += sum(result["result"] != "acked" for result in reply.json["results"])
        return len(said)

    def kill() -> None:
        try:
            for turn in range(kills):
                time.sleep(bench.chance.uniform(0.05, 0.5))
                out = redis.command("ZCARD", LEASED)
                if victim == "daemon":
                    daemons[turn % 2].kill()
                    state["out"] += max(out, redis.command("ZCARD", LEASED))
                    daemons[turn % 2].start()
                else:
                    redis.kill()
                    redis.start()
                    state["out"] += max(out, redis.command("ZCARD", LEASED))
                state["allowed"] = total * (turn + 2) // (kills + 1)
            state["allowed"] = total
            until(lambda: len(acknowledged) == total and drained(redis), 120, "the end of all jobs")
        finally:
            done.set()

    producers = [partial(produce, bench.chance.randrange(2**32)) for _ in range(6)]
    consumers = [partial(consume, bench.chance.randrange(2**32), n % 2 == 0) for n in range(6)]
    together([*producers, *consumers, kill])
    figures.update(account(set(range(total)), acknowledged, delivered))
    figures["kills"], figures["insertions_retried"] = kills, state["retried"]
    figures["out_at_kills"], figures["acks_refused"] = state["out"], state["refused_acks"]
    figures["inserted_twice"] = int(redis.command("GET", "presque:{0}/last_id")) - total
    ok = figures["acknowledged"] == total and not (figures["lost"] or figures["unexpected"])
    return ok and figures["inserted_twice"] == 0 and figures["duplicated"] <= figures["out_at_kills"]


def daemon_killed(bench: Bench, figures: dict[str, Any]) -> bool:
    """daemon killed: one of two, again and again; lost 0, no double insertion, twice delivered at most what was out."""
    return chaos(bench, figures, bench.size(50, 4), bench.size(20_000, 1_500), "everysec", "daemon")


def redis_killed(bench: Bench, figures: dict[str, Any]) -> bool:
    """Redis killed: with fsync everysec and always; lost 0."""
    held = []
    for fsync in ("everysec", "always"):
        figures[fsync] = {}
        held.append(chaos(bench, figures[fsync], bench.size(30, 3), bench.size(10_000, 1_000), fsync, "redis"))
    return all(held)


def client_vanishes(bench: Bench, figures: dict[str, Any]) -> bool:
    """client vanishes: takes over both interfaces, clients gone at random moments; lost 0, ready in 1 s."""
    takes = bench.size(4_000, 400)
    redis = bench.redis()
    port = bench.daemon(redis.url).port
    client = Client(port)
    for at in range(0, takes, 100):
        value = {"jobs": [{"payload": {"n": n}} for n in range(at, at + 100)]}
        assert client.post("/v1/queues/bench/jobs", value).status == 201
    delivered: list[int] = []
    leases: list[dict[str, str]] = []
    resets: set[int] = set()
    answered = Counter[str]()

    def vanish(seed: int, count: int) -> None:
        chance = random.Random(seed)
        for _ in range(count):
            modern = chance.random() < 0.5
            ask = encoded("GET", "/q/bench")
            if modern:
                ask = encoded("POST", "/v1/queues/bench/reservations", b'{"max":1,"lease":20}')
            reset = chance.random() < 0.5
            with socket.create_connection(("127.0.0.1", port)) as connection:
                if reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.sendall(ask)
                time.sleep(chance.uniform(0, chance.choice([0.02, 0.3])))
                received = b""
                leaves = time.monotonic()
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    received = connection.recv(65536, socket.MSG_DONTWAIT)
            found = whole(received)
            answered["came" if found else "left before"] += 1
            if not found and time.monotonic() - leaves > 0.003:
                answered["left slowly"] += 1  # the answer may have come, and been settled, before it was gone
            if found and found[0].status == 200:
                jobs = found[0].json["jobs"] if modern else []
                numbers = [number_of(job["payload"]) for job in jobs] if modern else [number_of(found[0].json)]
                leases.extend(jobs)
                delivered.extend(numbers)
                if reset:  # the daemon cannot know that the client had read it
                    resets.update(numbers)

    together([partial(vanish, bench.chance.randrange(2**32), takes // 20) for _ in range(20)])
    time.sleep(1.0)
    known = {lease["id"].rpartition(":")[2].encode() for lease in leases}
    figures["takes"], figures["answers"] = takes, dict(answered)
    figures["not_ready_after_1s"] = len(set(redis.command("ZRANGE", LEASED, 0, -1)) - known)
    figures["attempts_counted"] = redis.command("HLEN", "presque:{0}:bench:attempts")
    refused = 0
    for lease in leases:
        status = client.post(f"/v1/jobs/{lease['id']}/ack", {"receipt": lease["receipt"]}).status
        refused += status != 204 and number_of(lease["payload"]) not in resets  # type: ignore[arg-type]

    def rest() -> bool:
        reply = client.ask("GET", "/qb/bench?batch_size=1000")
        delivered.extend(map(number_of, reply.json) if reply.status == 200 else [])
        return drained(redis)

    until(rest, 40, "the rest")
    figures["acks_refused"] = refused
    figures.update(account(set(range(takes)), set(range(takes)), delivered))
    counts = Counter(delivered)
    figures["reset_after_answer"] = len(resets)
    figures["duplicated_without_reset"] = sum(count - 1 for n, count in counts.items() if n not in resets)
    bad = ("lost", "unexpected", "duplicated_without_reset", "attempts_counted", "acks_refused")
    both = answered["came"] and answered["left before"]
    soon = figures["not_ready_after_1s"] <= answered["left slowly"]
    return bool(both) and soon and not any(figures[name] for name in bad)


def delayed(bench: Bench, figures: dict[str, Any]) -> bool:
    """delayed: due over 30 s, then at one moment, three daemons; each once, none early, p99 of the first 100 ms."""
    redis = bench.redis("--slowlog-log-slower-than", "50000", "--slowlog-max-len", "10000")
    ports = [bench.daemon(redis.url).port for _ in range(3)]
    spread = 30 if not bench.short else 4
    for name, total, over in (
        ("spread", bench.size(50_000, 3_000), spread),
        ("at_once", bench.size(100_000, 5_000), 0),
    ):
        start = time.time() + 4 + total / 8000
        due = [start + bench.chance.uniform(0, over) for _ in range(total)]
        seen: list[tuple[int, float]] = []
        done = threading.Event()

        def insert(part: int, due: list[float] = due) -> None:
            client = Client(ports[part % 3])
            for at in range(part * 500, len(due), 1500):
                jobs = [{"payload": {"n": n}, "run_at": due[n]} for n in range(at, min(at + 500, len(due)))]
                assert client.post("/v1/queues/bench/jobs", {"jobs": jobs}).status == 201

        def consume(port: int, done: threading.Event = done, seen: list[tuple[int, float]] = seen) -> None:
            client = Client(port)
            while not done.is_set():
                reply = client.ask("GET", "/qb/bench?batch_size=100&wait=1")
                now = time.time()
                if reply.status == 200:
                    seen.extend((number_of(text), now) for text in reply.json)

        def watch(seconds: float, done: threading.Event = done) -> None:
            try:
                until(lambda: drained(redis), seconds, "the end of all jobs")
            finally:
                done.set()

        together([partial(insert, part) for part in range(3)])
        figures[name] = found = {"inserted_before_due_s": round(start - time.time(), 1)}
        together([*(partial(consume, port) for port in ports * 2), partial(watch, over + 90)])
        lateness = [now - due[n] for n, now in seen]
        found.update(account(set(range(total)), set(range(total)), [n for n, _ in seen]))
        found["early"] = sum(late < -0.001 for late in lateness)
        found["late_p50_s"], found["late_p99_s"] = percentile(lateness, 0.5), percentile(lateness, 0.99)
    slow = [entry for entry in redis.command("SLOWLOG", "GET", "10000") if entry[3][0].upper().startswith(b"EVAL")]
    figures["slow_scripts"], figures["slowest_ms"] = len(slow), max([entry[2] / 1000 for entry in slow], default=0)
    verbs = {script.digest: script.name for script in SCRIPTS.values()}
    figures["slow_verbs"] = dict(Counter(verbs.get(entry[3][1], "?") for entry in slow))
    bad = ("lost", "unexpected", "duplicated", "early")
    clean = not any(figures[name][each] for name in ("spread", "at_once") for each in bad)
    return clean and figures["spread"]["late_p99_s"] <= 0.1 and not slow


ROWS = {1: base, 2: daemon_killed, 3: redis_killed, 11: client_vanishes, 14: delayed}
