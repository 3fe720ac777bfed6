"""presque, by Python's own HTTP client over one connection that is kept: one job a request, or batches of 100.

with_presque.py q|v1|qb|v1b works jobs off until it is ended; `put` puts them in the same way.
"""

from __future__ import annotations

import json
import os
import sys
from http.client import HTTPConnection
from typing import Any

from noting import note

SIZE = 100  # jobs of a batch
CONNECTION = HTTPConnection("127.0.0.1", int(os.environ["PRESQUE_PORT"]), timeout=60)
JSON = {"Content-Type": "application/json"}
QUEUE = "/v1/queues/bench"


def ask(method: str, path: str, value: Any = None, good: tuple[int, ...] = (200, 201, 204)) -> Any:
    CONNECTION.request(method, path, None if value is None else json.dumps(value), JSON)
    answer = CONNECTION.getresponse()
    body = answer.read()
    if answer.status not in good:
        raise RuntimeError(f"{method} {path}: {answer.status} {body!r}")
    return json.loads(body) if body and answer.status == 200 else None


def take() -> None:
    """Take a job for good, and do it."""
    if job := ask("GET", "/q/bench?wait=5", good=(200, 404)):
        note(job["for"])


def take_many() -> None:
    for job in ask("GET", f"/qb/bench?batch_size={SIZE}&wait=5", good=(200, 404)) or []:
        note(json.loads(job)["for"])


def lease() -> None:
    """Lease a job, do it, and say so."""
    for job in ask("POST", f"{QUEUE}/reservations", {"wait": 5})["jobs"]:
        note(job["payload"]["for"])
        ask("POST", f"/v1/jobs/{job['id']}/ack", {"receipt": job["receipt"]})


def lease_many() -> None:
    settlements = []
    for job in ask("POST", f"{QUEUE}/reservations", {"wait": 5, "max": SIZE})["jobs"]:
        note(job["payload"]["for"])
        settlements.append({"id": job["id"], "receipt": job["receipt"], "outcome": "ack"})
    if settlements:
        ask("POST", "/v1/settlements", {"settlements": settlements})


def push(batch: list[str]) -> None:
    ask("POST", "/q/bench", {"for": batch[0]})


def push_many(batch: list[str]) -> None:
    ask("POST", "/qb/bench", {"jobs": [{"for": argument} for argument in batch]})


def insert(batch: list[str]) -> None:
    ask("POST", f"{QUEUE}/jobs", {"payload": {"for": batch[0]}})


def insert_many(batch: list[str]) -> None:
    ask("POST", f"{QUEUE}/jobs", {"jobs": [{"payload": {"for": argument}} for argument in batch]})


WAYS = {
    "q": (push, take, 1),
    "v1": (insert, lease, 1),
    "qb": (push_many, take_many, SIZE),
    "v1b": (insert_many, lease_many, SIZE),
}
put, work, AT_ONCE = WAYS[sys.argv[-1]]

if __name__ == "__main__":
    while True:
        work()
