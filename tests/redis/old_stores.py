"""Stores of data model 2, made by the releases that had it, and what a store of either data model says.

The trees of those releases come from git, so the tests need the history of this repository.
"""

from __future__ import annotations

import http.client
import io
import json
import shutil
import signal
import socket
import subprocess
import tarfile
import time
from typing import TYPE_CHECKING, Any

from programs import ROOT

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from programs import Programs, Redis

FIRST, LAST = "78e9326", "7a9586e"  # the first and the last release with data model 2 of which stores are made here
QUEUES = ("mail", "a:b", "front", "x:jobs", "Q.2-3@x", "_")


def tree_of(revision: str, folder: Path) -> Path:
    """The tree of a revision of this repository, unpacked in `folder`."""
    asked = subprocess.run(["git", "-C", ROOT, "archive", revision], capture_output=True, check=False)
    if asked.returncode:
        raise AssertionError(
            f"revision {revision} is needed to make a store of data model 2, and this copy of the repository does not "
            f"have it: run the tests in a clone with its whole history ({asked.stderr.decode().strip()})"
        )
    with tarfile.open(fileobj=io.BytesIO(asked.stdout)) as packed:
        packed.extraction_filter = getattr(tarfile, "data_filter", None)  # there is none before Python 3.11.4
        packed.extractall(folder)  # it is ours
    return folder


