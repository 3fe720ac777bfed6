"""Rows 12 and 13: leases that have run out are refused, and no two live at once."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.load import Client, together, until

if TYPE_CHECKING:
    from tests.acceptance.bench import Bench
    from tests.programs import Redis

JOBS, DEAD = "presque:{0}:bench:jobs", "presque:{0}:bench:dead"


def fill(client: Client, total: int) -> None:
    """Insert that many jobs."""
    for at in range(0, total, 500):
        jobs = [{"payload": {"n": n}} for n in range(at, min(at + 500, total))]
        assert client.post("/v1/queues/bench/jobs", {"jobs": jobs}).status == 201


class Sleepers:
    """Workers that sleep past the end of each lease, and then say something."""

    def __init__(self, port: int, redis: Redis, patience: float) -> None:
        self.port, self.redis = port, redis
        self.deadline = time.monotonic() + patience
        self.words, self.accepted, self.leases = Counter[int](), Counter[str](), Counter[str]()
        self.latest_accepted = 0.0  # seconds after the end of the lease
        self.lock = threading.Lock()

    def all_dead(self) -> bool:
        return self.redis.command("ZCARD", DEAD) == self.redis.command("HLEN", JOBS)

    def work(self, seed: int) -> None:
        chance = random.Random(seed)
        client = Client(self.port)
        while time.monotonic() < self.deadline and (jobs := self.reserve(client, chance.randint(1, 20))):
            time.sleep(max(0.0, jobs[0]["lease_expires_at"] - time.time()) + chance.uniform(0.002, 0.3))
            for job in jobs:
                self.say(client, job, chance.choice(["ack", "nack", "release", "extend"]))

    def reserve(self, client: Client, most: int) -> list[dict[str, Any]]:
        """Jobs; none once all are dead."""
        while time.monotonic() < self.deadline:
            jobs: list[dict[str, Any]] = client.post("/v1/queues/bench/reservations", {"max": most}).json["jobs"]
            if jobs or self.all_dead():
                return jobs
            time.sleep(0.02)
        return []

    def say(self, client: Client, job: dict[str, Any], outcome: str) -> None:
        late = time.time() - job["lease_expires_at"]
        reply = client.post(f"/v1/jobs/{job['id']}/{outcome}", {"receipt": job["receipt"]})
        with self.lock:
            self.words[reply.status] += 1
            self.leases[job["id"]] += 1
            if reply.status != 409:
                self.accepted[outcome] += 1
                self.latest_accepted = max(self.latest_accepted, late)


def stale_receipts(bench: Bench, figures: dict[str, Any]) -> bool:
    """stale receipts: workers sleep past the lease; each of their words is refused, and the job dies in the end."""
    total, attempts = bench.size(5_000, 300), 3
    redis = bench.redis()
    port = bench.daemon(redis.url).port
    client = Client(port)
    assert (
        client.ask(
            "PATCH", "/v1/queues/bench", b'{"max_attempts":%d,"lease":0.3,"backoff":{"first":0}}' % attempts
        ).status
        == 200
    )
    fill(client, total)
    sleepers = Sleepers(port, redis, bench.size(240, 60))
    together([partial(sleepers.work, bench.chance.randrange(2**32)) for _ in range(16)])
    until(lambda: not redis.taken("bench"), 5, "the last leases")
    figures["said"] = sum(sleepers.words.values())
    figures["answers"] = {str(word): count for word, count in sleepers.words.items()}
    figures["accepted_late"], figures["dead"] = dict(sleepers.accepted), redis.command("ZCARD", DEAD)
    figures["latest_accepted_s"] = round(sleepers.latest_accepted, 3)
    figures["leases_per_job"] = {str(count): jobs for count, jobs in Counter(sleepers.leases.values()).items()}
    all_refused = not sleepers.accepted and figures["said"] == total * attempts
    return all_refused and figures["dead"] == total and set(sleepers.leases.values()) == {attempts}


class Span(NamedTuple):
    """A lease as its holder knows it, in epoch seconds; it ends at the latest when its holder says so."""

    begins: float
    ends: float
    job: str


class Holders:
    """Workers that lease jobs for short and long times, and settle them, or are too late, or say nothing."""

    def __init__(self, ports: list[int], wanted: int, patience: float) -> None:
        self.ports, self.wanted = ports, wanted
        self.deadline = time.monotonic() + patience
        self.spans: list[Span] = []
        self.outcomes = Counter[str]()
        self.robbed = 0  # leases that were refused while they lasted: somebody else had the job, or had settled it

    def work(self, seed: int, port: int) -> None:
        chance = random.Random(seed)
        client = Client(port)
        while len(self.spans) < self.wanted and time.monotonic() < self.deadline:
            lease = chance.choice([0.05, 0.2, 5.0])
            asked = {"max": chance.randint(1, 5), "lease": lease}
            jobs = client.post("/v1/queues/bench/reservations", asked).json["jobs"]
            if not jobs:
                time.sleep(0.005)
                continue
            if chance.random() < 0.2:
                time.sleep(min(lease, 0.2) * chance.uniform(0.3, 1.5))
            self.settle(client, jobs, lease, chance)

    def settle(self, client: Client, jobs: list[dict[str, Any]], lease: float, chance: random.Random) -> None:
        ends_at, said = jobs[0]["lease_expires_at"], []
        begins = round(ends_at - lease, 3)  # Redis tells milliseconds
        now = time.time()
        for job in jobs:
            what = chance.choice(["release", "release", "nack", "nothing"] if lease < 1 else ["release", "nack"])
            self.outcomes[what] += 1
            if what != "nothing":
                said.append({"id": job["id"], "receipt": job["receipt"], "outcome": what, "delay": 0})
            self.spans.append(Span(begins, ends_at if what == "nothing" else min(now, ends_at), job["id"]))
        if not said:
            return
        reply = client.post("/v1/settlements", {"settlements": said})
        assert reply.status == 200, reply
        in_time = time.time() < ends_at
        for result in reply.json["results"]:
            self.outcomes[result["result"]] += 1
            self.robbed += in_time and result["result"] not in ("released", "delayed")


def overlaps_of(spans: list[Span]) -> int:
    """How many leases began while another of the same job lived. Of two that began in one millisecond, the one that
    ended first was the first.
    """
    last: dict[str, float] = {}
    overlaps = 0
    for begins, ends, job in sorted(spans):
        overlaps += begins + 0.0015 < last.get(job, 0.0)  # Redis tells milliseconds
        last[job] = max(last.get(job, 0.0), ends)
    return overlaps


def exclusion(bench: Bench, figures: dict[str, Any]) -> bool:
    """exclusion: 32 workers; no two live leases on one job, and none that lives is refused."""
    redis = bench.redis()
    ports = [bench.daemon(redis.url).port for _ in range(2)]
    client = Client(ports[0])
    assert client.ask("PATCH", "/v1/queues/bench", b'{"max_attempts":1000,"backoff":{"first":0}}').status == 200
    fill(client, bench.size(1_000, 100))
    holders = Holders(ports, bench.size(50_000, 3_000), bench.size(300, 60))
    together([partial(holders.work, bench.chance.randrange(2**32), ports[n % 2]) for n in range(32)])
    figures["leases"], figures["jobs"] = len(holders.spans), len({span.job for span in holders.spans})
    figures["overlaps"], figures["robbed"] = overlaps_of(holders.spans), holders.robbed
    figures["outcomes"] = dict(holders.outcomes)
    return not figures["overlaps"] and not holders.robbed and len(holders.spans) >= holders.wanted


ROWS = {12: stale_receipts, 13: exclusion}
