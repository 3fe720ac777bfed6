"""Clients that keep inserting, reserving and acknowledging while presque restarts, and count what went wrong.

A machine that stands still for seconds makes presque drop its connection to Redis, and say so in the journal. The 503s
that follow are then no fault of the restart.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

PORT = 5000  # of presque.socket
PATIENCE = 60.0  # seconds: a client waits while presque restarts
KINDS = 2  # of clients: those that keep their connection while the server does, and those with one a request
EACH = 2  # producers of each kind, and as many consumers
LEASE = 10.0  # seconds
EMPTYING = 60.0  # seconds that the consumers have, at the end, to acknowledge what is left
STALLED = "Redis has not answered"  # what presque says then


class Answer(NamedTuple):
    """What came back."""

    status: int
    value: Any


class Client:
    """One connection at a time, kept while the server keeps it, if it `keeps`."""

    def __init__(self, keeps: bool = True) -> None:
        self._headers = {"Content-Type": "application/json", **({} if keeps else {"Connection": "close"})}
        self._connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=PATIENCE)

    def ask(self, method: str, path: str, value: object = None) -> Answer:
        """One request, which is not repeated."""
        body = None if value is None else json.dumps(value)
        try:
            self._connection.request(method, path, body, self._headers)
            answer = self._connection.getresponse()
            content = answer.read()
        except BaseException:
            self._connection.close()
            raise
        return Answer(answer.status, json.loads(content) if content else None)

    def close(self) -> None:
        self._connection.close()


def insert(payload: object, queue: str = "kept") -> str:
    """Insert a job on a connection of its own; its id."""
    client = Client(keeps=False)
    status, value = client.ask("POST", f"/v1/queues/{queue}/jobs", {"payload": payload})
    assert status == 201, value
    return value["id"]


def payloads(queue: str = "kept") -> list[Any]:
    """All that is ready in a queue, each acknowledged."""
    client, found = Client(), []
    while jobs := client.ask("POST", f"/v1/queues/{queue}/reservations", {"max": 100}).value["jobs"]:
        for job in jobs:
            assert client.ask("POST", f"/v1/jobs/{job['id']}/ack", {"receipt": job["receipt"]}).status == 204
            found.append(job["payload"])
    client.close()
    return found


class Traffic:
    """Producers and consumers, each a thread. Everything that is not the wanted answer is counted in `wrong`."""

    def __init__(self, queue: str) -> None:
        self._queue = f"/v1/queues/{queue}"
        self.inserted: set[str] = set()  # ids that were answered with 201
        self.acknowledged: Counter[str] = Counter()  # ids, by how often an ack was answered with 204
        self.wrong: Counter[str] = Counter()
        self.away: Counter[str] = Counter()  # 503s because of the store
        self._stop = threading.Event()
        self._producers_stop = threading.Event()
        self._lock = threading.Lock()

    def _note(self, verb: str, status: int, value: Any) -> None:
        kind = value["type"] if value else ""
        with self._lock:
            (self.away if kind.startswith("/problems/store-") else self.wrong)[f"{verb}: {status} {kind}"] += 1

    def _note_error(self, verb: str, error: OSError) -> None:
        with self._lock:
            self.wrong[f"{verb}: {error!r}"] += 1

    def _produce(self, keeps: bool) -> None:
        client = Client(keeps)
        while not self._producers_stop.wait(0.005):
            try:
                status, value = client.ask("POST", f"{self._queue}/jobs", {"payload": {"key": "value"}})
            except OSError as error:  # also http.client's RemoteDisconnected
                self._note_error("insertion", error)
                continue
            if status == 201:
                with self._lock:
                    self.inserted.add(value["id"])
            else:
                self._note("insertion", status, value)

    def _consume(self, keeps: bool) -> None:
        client = Client(keeps)
        while not self._is_done():
            try:
                body = {"max": 10, "wait": 0.2, "lease": LEASE}
                status, value = client.ask("POST", f"{self._queue}/reservations", body)
                if status != 200:
                    self._note("reservation", status, value)
                    continue
                for job in value["jobs"]:
                    self._acknowledge(client, job)
            except OSError as error:
                self._note_error("reservation or ack", error)

    def _is_done(self) -> bool:
        if not self._stop.is_set():
            return False
        with self._lock:
            return self.inserted <= set(self.acknowledged) or time.monotonic() > self._ends

    def _acknowledge(self, client: Client, job: dict[str, Any]) -> None:
        status, value = client.ask("POST", f"/v1/jobs/{job['id']}/ack", {"receipt": job["receipt"]})
        if status == 204:
            with self._lock:
                self.acknowledged[job["id"]] += 1
        else:
            self._note("ack", status, value)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within this the clients work; at the end the consumers empty the queue."""
        works = (self._produce, self._consume)
        threads = [
            threading.Thread(target=work, args=(kind == 0,), daemon=True)
            for work in works
            for kind in range(KINDS)
            for _ in range(EACH)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._producers_stop.set()
            for thread in threads[: len(threads) // 2]:
                thread.join()
            self._ends = time.monotonic() + EMPTYING
            self._stop.set()
            for thread in threads[len(threads) // 2 :]:
                thread.join()

    def check(self, journal: str) -> None:
        """Nothing was refused or reset, and nothing is lost or was acknowledged twice."""
        assert not self.wrong, self.wrong
        assert not self.away or STALLED in journal, f"{self.away}\n{journal}"
        assert len(self.inserted) > 100
        assert not self.inserted - set(self.acknowledged), "lost"
        assert self.away or set(self.acknowledged) == self.inserted
        assert set(self.acknowledged.values()) == {1}