class Requests:
    """Requests to a daemon, one after another."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, data, {"Content-Type": "application/json", **names})
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def json(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        return json.loads(self(method, path, body, **headers)[1] or b"null")


class Builder:
    """Makes a store by random requests to a daemon of an earlier release, and remembers what it was answered."""

    def __init__(
        self, chance: random.Random, port: int, queues: tuple[str, ...] = QUEUES, is_first: bool = True
    ) -> None:
        self.chance, self.queues, self.is_first = chance, queues, is_first
        self.ask = Requests(port)
        self.port = port
        self.leases: list[tuple[str, str]] = []  # id, receipt
        self.settled: list[tuple[str, Any, tuple[int, bytes]]] = []  # path, body, answer
        self.inserted: list[tuple[str, bytes, str, tuple[int, bytes]]] = []  # path, body, key, answer
        self.count = 0

    def build(self, steps: int) -> None:
        verbs = [getattr(self, name) for name in dir(type(self)) if name.startswith("do_")]
        weights = [getattr(verb, "weight", 4) for verb in verbs]
        for _ in range(steps):
            self.chance.choices(verbs, weights)[0](self.chance.choice(self.queues))

    def _payload(self) -> dict[str, Any]:
        self.count += 1
        return {"n": self.count, "text": "é\0x"[: self.chance.randrange(4)] * self.chance.choice((1, 1, 1, 40))}

    def _worker(self) -> dict[str, str]:
        return self.chance.choice(({}, {"X_presque_workerid": f"w{self.chance.randrange(3)}"}))

    def do_push(self, queue: str) -> None:
        query = self.chance.choice(("", "", f"?uniq=u{self.chance.randrange(9)}", f"?delayed={self._when()}"))
        self.ask(self.chance.choice(("POST", "POST", "PUT")), f"/q/{queue}{query}", self._payload(), **self._worker())

    do_push.weight = 12

    def do_push_some(self, queue: str) -> None:
        some = [self._payload() for _ in range(self.chance.randrange(1, 9))]
        self.ask("POST", f"/qb/{queue}", {"jobs": some})

    def _when(self) -> float:
        return round(time.time() + self.chance.choice((-100, -1, 0.001, 3600, 7200.5)), 3)

    def do_insert(self, queue: str) -> None:
        jobs = []
        for _ in range(self.chance.randrange(1, 6)):
            job: dict[str, Any] = {"payload": self._payload()}
            if self.chance.random() < 0.3:
                job["unique"] = f"ü{self.chance.randrange(20)}"
            if self.chance.random() < 0.3:
                job["max_attempts"] = self.chance.randrange(1, 4)
            job |= self.chance.choice(({}, {}, {"delay": 5000}, {"run_at": self._when()}))
            jobs.append(job)
        body = json.dumps({"jobs": jobs} if len(jobs) > 1 else jobs[0]).encode()
        path, key = f"/v1/queues/{queue}/jobs", f"key{self.count}" if self.chance.random() < 0.3 else ""
        answer = self.ask("POST", path, body, **({"Idempotency_Key": key} if key else {}))
        if key and answer[0] == 201:
            self.inserted.append((path, body, key, answer))

    do_insert.weight = 8

    def do_take(self, queue: str) -> None:
        self.ask("GET", f"/q/{queue}", **self._worker())

    do_take.weight = 8

    def do_take_some(self, queue: str) -> None:
        self.ask("GET", f"/qb/{queue}?batch_size={self.chance.randrange(1, 5)}", **self._worker())

    do_take_some.weight = 2

    def do_reserve(self, queue: str) -> None:
        body = {"max": self.chance.randrange(1, 5), "lease": self.chance.choice((0.001, 900, 900, 1800.5))}
        if self.chance.random() < 0.5:
            body["worker_id"] = f"w {self.chance.randrange(3)}"
        key = {"Idempotency_Key": f"r{self.count}"} if not self.is_first and self.chance.random() < 0.3 else {}
        reserved = self.ask.json("POST", f"/v1/queues/{queue}/reservations", body, **key)
        self.leases += [(job["id"], job["receipt"]) for job in reserved.get("jobs", ())]

    do_reserve.weight = 10

    def do_settle(self, queue: str) -> None:
        if self.leases:
            job, receipt = self.leases.pop(self.chance.randrange(len(self.leases)))
            verb = self.chance.choice(("ack", "nack", "nack", "nack", "release"))
            body: dict[str, Any] = {"receipt": receipt}
            if verb == "nack":
                body["error"] = self.chance.choice(("", "boom", "ü" * 50))
            if verb != "ack":
                body["delay"] = self.chance.choice((0, 0, 0, 0.001, 4000))
            if verb == "nack" and not self.is_first and self.chance.random() < 0.2:
                body["final"] = True
            path = f"/v1/jobs/{job}/{verb}"
            self.settled.append((path, body, self.ask("POST", path, body)))

    do_settle.weight = 14

    def do_extend(self, queue: str) -> None:
        if self.leases:
            job, receipt = self.chance.choice(self.leases)
            self.ask("POST", f"/v1/jobs/{job}/extend", {"receipt": receipt, "lease": 2000})

    def do_cancel(self, queue: str) -> None:
        listed = self.ask.json("GET", f"/v1/queues/{queue}/jobs?state={self.chance.choice(STATES)}&limit=50")
        if listed.get("jobs"):
            self.ask("DELETE", f"/v1/jobs/{self.chance.choice(listed['jobs'])['id']}")

    do_cancel.weight = 3

    def do_configure(self, queue: str) -> None:
        changes = {
            "lease": self.chance.choice((30, 0.5)),
            "max_attempts": self.chance.choice((1, 2, 2, 3)),
            "backoff": {"first": self.chance.choice((0, 0.001, 100))},
            "max_length": self.chance.choice((100000, None)),
            "dead_keep": {"count": self.chance.choice((10, 3, 10000))},
            "redeliver_after": self.chance.choice((600, 600, None, 0.01)),
        }
        if not self.is_first:
            changes["accepting"] = self.chance.random() < 0.9
        name = self.chance.choice(list(changes))
        self.ask("PATCH", f"/v1/queues/{queue}", {name: changes[name]})

    def do_pause(self, queue: str) -> None:
        self.ask("POST", f"/v1/queues/{queue}/pause")

    do_pause.weight = 1

    def do_resume(self, queue: str) -> None:
        self.ask("POST", f"/v1/queues/{queue}/resume")

    do_resume.weight = 2

    def do_purge(self, queue: str) -> None:
        self.ask("POST", f"/v1/queues/{queue}/purge", {"state": self.chance.choice(STATES)})

    do_purge.weight = 0.5

    def do_delete(self, queue: str) -> None:
        self.ask("DELETE", f"/v1/queues/{queue}")

    do_delete.weight = 0.3

    def do_retry_dead(self, queue: str) -> None:
        dead = [job["id"] for job in self.ask.json("GET", f"/v1/queues/{queue}/jobs?state=dead").get("jobs", ())]
        body = self.chance.choice(({"limit": 100}, {"limit": 1}, {"ids": dead[1:2]}))
        self.ask("POST", f"/v1/queues/{queue}/retry-dead", body)

    def do_work(self, queue: str) -> None:
        self.ask(self.chance.choice(("POST", "POST", "DELETE")), f"/w/{queue}", b"", **self._worker())

    do_work.weight = 2

    def take_without_reading(self, queue: str, count: int) -> list[socket.socket]:
        """Takes jobs whose bytes do not arrive, so that they are still held when the daemon is killed."""
        taking = []
        for _ in range(count):
            self.ask("POST", f"/q/{queue}", {"text": "x" * 900_000})
        for _ in range(count):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            client.connect(("127.0.0.1", self.port))
            client.sendall(b"GET /qb/%b?batch_size=3 HTTP/1.1\r\nHost: x\r\n\r\n" % queue.encode())
            taking.append(client)
        return taking


STATES = ("ready", "delayed", "leased", "dead")


def make(programs: Programs, redis: Redis, chance: random.Random, tree: Path, **options: Any) -> Builder:
    """Make a store in `redis` by the release in `tree`. Its daemon is killed in the end, while it delivers jobs."""
    steps, partitions = options.get("steps", 400), options.get("partitions", "1")
    flags = ("--partitions", partitions, "--tick", chance.choice(("0.05", "60")))
    daemon = programs.daemon(redis.url, *flags, root=tree)
    builder = Builder(chance, daemon.port, is_first=options.get("is_first", True))
    builder.build(steps)
    queue = chance.choice(QUEUES)
    builder.ask("POST", f"/v1/queues/{queue}/resume")
    taking = builder.take_without_reading(queue, 2)
    ends = time.monotonic() + 10
    while time.monotonic() < ends and not any(each[:1] == b"h" for each in _receipts(redis)):
        time.sleep(0.01)
    daemon.kill()
    for client in taking:
        client.close()
    _stand_still(redis)
    return builder


def _stand_still(redis: Redis) -> None:
    """Put off what would come due or run out while two daemons are compared."""
    command = redis.session()
    now = time.time() * 1000
    for name, first in (("leased", 0), ("delayed", now)):
        for key in command("KEYS", f"presque:*:{name}"):
            for member in command("ZRANGEBYSCORE", key, first, now + 600_000):
                command("ZINCRBY", key, 7_200_000, member)


def _receipts(redis: Redis) -> list[bytes]:
    found: list[bytes] = []
    for key in redis.command("KEYS", "presque:*:receipts"):
        found += redis.command("HVALS", key)
    return found


def copy_of(programs: Programs, redis: Redis) -> Redis:
    """Another Redis with the same data, which does not change any more."""
    if redis.process is not None:
        redis.signal(signal.SIGTERM)  # it writes all to its file first
        redis.process.wait()
    redis.kill()
    other = programs.redis(*redis.options)
    other.kill()
    shutil.rmtree(other.folder)
    shutil.copytree(redis.folder, other.folder, ignore=shutil.ignore_patterns("*.sock", "log"))
    redis.start()
    other.start()
    return other
