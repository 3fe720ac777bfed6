"""Row 31: the memory that all clients take together, by unfinished bodies, unread answers and tiny chunks."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from tests.load import PATIENCE, Client, percentile
from tests.proc import resident

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.bench import Bench
    from tests.programs import Daemon

MIB = 1 << 20
BUFFERED = 16 * MIB  # --max-buffered
GROWTH = 64.0  # megabytes by which the daemon may grow
FLOOR = 0.01  # seconds: a p99 that is shorter counts as this, for it is that of a busy machine
SETTLES = 3.0  # seconds after which every refusal has arrived
WATCH = 0.005  # seconds between two looks at the memory
BATCH = 8  # jobs of an answer, each of nearly 1 MiB
JOB = b'{"t":"' + b"x" * (MIB - 300) + b'"}'
HEAD = b"POST /q/body HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


class Watch:
    """Looks at the memory of a daemon, and times the requests of another client, from `begin` to `end`."""

    def __init__(self, daemon: Daemon) -> None:
        assert daemon.process is not None
        self.pid, self.port = daemon.process.pid, daemon.port
        self.before = resident([self.pid])
        self.most = self.before
        self.times: list[float] = []
        self.errors: list[str] = []
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=each) for each in (self._look, self._ask)]

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *why: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _look(self) -> None:
        while not self._is_over.wait(WATCH):
            self.most = max(self.most, resident([self.pid]))

    def _ask(self) -> None:
        client = Client(self.port)
        while not self._is_over.wait(WATCH):
            began = time.monotonic()
            reply = client.ask_plainly("POST", "/q/other", b"{}")
            self.times.append(time.monotonic() - began)
            if reply.status != 201:
                self.errors.append(f"{reply.status} {reply.body!r}")
        client.close()

    @property
    def p99(self) -> float:
        return percentile(self.times, 0.99)

    @property
    def growth(self) -> float:
        """Megabytes."""
        return self.most - self.before


def connect(daemon: Daemon, files: ExitStack) -> socket.socket:
    """A client whose kernel takes little, so that what it does not read stays with the daemon."""
    client = files.enter_context(socket.socket())
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(PATIENCE)
    client.connect(("127.0.0.1", daemon.port))
    return client


def is_refused(client: socket.socket) -> bool:
    """Whether it was told of the overload, or has been cut off after that; False if nothing has come."""
    client.settimeout(0.01)
    try:
        return b" 503 " in client.recv(512)
    except TimeoutError:
        return False
    except OSError:  # a reset: it went on sending after the refusal
        return True


def unfinished_bodies(daemon: Daemon, files: ExitStack, count: int) -> int:
    """How many of so many clients, each of which sends 1 MiB but for a byte, were told of the overload."""
    clients = [connect(daemon, files) for _ in range(count)]
    begun = HEAD + b"Content-Length: %d\r\n\r\n" % MIB + b" " * (MIB - 1)

    def send(client: socket.socket) -> None:
        with suppress(OSError):  # it was refused and has been cut off
            client.sendall(begun)

    for client in clients:
        send(client)
    refused, ends = [False] * count, time.monotonic() + SETTLES
    while time.monotonic() < ends:
        refused = [each or is_refused(client) for each, client in zip(refused, clients, strict=True)]
    return sum(refused)


def unread_answers(daemon: Daemon, files: ExitStack, count: int) -> int:
    """How many of so many clients, none of which reads its answer of 8 MiB, were told of the overload."""
    refused = 0
    for _ in range(count):
        client = connect(daemon, files)
        client.sendall(b"GET /qb/large?batch_size=%d HTTP/1.1\r\nHost: x\r\n\r\n" % BATCH)
        refused += b" 503 " in client.recv(512)
    return refused


def tiny_chunks(daemon: Daemon, files: ExitStack, size: int) -> int:
    """1 if a body of that size in chunks of a byte was refused."""
    client = connect(daemon, files)
    body = b'{"t":"' + b"x" * (size - 8) + b'"}'
    client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    client.sendall(b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
    return int(b" 201 " not in client.recv(1024))


def memory_of_all(bench: Bench, figures: dict[str, Any]) -> bool:
    """memory of all: 300 unfinished bodies, 60 unread answers, 1 MB by the byte; + < 64 MB, others' p99 < 2 x."""
    redis = bench.redis("--appendonly", "no")
    daemon = bench.daemon(redis.url, "--max-buffered", str(BUFFERED))
    client = Client(daemon.port)
    bodies, answers = bench.size(300, 60), bench.size(60, 20)
    for _ in range(answers * BATCH):
        client.ask("POST", "/q/large", JOB)
    with Watch(daemon) as quiet:
        time.sleep(bench.size(5, 1))
    figures["p99_ms"] = {"quiet": round(quiet.p99 * 1000, 1)}
    attacks: list[tuple[str, Callable[[Daemon, ExitStack, int], int], int, int]] = [
        ("unfinished bodies", unfinished_bodies, bodies, bodies - BUFFERED // MIB - 2),
        ("unread answers", unread_answers, answers, answers - 3),
        ("tiny chunks", tiny_chunks, bench.size(1_000_000, 300_000), 0),
    ]
    is_good = True
    for name, attack, size, least in attacks:
        with ExitStack() as files, Watch(daemon) as watch:
            refused = attack(daemon, files, size)
        figures[name] = {"of": size, "refused": refused, "MB": round(watch.growth, 1)}
        figures["p99_ms"][name] = round(watch.p99 * 1000, 1)
        is_good &= refused >= least and not watch.errors and watch.growth < GROWTH
        is_good &= bench.within(watch.p99, 2 * max(quiet.p99, FLOOR))
    ends = time.monotonic() + PATIENCE
    while (ready := client.ask("GET", "/status/large").json["size"]) != answers * BATCH and time.monotonic() < ends:
        time.sleep(0.05)
    figures["lost"] = answers * BATCH - ready
    return is_good and ready == answers * BATCH and not bench.tracebacks()


ROWS = {31: memory_of_all}
