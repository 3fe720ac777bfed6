"""Row 27: a Redis far away."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.load import Client, Lost, Refused, percentile, together, until, works
from tests.programs import ROOT

if TYPE_CHECKING:
    from tests.acceptance.bench import Bench
    from tests.programs import Daemon, Redis

ROUND_TRIPS = (0.06, 0.15)  # seconds
STARTED = 3.0  # seconds from the start of the process to its first 201
CLIENTS = 32
RATE = 150.0  # requests/s of all clients, at the shorter round trip
WOKEN = 1.0  # seconds from an insertion to the answer of the consumer that waits


def link(bench: Bench, redis: Redis, round_trip: float) -> str:
    """Put that Redis so far away; the URL."""
    command = [sys.executable, "-m", "tests.acceptance.link", redis.socket, str(round_trip)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    bench.callback(process.wait)
    bench.callback(process.terminate)
    if process.stdout is None:
        raise RuntimeError("it has no output")
    return f"redis://127.0.0.1:{int(process.stdout.readline())}"


class Clients:
    """Those who insert and take, one by one, and what they saw."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.statuses: Counter[str] = Counter()
        self.inserted: set[int] = set()
        self.taken: list[int] = []
        self.times: list[float] = []
        self.lock = threading.Lock()

    def say(self, client: Client, method: str, path: str, body: bytes | None = None) -> Any:
        """One request; its answer, counted."""
        began = time.monotonic()
        reply = client.ask_plainly(method, path, body)
        with self.lock:
            self.times.append(time.monotonic() - began)
            self.statuses[f"{method} {reply.status}"] += 1
        return reply

    def old(self, part: int, ends: float) -> None:
        """Insert and fetch."""
        client, number = Client(self.port), part
        while time.monotonic() < ends:
            number += CLIENTS
            if self.say(client, "POST", "/q/bench", b'{"n":%d}' % number).status == 201:
                self.inserted.add(number)
            if (reply := self.say(client, "GET", "/q/bench")).status == 200:
                self.taken.append(reply.json["n"])

    def modern(self, part: int, ends: float) -> None:
        """Insert, reserve, acknowledge."""
        client, number = Client(self.port), part
        path = "/v1/queues/modern"
        while time.monotonic() < ends:
            number += CLIENTS
            if self.say(client, "POST", f"{path}/jobs", b'{"payload":%d}' % number).status == 201:
                self.inserted.add(number)
            reply = self.say(client, "POST", f"{path}/reservations", b"{}")
            for job in reply.json.get("jobs", []):
                receipt = b'{"receipt":"%b"}' % job["receipt"].encode()
                if self.say(client, "POST", f"/v1/jobs/{job['id']}/ack", receipt).status == 204:
                    self.taken.append(job["payload"])

    def drain(self) -> None:
        client = Client(self.port)
        while (reply := client.ask("GET", "/qb/bench?batch_size=1000")).status == 200:
            self.taken += [int(text[5:-1]) for text in reply.json]
        while jobs := client.post("/v1/queues/modern/reservations", {"max": 100}).json["jobs"]:
            self.taken += [job["payload"] for job in jobs]


def rate(port: int, verbs: str, seconds: float) -> dict[str, Any]:
    """Let all clients ask for some seconds; requests a second, and the accounting."""
    clients = Clients(port)
    began = time.monotonic()
    together([partial(getattr(clients, verbs), part, began + seconds) for part in range(CLIENTS)])
    took = time.monotonic() - began
    clients.drain()
    return {
        "requests_s": round(len(clients.times) / took, 1),
        "p50_ms": percentile(clients.times, 0.5) * 1000,
        "p99_ms": percentile(clients.times, 0.99) * 1000,
        "statuses": dict(clients.statuses),
        "lost": len(clients.inserted - set(clients.taken)),
        "twice": len(clients.taken) - len(set(clients.taken)),
    }


def woken(port: int) -> float:
    """Seconds from an insertion to the answer of the consumer that waits for it."""
    came: list[float] = []

    def wait() -> None:
        if Client(port).ask("GET", "/q/woken?wait=10").status == 200:
            came.append(time.monotonic())

    def insert() -> float:
        time.sleep(0.6)  # by then it waits
        began = time.monotonic()
        Client(port).post("/q/woken", {})
        return began

    _, began = together([wait, insert])
    return round(came[0] - began, 3) if came else 10.0


def restarted(daemon: Daemon) -> float:
    """Seconds from the start of the process to its first 201, on a store that is there already."""
    daemon.kill()
    began = time.monotonic()
    daemon.start()
    works(daemon.port)
    return round(time.monotonic() - began, 2)


def healed(redis: Redis, port: int) -> float:
    """Seconds from the loss of all connections to the next 201."""
    redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    redis.command("CLIENT", "KILL", "TYPE", "pubsub")
    began = time.monotonic()
    client = Client(port)

    def refused() -> bool:
        try:
            return client.post("/q/probe").status != 201
        except (Refused, Lost):
            return True

    until(lambda: refused() or time.monotonic() > began + 1)
    works(port)
    return round(time.monotonic() - began, 2)


def measured(bench: Bench, round_trip: float) -> dict[str, Any]:
    """Everything at one distance."""
    redis = bench.redis()
    url = link(bench, redis, round_trip)
    began = time.monotonic()
    daemon = bench.daemon(url)
    works(daemon.port)
    found: dict[str, Any] = {"first_start_s": round(time.monotonic() - began, 2)}
    found["start_s"] = restarted(daemon)
    for verbs in ("old", "modern"):
        found[verbs] = rate(daemon.port, verbs, bench.size(15, 2))
    found["woken_s"], found["healed_s"] = woken(daemon.port), healed(redis, daemon.port)
    return found


def far_redis(bench: Bench, figures: dict[str, Any]) -> bool:
    """far Redis: 60 and 150 ms round trip; starts in at most 3 s, serves, at 60 ms 150 requests/s of 32 clients."""
    held = True
    for round_trip in ROUND_TRIPS:
        name = f"{round_trip * 1000:.0f} ms"
        try:
            figures[name] = measured(bench, round_trip)
        except TimeoutError as error:
            figures[name], held = str(error), False
        else:
            held = serves(bench, figures[name], round_trip) and held
    return held


def serves(bench: Bench, found: dict[str, Any], round_trip: float) -> bool:
    """Whether it started in time, was fast enough and made no mistake."""
    good = all(bench.within(found[name], STARTED) for name in ("first_start_s", "start_s", "healed_s"))
    good = good and bench.within(found["woken_s"], WOKEN)
    for verbs in ("old", "modern"):
        figures = found[verbs]
        known = {"POST 201", "POST 200", "POST 204", "GET 200", "GET 404"}
        good = good and set(figures["statuses"]) <= known and not (figures["lost"] or figures["twice"])
        if round_trip == ROUND_TRIPS[0]:
            good = good and bench.within(RATE / figures["requests_s"], 1)
    return good


ROWS = {27: far_redis}
