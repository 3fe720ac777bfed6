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

from presque.jobs.policy import lua_parts
from presque.redis.scripts import load
from tests.load import Client, Lost, Refused, deafen, encoded, insist, percentile, together, until, whole

SCRIPTS = load(lua_parts())

if TYPE_CHECKING:
    from tests.acceptance.bench import Bench
    from tests.load import Reply
    from tests.programs import Redis

JOBS = "presque:{0}:bench:jobs"
LIVE = "presque:{0}:bench:live"
SILENCE = 2.0  # seconds: --request-timeout where clients vanish without a word


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
        while not done.is_set():
            reply = client.ask("GET", "/qb/bench?batch_size=10")
            if reply.status == 200:
                delivered.extend(map(number_of, reply.json))
            else:
                time.sleep(0.005)

    def watch() -> None:
        try:
            until(lambda: len(acknowledged) == total and drained(redis), bench.size(280, 60), "the end of all jobs")
        finally:
            done.set()

    began = time.monotonic()
    together([*(partial(produce, part) for part in range(producers)), *[consume] * 16, watch])
    figures.update(account(set(range(total)), acknowledged, delivered))
    figures["jobs_per_second"] = round(total / (time.monotonic() - began))
    figures["keys_left"] = len(set(redis.command("KEYS", "presque:{0}:bench:*")) - {b"presque:{0}:bench:q"})
    bad = ("lost", "unexpected", "duplicated", "keys_left")
    return figures["acknowledged"] == total and not any(figures[name] for name in bad)


class Chaos:
    """Producers over /v1 with idempotency keys and consumers over both interfaces, while two daemons or their Redis are
    killed. Before each kill so many jobs more are let in that it falls into the midst of them.
    """

    def __init__(self, bench: Bench, kills: int, total: int, fsync: str) -> None:
        self.bench, self.kills, self.total = bench, kills, total
        self.redis = bench.redis("--appendfsync", fsync)
        self.daemons = [bench.daemon(self.redis.url) for _ in range(2)]
        self.ports = [daemon.port for daemon in self.daemons]
        self.acknowledged: set[int] = set()
        self.delivered: list[int] = []
        self.done, self.lock = threading.Event(), threading.Lock()
        self.next = self.allowed = 0  # the number that is inserted next; below which numbers may be inserted
        self.retried = self.out = self.hits = self.refused_acks = 0

    def produce(self, seed: int) -> None:
        chance = random.Random(seed)
        clients = [Client(port) for port in self.ports]
        while not self.done.is_set() and self.next < self.total:
            with self.lock:
                some = range(self.next, min(self.next + chance.choice([1, 5, 10]), self.allowed))
                self.next += len(some)
            if not some:
                time.sleep(0.002)
                continue
            value = {"jobs": [{"payload": {"n": n}} for n in some]}
            key = f"{self.bench.seed}-{some.start}"

            def insert(value: Any = value, key: str = key) -> Reply:
                return chance.choice(clients).post("/v1/queues/bench/jobs", value, Idempotency_Key=key)

            _, tries = insist(insert, (201,))
            with self.lock:
                self.retried += tries - 1
            self.acknowledged.update(some)

    def consume(self, seed: int, modern: bool) -> None:
        chance = random.Random(seed)
        clients = [Client(port) for port in self.ports]
        while not self.done.is_set():
            got = 0
            with contextlib.suppress(Refused, Lost):
                got = self.reserve(clients, chance) if modern else self.fetch(chance.choice(clients))
            if not got:
                time.sleep(0.005)

    def fetch(self, client: Client) -> int:
        reply = client.ask("GET", "/qb/bench?batch_size=10")
        if reply.status != 200:
            return 0
        self.delivered.extend(map(number_of, reply.json))
        return len(reply.json)

    def reserve(self, clients: list[Client], chance: random.Random) -> int:
        reply = chance.choice(clients).post("/v1/queues/bench/reservations", {"max": 10, "lease": 5})
        jobs = reply.json["jobs"]
        self.delivered.extend(number_of(job["payload"]) for job in jobs)
        said = [{"id": job["id"], "receipt": job["receipt"], "outcome": "ack"} for job in jobs]
        if said:
            time.sleep(chance.uniform(0, 0.02))  # the work, into which a kill may fall
            reply, _ = insist(lambda: chance.choice(clients).post("/v1/settlements", {"settlements": said}), (200,))
            with self.lock:
                self.refused_acks += sum(result["result"] != "acked" for result in reply.json["results"])
        return len(said)

    def _out_now(self) -> int:
        """How many jobs are out, if possible at a moment at which some are."""
        ends = time.monotonic() + 0.5
        while not (out := len(self.redis.taken("bench"))) and time.monotonic() < ends:
            pass
        return out

    def kill(self, victim: str) -> None:
        try:
            for turn in range(self.kills):
                self.allowed = self.total * (turn + 1) // self.kills
                time.sleep(self.bench.chance.uniform(0.0, 0.05))
                out = self._out_now()
                self.hits += bool(out or len(self.acknowledged) < self.allowed)
                target = self.daemons[turn % 2] if victim == "daemon" else self.redis
                target.kill()
                if victim == "redis":
                    self.redis.start()
                self.out += max(out, len(self.redis.taken("bench")))
                if victim == "daemon":
                    target.start()
            patience = self.bench.size(120, 50)
            until(lambda: len(self.acknowledged) == self.total and drained(self.redis), patience, "the end of all jobs")
        finally:
            self.done.set()

    def run(self, victim: str, figures: dict[str, Any]) -> bool:
        seeds = [self.bench.chance.randrange(2**32) for _ in range(12)]
        producers = [partial(self.produce, seed) for seed in seeds[:6]]
        consumers = [partial(self.consume, seed, n % 2 == 0) for n, seed in enumerate(seeds[6:])]
        together([*producers, *consumers, partial(self.kill, victim)])
        figures.update(account(set(range(self.total)), self.acknowledged, self.delivered))
        figures["kills"], figures["amid_jobs"], figures["insertions_retried"] = self.kills, self.hits, self.retried
        figures["out_at_kills"], figures["acks_refused"] = self.out, self.refused_acks
        figures["inserted_twice"] = int(self.redis.command("HGET", "presque:{0}:bench:q", "n")) - self.total
        ok = figures["acknowledged"] == self.total and not (figures["lost"] or figures["unexpected"])
        once = figures["inserted_twice"] == 0 and figures["duplicated"] <= figures["out_at_kills"]
        return ok and once and self.hits > self.kills // 2


