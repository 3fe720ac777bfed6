"""Row 29: very many queues and workers."""

from __future__ import annotations

import json
import socket
import threading
import time
from functools import partial
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import hiredis

from presque.jobs.policy import lua_parts
from presque.redis import keys
from presque.redis.scripts import load
from presque.redis.store import NO_LIMIT
from tests.load import Client, encoded, percentile, together

SCRIPTS = load(lua_parts(1_000_000))

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.bench import Bench
    from tests.programs import Redis

QUEUES, WORKERS, QUEUES_OF_ONE = 300_000, 100_000, 20_000
SHORT = 20  # in the short form there are so many times fewer
OTHERS = 0.020  # seconds in which 99 of 100 other requests are answered meanwhile
GROWTH = 1.2  # the most that the last quarter of registrations may write for each byte of the first
BATCH = 1000  # commands sent together
ONE = "busy"  # the worker that is on many queues
CROWD = "crowd"  # the queue that all others are on


def push(count: int) -> Iterator[list[bytes]]:
    """The daemon's own script, with a job for each of so many queues."""
    script = SCRIPTS["push"]
    for number in range(count):
        queue = f"queue-{number:06}"
        names = [keys.queue_key(name, queue, 1) for name in script.keys]
        yield [_count(names), *names, NO_LIMIT, queue.encode(), b'{"n":%d}' % number]


def register(count: int) -> Iterator[list[bytes]]:
    """The same, with so many workers on one queue."""
    script = SCRIPTS["register"]
    names = [keys.queue_key(name, CROWD, 1) for name in script.keys]
    for number in range(count):
        yield [_count(names), *names, NO_LIMIT, CROWD.encode(), b"worker-%06d" % number]


def _count(names: list[bytes]) -> bytes:
    return b"%d" % len(names)


def fill(redis: Redis, verb: str, calls: Iterator[list[bytes]]) -> int:
    """Run a script many times on Redis itself, many at once; how often."""
    digest = redis.command("SCRIPT", "LOAD", SCRIPTS[verb].source)
    done = 0
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(redis.socket)
        reader, more = hiredis.Reader(), True
        while more:
            sent = [hiredis.pack_command((b"EVALSHA", digest, *call)) for call in islice(calls, BATCH)]
            connection.sendall(b"".join(sent))
            for _ in sent:
                while (reply := reader.gets()) is False:
                    reader.feed(connection.recv(1 << 20))
                if isinstance(reply, Exception):
                    raise reply
            done, more = done + len(sent), len(sent) == BATCH
    return done


def written(redis: Redis) -> int:
    """Bytes of the append-only file."""
    return int(redis.command("INFO", "persistence").split(b"aof_current_size:")[1].split()[0])


