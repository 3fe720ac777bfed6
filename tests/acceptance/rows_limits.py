"""Rows 17 and 18: bodies that are too long, or not as long as they say; clients that are too slow."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import select
import socket
import threading
import time
from collections import Counter, deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.crowd import crowd, same
from tests.load import PATIENCE, Client, encoded, percentile, together
from tests.proc import allow_files, resident

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from tests.acceptance.bench import Bench
    from tests.programs import Daemon, Redis

LIMIT = 1_048_576  # bytes: --max-body as it is by default
GROWTH = 10.0  # megabytes by which the daemon may grow
AT_ONCE = 4  # clients that send such bodies
ROUTES = ("POST /q/long", "POST /qb/long", "PUT /q/long", "POST /v1/queues/long/jobs", "GET /q/kept", "DELETE /q/kept")
CHUNKED = "Transfer-Encoding: chunked\r\n"
POLL = 0.05  # seconds that are waited for a connection that is cut, at most
SLACK_OF_CUTS = 3.0  # seconds after its deadline until which a client has to be cut


def pieces(kind: str, chance: Random) -> tuple[str, Iterator[bytes]]:
    """The headers that say how long a body is, and what is sent as the body. All would be jobs if they were taken."""
    size = LIMIT + chance.choice([1, 2, 4096, LIMIT, 7 * LIMIT])
    if kind == "declared":
        return f"Content-Length: {size}\r\n", job(size)
    if kind == "declared, never sent":
        return f"Content-Length: {chance.choice([size, 10**9, 10**18, 10**30])}\r\n", job(20, whole=False)
    if kind == "chunked":
        return CHUNKED, chunks(size, chance.choice([1000, 65536, size]))
    if kind == "shorter than declared":
        return f"Content-Length: {LIMIT}\r\n", job(LIMIT // 2, whole=False)
    if kind == "chunk longer than it says":
        return CHUNKED, iter([b"5\r\n", *job(size)])
    if kind == "chunk shorter than it says":
        return CHUNKED, iter([b"%x\r\n" % chance.choice([size, LIMIT]), *job(LIMIT // 2, whole=False)])
    if kind == "chunk of absurd length":
        return CHUNKED, iter([b"f" * chance.choice([16, 17, 400, 5000]) + b"\r\n", *job(LIMIT // 2, whole=False)])
    if kind == "two lengths":
        return f"Content-Length: 2\r\nContent-Length: {size}\r\n", job(size)
    if kind == "length and chunked":
        return f"Content-Length: 2\r\n{CHUNKED}", chunks(size, 65536)
    return CHUNKED, iter([b"2;" + b"x" * 65536 * 4 + b"\r\n{}\r\n0\r\n\r\n"])  # an extension without an end


KINDS = ("declared", "declared, never sent", "chunked", "shorter than declared", "chunk longer than it says")
KINDS += ("chunk shorter than it says", "chunk of absurd length", "two lengths", "length and chunked", "extension")


def job(size: int, whole: bool = True) -> Iterator[bytes]:
    """A JSON object of so many bytes, in parts; or only so much of its beginning."""
    yield b'{"t":"'
    left = size - (8 if whole else 6)
    while left > 0:
        yield b"x" * min(left, 65536)
        left -= 65536
    if whole:
        yield b'"}'


def chunks(size: int, each: int) -> Iterator[bytes]:
    body = b"".join(job(size))
    for at in range(0, size, each):
        part = body[at : at + each]
        yield b"%x\r\n%b\r\n" % (len(part), part)
    yield b"0\r\n\r\n"


class Bodies:
    """Sends bodies, and notes how each was answered."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: Counter[str] = Counter()  # kind, and what came
        self.wrong: list[str] = []
        self.lock = threading.Lock()

    def send_all(self, chance: Random, total: int) -> None:
        for number in range(total):
            kind, route = KINDS[number % len(KINDS)], chance.choice(ROUTES)
            came = self.send(route, *pieces(kind, chance))
            with self.lock:
                self.answers[f"{kind}: {came}"] += 1
                is_long = kind in ("declared", "declared, never sent", "chunked")
                if came not in ("413",) if is_long else came not in ("413", "400", "408", "closed"):
                    self.wrong.append(f"{kind}, {route}: {came}")

    def send(self, route: str, headers: str, body: Iterator[bytes]) -> str:
        """What came: the statuses, or that it was closed. What is sent goes on until it cannot."""
        head = f"{route} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{headers}\r\n"
        received = b""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
            try:
                connection.sendall(head.encode())
                for part in body:
                    connection.sendall(part)
                connection.shutdown(socket.SHUT_WR)
            except TimeoutError:
                return "stuck"
            except OSError:
                pass
            try:
                while more := connection.recv(65536):
                    received += more
            except TimeoutError:
                return "stuck"
            except OSError:
                pass
        found = re.findall(rb"(?m)^HTTP/1\.1 (\d{3})", received)
        return " ".join(status.decode() for status in found) or "closed"


