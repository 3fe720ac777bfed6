"""Row 33: what `/metrics` says of jobs is exact."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.load import Client, Lost, Refused, together, until
from tests.scraped import Scraped

if TYPE_CHECKING:
    from tests.acceptance.bench import Bench
    from tests.programs import Daemon

QUEUES = [f"queue-{n}" for n in range(6)]
OUTCOMES = ("ack", "ack", "ack", "ack", "ack", "nack", "release")


class Traffic:
    """Everything that can become of jobs, on several queues and both interfaces, while daemons are killed."""

    def __init__(self, bench: Bench, daemons: list[Daemon], total: int) -> None:
        self.bench, self.daemons, self.total = bench, daemons, total
        self.inserted = dict.fromkeys(QUEUES, 0)  # acknowledged to clients
        self.lock = threading.Lock()
        self.done = threading.Event()
        self.wrong: list[str] = []

    def count(self) -> int:
        return sum(self.inserted.values())

    def work(self, seed: int) -> None:
        chance = random.Random(seed)
        clients = [Client(daemon.port) for daemon in self.daemons]
        verbs = (self.push, self.insert, self.insert, self.fetch, self.reserve, self.reserve)
        while self.count() < self.total and not self.done.is_set():
            try:
                chance.choice(verbs)(chance.choice(clients), chance, chance.choice(QUEUES))
            except (Refused, Lost):  # by a kill
                time.sleep(0.01)

    def note(self, queue: str, jobs: int) -> None:
        with self.lock:
            self.inserted[queue] += jobs

    def push(self, client: Client, chance: random.Random, queue: str) -> None:
        if chance.random() < 0.5:
            self.note(queue, client.post(f"/q/{queue}", {"n": 1}).status == 201)
        else:
            self.note(queue, 20 * (client.post(f"/qb/{queue}", {"jobs": [{"n": 1}] * 20}).status == 201))

    def insert(self, client: Client, chance: random.Random, queue: str) -> None:
        options: dict[str, Any] = chance.choice(
            [{}, {}, {}, {"delay": 0.2}, {"expires_in": 0.3}, {"max_attempts": 1}, {"priority": 9}]
        )
        jobs = [{"payload": n, **options} for n in range(chance.choice([1, 10, 40]))]
        if chance.random() < 0.1:
            jobs = [{"payload": 1, "unique": f"u{chance.randrange(5)}"}]
        status = client.post(f"/v1/queues/{queue}/jobs", {"jobs": jobs}).status
        self.note(queue, len(jobs) if status == 201 else 0)

    def fetch(self, client: Client, chance: random.Random, queue: str) -> None:
        client.ask("GET", f"/qb/{queue}?batch_size={chance.choice([1, 10, 50])}")

    def reserve(self, client: Client, chance: random.Random, queue: str) -> None:
        asked = {"max": chance.choice([1, 10, 50]), "lease": chance.choice([0.05, 5, 5])}
        jobs = client.post(f"/v1/queues/{queue}/reservations", asked).json["jobs"]
        if jobs and chance.random() < 0.1:
            client.ask("DELETE", f"/v1/jobs/{jobs.pop()['id']}")
        said = [{"id": each["id"], "receipt": each["receipt"], "outcome": chance.choice(OUTCOMES)} for each in jobs]
        if said and chance.random() < 0.9:  # else the leases run out
            client.post("/v1/settlements", {"settlements": said})

    def kill(self, kills: int) -> None:
        """Kill a daemon again and again, and look in between: each moment is exact."""
        try:
            for turn in range(kills):
                until(lambda turn=turn: self.count() >= self.total * (turn + 1) // (kills + 1), 120, "further jobs")
                victim, other = self.daemons[turn % 2], self.daemons[1 - turn % 2]
                victim.kill()
                self.check(other.port)
                victim.start()
        except Exception:
            self.done.set()
            raise

    def check(self, port: int) -> Scraped:
        """Scrape, and see that nothing is missing in any queue."""
        found = Scraped(Client(port).ask("GET", "/metrics").body.decode())
        for queue in found.label("presque_queue_inserted_total", "queue"):
            if missing := found.missing(queue):
                self.wrong.append(f"{queue}: {missing}")
        return found


def conservation(bench: Bench, figures: dict[str, Any]) -> bool:
    """conservation: all ends of jobs through kills; inserted = ended + what is there, per queue, from /metrics."""
    total, kills = bench.size(200_000, 6_000), bench.size(20, 3)
    redis = bench.redis()
    daemons = [bench.daemon(redis.url) for _ in range(2)]
    traffic = Traffic(bench, daemons, total)
    seeds = [bench.chance.randrange(2**32) for _ in range(8)]
    together([*(partial(traffic.work, seed) for seed in seeds), partial(traffic.kill, kills)])
    with contextlib.suppress(Refused, Lost):
        Client(daemons[0].port).ask("POST", f"/v1/queues/{QUEUES[0]}/purge", b'{"state":"dead"}')
    found = [traffic.check(daemon.port) for daemon in daemons]
    names = ("inserted", "acked", "delivered", "expired", "deleted", "died", "released", "lease_expired")
    for name in names:
        figures[name] = int(sum(found[0].values(f"presque_queue_{name}_total")))
    figures["acknowledged"], figures["wrong"] = traffic.count(), traffic.wrong[:5]
    told = {queue: found[1].value("presque_queue_inserted_total", queue=queue) for queue in QUEUES}
    figures["fewer_than_acknowledged"] = [queue for queue in QUEUES if told[queue] < traffic.inserted[queue]]
    every = all(figures[name] for name in names)
    return every and not traffic.wrong and not figures["fewer_than_acknowledged"]


ROWS = {33: conservation}
