"""Rows 12 and 13: leases that have run out are refused, and no two live at once."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.load import Client, together, until

if TYPE_CHECKING:
    from benchmarks.load import Bench


def fill(client: Client, total: int) -> None:
    """Insert that many jobs."""
    for at in range(0, total, 500):
        jobs = [{"payload": {"n": n}} for n in range(at, min(at + 500, total))]
        assert client.post("/v1/queues/bench/jobs", {"jobs": jobs}).status == 201


def stale_receipts(bench: Bench, figures: dict[str, Any]) -> bool:
    """stale receipts: workers sleep past the lease; each of their words is refused, and the job dies in the end."""
    total, attempts = bench.size(5_000, 400), 3
    redis = bench.redis()
    port = bench.daemon(redis.url).port
    client = Client(port)
    settings = {"max_attempts": attempts, "lease": 0.3}
    assert client.ask("PATCH", "/v1/queues/bench", b'{"max_attempts":3,"lease":0.3}').status == 200, settings
    fill(client, total)
    words, accepted, late_of_accepted = Counter[int](), Counter[str](), list[float]()
    leases = Counter[str]()
    lock = threading.Lock()
    ends = time.monotonic() + 240

    def work(seed: int) -> None:
        chance = random.Random(seed)
        client = Client(port)
        while time.monotonic() < ends:
            jobs = client.post("/v1/queues/bench/reservations", {"max": chance.randint(1, 20)}).json["jobs"]
            if not jobs:
                if redis.command("ZCARD", "presque:{0}:bench:dead") == redis.command("HLEN", "presque:{0}:bench:jobs"):
                    return
                time.sleep(0.02)
                continue
            time.sleep(max(0.0, jobs[0]["lease_expires_at"] - time.time()) + chance.uniform(0.002, 0.3))
            for job in jobs:
                outcome = chance.choice(["ack", "nack", "release", "extend"])
                late = time.time() - job["lease_expires_at"]
                reply = client.post(f"/v1/jobs/{job['id']}/{outcome}", {"receipt": job["receipt"]})
                with lock:
                    words[reply.status] += 1
                    leases[job["id"]] += 1
                    if reply.status != 409:
                        accepted[outcome] += 1
                        late_of_accepted.append(late)

    together([partial(work, bench.chance.randrange(2**32)) for _ in range(16)])
    until(lambda: redis.command("ZCARD", "presque:{0}:bench:leased") == 0, 5, "the last leases")
    figures["said"], figures["answers"] = sum(words.values()), {str(word): count for word, count in words.items()}
    figures["accepted_late"], figures["dead"] = dict(accepted), redis.command("ZCARD", "presque:{0}:bench:dead")
    figures["latest_accepted_s"] = round(max(late_of_accepted, default=0), 3)
    figures["leases_per_job"] = {str(count): jobs for count, jobs in Counter(leases.values()).items()}
    return not accepted and figures["dead"] == total and set(leases.values()) == {attempts}


def exclusion(bench: Bench, figures: dict[str, Any]) -> bool:
    """exclusion: 32 workers; no two live leases on one job."""
    wanted, pool = bench.size(50_000, 3_000), bench.size(2_000, 200)
    redis = bench.redis()
    ports = [bench.daemon(redis.url).port for _ in range(2)]
    client = Client(ports[0])
    assert client.ask("PATCH", "/v1/queues/bench", b'{"max_attempts":1000}').status == 200
    fill(client, pool)
    spans: list[tuple[str, float, float]] = []  # of each lease: job, begins, ends
    outcomes = Counter[str]()
    deadline = time.monotonic() + 300

    def work(seed: int, port: int) -> None:
        chance = random.Random(seed)
        client = Client(port)
        while len(spans) < wanted and time.monotonic() < deadline:
            lease = chance.choice([0.05, 0.2, 5.0])
            asked = {"max": chance.randint(1, 5), "lease": lease}
            jobs = client.post("/v1/queues/bench/reservations", asked).json["jobs"]
            if not jobs:
                time.sleep(0.005)
                continue
            ends_at, said = jobs[0]["lease_expires_at"], []
            begins = ends_at - lease
            if chance.random() < 0.2:
                time.sleep(min(lease, 0.2) * chance.uniform(0.3, 1.5))
            now = time.time()
            for job in jobs:
                what = chance.choice(["release", "release", "nack", "nothing"] if lease < 1 else ["release", "nack"])
                outcomes[what] += 1
                if what != "nothing":
                    each = {"id": job["id"], "receipt": job["receipt"], "outcome": what}
                    said.append({**each, "delay": 0})
                spans.append((job["id"], begins, ends_at if what == "nothing" else min(now, ends_at)))
            if said:
                reply = client.post("/v1/settlements", {"settlements": said})
                assert reply.status == 200, reply
                for result in reply.json["results"]:
                    outcomes[result["result"]] += 1

    together([partial(work, bench.chance.randrange(2**32), ports[n % 2]) for n in range(32)])
    last: dict[str, float] = {}
    overlaps = 0
    for job, begins, ends_at in sorted(spans, key=lambda span: span[1:]):
        overlaps += begins + 0.0015 < last.get(job, 0.0)  # Redis tells milliseconds
        last[job] = max(last.get(job, 0.0), ends_at)
    figures.update(leases=len(spans), jobs=len(last), overlaps=overlaps, outcomes=dict(outcomes))
    return overlaps == 0 and len(spans) >= wanted


ROWS = {12: stale_receipts, 13: exclusion}