def registrations(bench: Bench, redis: Redis, port: int, figures: dict[str, Any]) -> bool:
    """Register one worker on many queues; whether the file grows linearly."""
    count = QUEUES_OF_ONE // bench.size(1, SHORT)
    sizes = [written(redis)]
    statuses: set[int] = set()

    def part(first: int, last: int) -> None:
        client = Client(port)
        statuses.update(client.ask("POST", f"/w/queue-{n:06}?worker_id={ONE}").status for n in range(first, last))

    for quarter in range(4):
        edges = [count * (quarter * 4 + each) // 16 for each in range(5)]
        together([partial(part, *edge) for edge in pairwise(edges)])
        sizes.append(written(redis))
    grown = [after - before for before, after in pairwise(sizes)]
    figures["registered_on"], figures["file_grows_by_MB"] = count, [round(each / 1e6, 2) for each in grown]
    return statuses == {201} and min(grown) > 0 and grown[-1] <= GROWTH * grown[0]


class Asked:
    """A request for a long answer, and what others see meanwhile."""

    def __init__(self, port: int, path: str) -> None:
        self.port, self.path = port, path
        self.took = 0.0
        self.status = 0
        self.body = b""
        self.others: list[float] = []
        self.wrong = 0
        self.done = threading.Event()

    def run(self, seconds: float) -> Asked:
        """Ask again and again for so long; nothing at all with an empty path."""
        together([partial(self._ask, seconds), *[self._other] * 2])
        return self

    def _ask(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        try:
            if not self.path:
                time.sleep(seconds)
            while self.path and (not self.status or time.monotonic() < ends):
                began = time.monotonic()
                self.status, self.body = swallow(self.port, self.path)
                self.took = max(self.took, time.monotonic() - began)
        finally:
            self.done.set()

    def _other(self) -> None:
        client = Client(self.port)
        while not self.done.is_set():
            for method, body, good in (("POST", b'{"n":1}', 201), ("GET", None, 200)):
                began = time.monotonic()
                reply = client.ask_plainly(method, f"/q/other.{threading.get_ident()}", body)
                self.others.append(time.monotonic() - began)
                self.wrong += reply.status != good
                time.sleep(0.002)

    def figures(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "MB": round(len(self.body) / 1e6, 2),
            "slowest_s": round(self.took, 2),
            "others": len(self.others),
            "others_wrong": self.wrong,
            "others_p99_ms": round(percentile(self.others, 0.99) * 1000, 1),
            "others_max_ms": round(max(self.others) * 1000, 1),
        }


def swallow(port: int, path: str) -> tuple[int, bytes]:
    """Ask for a long answer, reading so that it costs this process little: its status and body."""
    parts = []
    with socket.create_connection(("127.0.0.1", port), 120) as connection:
        connection.sendall(encoded("GET", path, Connection="close"))
        while data := connection.recv(1 << 20):
            parts.append(data)
    head, _, body = b"".join(parts).partition(b"\r\n\r\n")
    if b"chunked" not in head.lower():
        return int(head[9:12]), body
    pieces, at = [], 0
    while size := int(body[at : (line := body.index(b"\r\n", at))].partition(b";")[0], 16):
        pieces.append(body[line + 2 : line + 2 + size])
        at = line + 4 + size
    return int(head[9:12]), b"".join(pieces)


def expected(bench: Bench) -> dict[str, Any]:
    """Path -> whether its answer is whole."""
    smaller = bench.size(1, SHORT)
    queues, workers, of_one = QUEUES // smaller, WORKERS // smaller, QUEUES_OF_ONE // smaller
    return {
        "/status/": lambda body: json.loads(body)["size"] >= queues,
        "/w/": lambda body: len(json.loads(body)["workers"]) == workers + 1,
        f"/w/?queue_name={CROWD}": lambda body: len(json.loads(body)["workers_list"]) == workers,
        f"/w/?worker_id={quote(ONE)}": lambda body: len(json.loads(body)["queues"]) == of_one,
        "/v1/queues": lambda body: len(json.loads(body)["queues"]) > 0,
        "/": lambda body: bool(body),
        "/metrics": lambda body: 0 < body.count(b"\n") < 5000 and b'queue="(other)"' in body,
    }


def many_names(bench: Bench, figures: dict[str, Any]) -> bool:
    """many names: 300,000 queues, 100,000 workers, one on 20,000 queues; others' p99 < 20 ms, linear file."""
    redis = bench.redis("--auto-aof-rewrite-percentage", "0")
    port = bench.daemon(redis.url, "--max-queues", "1000000").port
    smaller, began = bench.size(1, SHORT), time.monotonic()
    figures["queues"] = fill(redis, "push", push(QUEUES // smaller))
    figures["workers"] = fill(redis, "register", register(WORKERS // smaller))
    linear = registrations(bench, redis, port, figures)
    figures["filled_in_s"] = round(time.monotonic() - began, 1)
    seconds = bench.size(5, 1)
    figures["nothing"] = {"others_p99_ms": Asked(port, "").run(seconds).figures()["others_p99_ms"]}
    held = True
    for path, whole in expected(bench).items():
        asked = Asked(port, path).run(seconds)
        found = asked.figures()
        good = asked.status == 200 and whole(asked.body) and not asked.wrong
        good = good and bench.within(found["others_p99_ms"] / 1000, OTHERS)
        figures[path if good else f"{path} (WRONG)"] = found
        held = held and good
    return held and linear


ROWS = {29: many_names}