def daemon_killed(bench: Bench, figures: dict[str, Any]) -> bool:
    """daemon killed: one of two, again and again; lost 0, no double insertion, twice delivered at most what was out."""
    return Chaos(bench, bench.size(50, 4), bench.size(20_000, 1_600), "everysec").run("daemon", figures)


def redis_killed(bench: Bench, figures: dict[str, Any]) -> bool:
    """Redis killed: with --fsync everysec and always, as the private server runs them; lost 0."""
    held = []
    for fsync in ("no", "always"):  # for everysec Redis writes before each answer, and presque syncs
        figures[fsync] = {}
        chaos = Chaos(bench, bench.size(30, 3), bench.size(10_000, 1_000), fsync)
        held.append(chaos.run("redis", figures[fsync]))
    return all(held)


class Leavers:
    """Clients that ask for a job and are gone at a random moment, by an ordinary close or a reset."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.delivered: list[int] = []
        self.leases: list[dict[str, Any]] = []
        self.resets: set[int] = set()  # whose client reset its connection after it had read the answer
        self.answered = Counter[str]()

    def vanish(self, seed: int, count: int) -> None:
        chance = random.Random(seed)
        for _ in range(count):
            modern, reset = chance.random() < 0.5, chance.random() < 0.5
            leaves_after = chance.uniform(0, chance.choice([0.0, 0.001, 0.02, 0.2]))
            self.note(self.take(modern, reset, leaves_after), modern, reset)

    def take(self, modern: bool, reset: bool, leaves_after: float) -> bytes:
        """Ask, and leave so many seconds later; what had come by then."""
        ask = encoded("GET", "/q/bench")
        if modern:
            ask = encoded("POST", "/v1/queues/bench/reservations", b'{"max":1,"lease":20}')
        received = b""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(ask)
            time.sleep(leaves_after)
            # From now on its kernel acknowledges nothing more; what it has acknowledged can still be read.
            if reset:
                deafen(connection)
            else:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                received = connection.recv(65536, socket.MSG_DONTWAIT)
        return received

    def note(self, received: bytes, modern: bool, reset: bool) -> None:
        found = whole(received)
        self.answered["came" if found else "left before"] += 1
        if not found or found[0].status != 200:
            return
        jobs = found[0].json["jobs"] if modern else []
        numbers = [number_of(job["payload"]) for job in jobs] if modern else [number_of(found[0].json)]
        self.leases.extend(jobs)
        self.delivered.extend(numbers)
        if reset:  # its kernel had it, and may have been about to acknowledge it: then it comes again
            self.resets.update(numbers)

    def nobodys(self, redis: Redis) -> int:
        """Jobs that are held for nobody: taken, and by none of those who read their answer."""
        known = {lease["id"].rpartition(":")[2].encode() for lease in self.leases}
        return len(redis.taken("bench") - known)

    def acknowledge(self, client: Client) -> int:
        """Ack what was read; how many of those who did not reset were refused."""
        refused = 0
        for lease in self.leases:
            status = client.post(f"/v1/jobs/{lease['id']}/ack", {"receipt": lease["receipt"]}).status
            refused += status != 204 and number_of(lease["payload"]) not in self.resets
        return refused

    def fetch_rest(self, client: Client, redis: Redis) -> bool:
        """Fetch what there is; whether that was all."""
        reply = client.ask("GET", "/qb/bench?batch_size=1000")
        self.delivered.extend(map(number_of, reply.json) if reply.status == 200 else [])
        return drained(redis)


def client_vanishes(bench: Bench, figures: dict[str, Any]) -> bool:
    """client vanishes: takes over both interfaces, gone at any moment; lost 0, ready in 1 s or --request-timeout."""
    takes = bench.size(4_000, 400)
    redis = bench.redis()
    port = bench.daemon(redis.url).port
    client, leavers = Client(port), Leavers(port)
    for at in range(0, takes, 100):
        value = {"jobs": [{"payload": {"n": n}} for n in range(at, at + 100)]}
        assert client.post("/v1/queues/bench/jobs", value).status == 201
    together([partial(leavers.vanish, bench.chance.randrange(2**32), takes // 20) for _ in range(20)])
    answered, counts = leavers.answered, figures
    counts.update(takes=takes, answers=dict(answered))
    ready_after = until(lambda: not leavers.nobodys(redis), 10, "the jobs of those who left, back in the queue")
    counts["ready_after_s"] = round(ready_after, 3)
    counts["silent_back_s"] = round(silent(bench, redis, client), 2)
    counts["attempts_counted"] = sum(b"attempts" in text for text in redis.command("HVALS", LIVE))
    counts["acks_refused"] = leavers.acknowledge(client)
    until(partial(leavers.fetch_rest, client, redis), 40, "the rest")
    counts.update(account(set(range(takes)), set(range(takes)), leavers.delivered))
    times = Counter(leavers.delivered)
    counts["reset_after_answer"] = len(leavers.resets)
    counts["duplicated_without_reset"] = sum(count - 1 for n, count in times.items() if n not in leavers.resets)
    bad = ("lost", "unexpected", "duplicated_without_reset", "attempts_counted", "acks_refused")
    both = answered["came"] and answered["left before"]
    in_time = bench.within(ready_after, 1.0) and bench.within(counts["silent_back_s"], SILENCE + 0.5)
    return bool(both) and in_time and not any(counts[name] for name in bad)


def silent(bench: Bench, redis: Redis, client: Client) -> float:
    """Seconds until the jobs of clients come back that vanished without a word, their packets dropped."""
    port = bench.daemon(redis.url, "--request-timeout", str(SILENCE)).port
    asks = [encoded("GET", "/q/silent?wait=30")]
    asks.append(encoded("POST", "/v1/queues/silent/reservations", b'{"wait":30,"lease":600}'))
    waiting = [socket.create_connection(("127.0.0.1", port)) for _ in range(bench.size(20, 4))]
    for at, each in enumerate(waiting):
        each.sendall(asks[at % 2])
    time.sleep(0.3)
    for each in waiting:
        deafen(each)
    for _ in waiting:
        client.post("/q/silent", {"n": 0})
    until(lambda: len(redis.taken("silent")) == len(waiting), 5, "a job for each of those who vanished")
    back = until(lambda: client.ask("GET", "/status/silent").json["size"] == len(waiting), 60, "their jobs")
    for each in waiting:
        each.close()
    client.ask("DELETE", "/q/silent")
    return back


class Due:
    """Jobs due at moments to come, inserted through three daemons and consumed from them as they come due."""

    def __init__(self, ports: list[int], due: list[float]) -> None:
        self.ports, self.due = ports, due  # epoch seconds
        self.seen: list[tuple[int, float]] = []  # number, when it came
        self.done = threading.Event()

    def insert(self, part: int) -> None:
        client = Client(self.ports[part])
        for at in range(part * 500, len(self.due), 1500):
            several = range(at, min(at + 500, len(self.due)))
            jobs = [{"payload": {"n": n}, "run_at": self.due[n]} for n in several]
            assert client.post("/v1/queues/bench/jobs", {"jobs": jobs}).status == 201

    def consume(self, port: int) -> None:
        client = Client(port)
        while not self.done.is_set():
            reply = client.ask("GET", "/qb/bench?batch_size=100&wait=0.5")
            now = time.time()
            if reply.status == 200:
                self.seen.extend((number_of(text), now) for text in reply.json)

    def watch(self, redis: Redis, seconds: float) -> None:
        try:
            until(lambda: drained(redis), seconds, "the end of all jobs")
        finally:
            self.done.set()

    def run(self, redis: Redis, seconds: float) -> dict[str, Any]:
        together([partial(self.insert, part) for part in range(3)])
        before = round(min(self.due) - time.time(), 1)
        consumers = [partial(self.consume, port) for port in self.ports * 2]
        together([*consumers, partial(self.watch, redis, seconds)])
        lateness = [came - self.due[n] for n, came in self.seen]
        names = set(range(len(self.due)))
        found: dict[str, Any] = account(names, names, [n for n, _ in self.seen])
        found["early"] = sum(late < -0.001 for late in lateness)
        found["inserted_before_due_s"] = before
        found["late_p50_s"], found["late_p99_s"] = percentile(lateness, 0.5), percentile(lateness, 0.99)
        return found


def delayed(bench: Bench, figures: dict[str, Any]) -> bool:
    """delayed: due over 30 s, then at one moment, three daemons; each once, none early, p99 of the first 100 ms."""
    redis = bench.redis("--slowlog-log-slower-than", "50000", "--slowlog-max-len", "10000")
    ports = [bench.daemon(redis.url).port for _ in range(3)]
    for name, total, over in (
        ("spread", bench.size(50_000, 1_500), bench.size(30, 2)),
        ("at_once", bench.size(100_000, 3_000), 0),
    ):
        start = time.time() + bench.size(4, 1) + total / 8000
        due = [start + bench.chance.uniform(0, over) for _ in range(total)]
        figures[name] = Due(ports, due).run(redis, over + 90)
    scripts = [entry for entry in redis.command("SLOWLOG", "GET", "10000") if entry[3][0].upper().startswith(b"EVAL")]
    slow = [entry for entry in scripts if not bench.within(entry[2] / 1000, 50)]
    figures["slow_scripts"], figures["slowest_ms"] = len(slow), max([entry[2] / 1000 for entry in scripts], default=0)
    verbs = {script.digest: script.name for script in SCRIPTS.values()}
    figures["slow_verbs"] = dict(Counter(verbs.get(entry[3][1], "?") for entry in slow))
    bad = ("lost", "unexpected", "duplicated", "early")
    clean = not any(figures[name][each] for name in ("spread", "at_once") for each in bad)
    return clean and bench.within(figures["spread"]["late_p99_s"], 0.1) and not slow


ROWS = {1: base, 2: daemon_killed, 3: redis_killed, 11: client_vanishes, 14: delayed}