class Files:
    """Looks again and again which files, other than its log, the daemon has open for writing."""

    def __init__(self, daemon: Daemon) -> None:
        self.found: set[str] = set()
        self.looks = 0
        self._folder, self._log = Path(f"/proc/{pid_of(daemon)}/fd"), str(daemon.path)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.002):
            self.looks += 1
            with contextlib.suppress(OSError):  # it was closed meanwhile
                for descriptor in self._folder.iterdir():
                    target = os.readlink(descriptor)
                    if target.startswith("/") and target != self._log and not target.startswith("/dev/"):
                        self.found.add(target)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


def pid_of(daemon: Daemon) -> int:
    if daemon.process is None:
        raise RuntimeError("it does not run")
    return daemon.process.pid


def peak(pid: int) -> float:
    """Megabytes: the most that the process had in memory since `forget_peak`."""
    found = re.search(r"(?m)^VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def written(pid: int) -> int:
    """Bytes that the process caused to be written to storage."""
    found = re.search(r"(?m)^write_bytes: (\d+)", Path(f"/proc/{pid}/io").read_text())
    return int(found[1]) if found else 0


def large_bodies(bench: Bench, figures: dict[str, Any]) -> bool:
    """large bodies: declared, chunked and lying; 413 or closed, no memory, no temporary file, the route never runs."""
    total = bench.size(1000, 80)
    redis = bench.redis()
    daemon = bench.daemon(redis.url, "--request-timeout", "1")  # for bodies that never come to their end
    pid = pid_of(daemon)
    Client(daemon.port).ask("POST", "/q/kept", b'{"n":1}')
    Bodies(daemon.port).send_all(bench.chance, 2 * len(KINDS))  # what is kept for the next time counts not as growth
    bodies, files = Bodies(daemon.port), Files(daemon)
    forget_peak(pid)
    before, wrote = resident([pid]), written(pid)
    seeds = [type(bench.chance)(bench.chance.randrange(2**32)) for _ in range(AT_ONCE)]
    try:
        together([partial(bodies.send_all, chance, total // AT_ONCE) for chance in seeds])
    finally:
        files.end()
    figures.update(
        bodies=total,
        answers=dict(sorted(bodies.answers.items())),
        wrong=len(bodies.wrong),
        examples=bodies.wrong[:5],
        grown_by_mb=round(resident([pid]) - before, 1),
        peak_mb=round(peak(pid) - before, 1),
        files=sorted(files.found),
        written=written(pid) - wrote,
        stored=stored(redis),
    )
    small = figures["grown_by_mb"] < GROWTH and figures["peak_mb"] < GROWTH
    untouched = figures["stored"] == {"kept": 1} and Client(daemon.port).ask("GET", "/q/kept").body == b'{"n":1}'
    none_written = not files.found and figures["written"] < LIMIT
    return not bodies.wrong and small and untouched and none_written and not bench.tracebacks()


def stored(redis: Redis) -> dict[str, int]:
    """Queue -> its jobs, of those queues that there are."""
    queues = {key.decode().split(":")[2] for key in redis.command("KEYS", "presque:{0}:*:jobs")}
    return {queue: redis.command("HLEN", f"presque:{{0}}:{queue}:jobs") for queue in sorted(queues)}


def dribble(port: int, count: int, gap: float, unread: int, ends: float, tell: Any) -> None:
    """In a process of its own, which is to take little from the others: `count` connections that send a byte each `gap`
    seconds, and `unread` that ask for more and more and read nothing. Tells how many seconds each lived, by kind; those
    that were not cut by `ends` miss.
    """
    poll, began, kinds = select.epoll(), {}, {}
    sockets, due = {}, deque[tuple[float, int]]()
    asked = encoded("GET", "/openapi.json") * 200
    for number in range(count + unread):
        connection = socket.socket()
        if number >= count:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        connection.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            connection.send(b"P" if number < count else asked)
        name = connection.fileno()
        sockets[name], began[name] = connection, time.monotonic()
        due.append((began[name] + gap, name))
        kinds[name] = "slow" if number < count else "unread"
        poll.register(connection, select.EPOLLIN if number < count else 0)  # an error or a reset is told in any case
    tell.put("connected")
    lived: dict[str, list[float]] = {"slow": [], "unread": []}
    last = time.monotonic()
    while sockets and (now := time.monotonic()) < last + ends:
        while due and due[0][0] <= now:  # what the kernel has cut without a word is told by its answer to a byte
            _, name = due.popleft()
            if name in sockets:
                due.append((now + gap, name))
                with contextlib.suppress(OSError):
                    sockets[name].send(b"X")
        for name, _ in poll.poll(POLL):
            lived[kinds[name]].append(time.monotonic() - began.pop(name))
            poll.unregister(name)
            sockets.pop(name).close()
    tell.put(lived)


def slow_clients(bench: Bench, figures: dict[str, Any]) -> bool:
    """slow clients: a byte at a time, or never reading; cut at the deadline, others' p99 < 2 x."""
    allow_files(8192)
    timeout = float(bench.size(20, 2))
    count, unread, gap = bench.size(2000, 200), bench.size(500, 50), timeout / 4
    daemon = bench.daemon(bench.redis().url, "--request-timeout", str(timeout))
    before = healthy(daemon.port, timeout / 2)
    context = multiprocessing.get_context("spawn")
    tell = context.Queue()
    ends = timeout + SLACK_OF_CUTS * (10 if bench.short else 1)
    process = context.Process(target=dribble, args=(daemon.port, count, gap, unread, ends, tell))
    process.start()
    bench.callback(process.kill)
    tell.get(timeout=PATIENCE)
    during = healthy(daemon.port, timeout)
    lived = tell.get(timeout=ends + PATIENCE)
    process.join()
    after = healthy(daemon.port, timeout / 2)
    p99 = {"before": before, "during": during, "after": after}
    figures["p99_ms"] = {name: round(percentile(values, 0.99) * 1000, 2) for name, values in p99.items()}
    held = True
    for name, expected in (("slow", count), ("unread", unread)):
        times = sorted(lived[name]) or [0.0]
        figures[name] = {"cut": len(lived[name]), "of": expected, "from": round(times[0], 2), "to": round(times[-1], 2)}
        held = held and len(lived[name]) == expected and times[0] >= timeout * 0.9
        held = held and bench.within(times[-1] - timeout, SLACK_OF_CUTS)
    alone = percentile([*before, *after], 0.99)
    figures["ratio"] = round(percentile(during, 0.99) / alone, 2)
    return held and bench.within(figures["ratio"], 2) and not bench.tracebacks()


def healthy(port: int, seconds: float) -> list[float]:
    """Latencies of some clients that do nothing wrong, in seconds."""
    tally: Counter[str] = Counter()
    found = crowd(port, [same(encoded("POST", "/q/bench", b'{"n":1}'), tally) for _ in range(4)], seconds)
    return found.latencies if not found.wrong else []


ROWS = {17: large_bodies, 18: slow_clients}
