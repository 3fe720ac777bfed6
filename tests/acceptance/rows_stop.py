"""Rows 15 and 16: the daemon is told to stop under load; it or its private Redis is killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from presque.service import CHILD_PATIENCE, IDLE_PATIENCE
from tests.acceptance.rows_disk import Producers, counted, daemon_on, drain, ended, redis_of
from tests.load import PATIENCE, encoded, together, until, whole
from tests.programs import Daemon

if TYPE_CHECKING:
    from tests.acceptance.bench import Bench

KEPT, NEW, TAKERS, WAITERS, SLOW = 8, 4, 4, 4, 2  # clients of each kind
EMPTY = "/v1/queues/empty/reservations"
SLOW_FOR = IDLE_PATIENCE + 0.5  # seconds after SIGTERM at which the rest of a body comes
EXIT = 5.0  # seconds: clients that answer leave nothing to wait for but what is half sent, and idle connections
CLEAN = (0, -signal.SIGTERM)  # twistd ends by the signal that it got, once all has stopped
ORPHAN = 2.0  # seconds that a Redis may outlive its daemon


class Stopping:
    """Clients of one daemon while it is told to stop. A request is cut when its connection ends without an answer,
    though it was accepted: its job is there all the same, or the connection was in use and nobody had said that it
    closes.
    """

    def __init__(self, port: int, base: int) -> None:
        self.port, self.next = port, base
        self.acknowledged: set[int] = set()
        self.unknown: set[int] = set()  # not answered, on a connection that was perhaps not accepted
        self.taken: list[int] = []
        self.cut: list[str] = []
        self.odd: list[str] = []  # answers that should not be
        self.answers = self.waited = self.slow = self.crossed = 0
        self.lock = threading.Lock()
        self.told = threading.Event()

    def number(self) -> int:
        with self.lock:
            self.next += 1
            return self.next

    def note(self, name: str, status: int, good: tuple[int, ...]) -> bool:
        with self.lock:
            self.answers += 1
            if status not in good:
                self.odd.append(f"{name}: {status}")
        return status in good

    def produce(self, kept: bool) -> None:
        """Insert until there is no daemon: over one connection until it says that it closes, or each over a new one."""
        line = Line(self.port)
        while line.is_open or line.connect():
            n = self.number()
            status, _ = line.ask(encoded("POST", "/q/bench", b'{"n":%d}' % n))
            if status:
                if self.note("insertion", status, (201,)):
                    self.acknowledged.add(n)
            else:
                self.unknown.add(n)
                self.unanswered("insertion", line)
            if not (kept and line.is_open):
                line.close()

    def take(self) -> None:
        """Take jobs over one connection, and another when it closes."""
        line = Line(self.port)
        while line.is_open or line.connect():
            status, body = line.ask(encoded("GET", "/q/bench"))
            if not status:
                self.unanswered("take", line)
            elif self.note("take", status, (200, 404)) and status == 200:
                self.taken.append(json.loads(body)["n"])

    def wait(self) -> None:
        """Wait for a job that never comes: answered once the daemon stops."""
        line = Line(self.port)
        line.connect()
        status, _ = line.ask(encoded("POST", EMPTY, b'{"wait":50}'))
        self.waited += bool(status)
        if status == 0:
            self.cut.append("wait")
        else:
            self.note("wait", status, (200,))

    def insert_slowly(self) -> None:
        """Half of a request before SIGTERM, the other half after."""
        line, n = Line(self.port), self.number()
        line.connect()
        data = encoded("POST", "/q/bench", b'{"n":%d}' % n)
        line.socket.sendall(data[:-4])
        self.told.wait(PATIENCE)
        time.sleep(SLOW_FOR)
        status, _ = line.ask(data[-4:])
        self.slow += bool(status)
        if status == 0:
            self.cut.append("half-sent insertion")
            self.unknown.add(n)
        elif self.note("half-sent insertion", status, (201,)):
            self.acknowledged.add(n)

    def unanswered(self, name: str, line: Line) -> None:
        """Whether that was a cut: not on a new connection, nor on one that was idle for too long."""
        with self.lock:
            if line.answered_at and line.idle < IDLE_PATIENCE / 2:
                self.cut.append(name)
            else:
                self.crossed += 1

    def run(self, daemon: Daemon) -> tuple[float, int]:
        """Load the daemon, end it in the midst of that; how many seconds it took, and its exit status."""

        def stop() -> tuple[float, int]:
            try:
                until(lambda: self.answers > 300, PATIENCE, "some answers")
                began = time.monotonic()
                daemon.signal(signal.SIGTERM)
                self.told.set()
                status = ended(daemon, 2 * CHILD_PATIENCE)
                return time.monotonic() - began, status
            finally:
                self.told.set()
                daemon.kill()  # else the clients would go on

        kinds = [*[partial(self.produce, True)] * KEPT, *[partial(self.produce, False)] * NEW, *[self.take] * TAKERS]
        kinds += [*[self.wait] * WAITERS, *[self.insert_slowly] * SLOW]
        result: tuple[float, int] = together([*kinds, stop])[-1]
        return result


class Line:
    """A connection that is kept until the answer says that it closes, or until it is cut."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket = socket.socket()
        self.is_open = False
        self.answered_at = 0.0  # when it was answered last; 0: never
        self.idle = 0.0  # seconds between that and the request

    def connect(self) -> bool:
        self.socket.close()
        self.answered_at = 0.0
        try:
            self.socket = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        except OSError:
            return False
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.is_open = True
        return True

    def close(self) -> None:
        self.socket.close()
        self.is_open = False

    def ask(self, data: bytes) -> tuple[int, bytes]:
        """The status, 0 without an answer, and the body."""
        self.idle = time.monotonic() - self.answered_at
        received = b""
        try:
            self.socket.sendall(data)
            while (found := whole(received)) is None:
                if not (more := self.socket.recv(65536)):
                    raise OSError("closed")
                received += more
        except OSError:
            self.close()
            return 0, b""
        self.answered_at = time.monotonic()
        if b"\r\nConnection: close\r\n" in received.partition(b"\r\n\r\n")[0] + b"\r\n":
            self.close()
        return found[0].status, found[0].body


def graceful_stop(bench: Bench, figures: dict[str, Any]) -> bool:
    """graceful stop: SIGTERM under load; no accepted request cut, exit within the limit, lost 0."""
    redis = bench.redis()
    daemons = [bench.daemon(redis.url, *flags) for flags in ((), ("--processes", "2"))]
    for daemon in daemons:
        daemon.signal(signal.SIGTERM)
        ended(daemon)
    rounds: list[Stopping] = []
    exits: list[tuple[float, int]] = []
    for number in range(bench.size(50, 4)):
        daemon = daemons[number % 2]
        daemon.start()
        rounds.append(Stopping(daemon.port, number * 1_000_000))
        exits.append(rounds[-1].run(daemon))
    daemons[0].start()
    delivered = [*drain(daemons[0].port), *(n for each in rounds for n in each.taken)]
    acknowledged = {n for each in rounds for n in each.acknowledged}
    unknown = {n for each in rounds for n in each.unknown}
    cut = [each for each_round in rounds for each in each_round.cut]
    done = sorted(unknown & set(delivered))  # accepted, carried out, and not answered
    odd = [each for each_round in rounds for each in each_round.odd]
    figures.update(
        rounds=len(rounds),
        answers=sum(each.answers for each in rounds),
        cut=len(cut) + len(done),
        examples=[*cut[:3], *done[:3], *odd[:3]],
        odd=len(odd),
        waits_answered=sum(each.waited for each in rounds),
        half_sent_answered=sum(each.slow for each in rounds),
        never_accepted=sum(each.crossed for each in rounds),
        lost=len(acknowledged - set(delivered)),
        twice=len(delivered) - len(set(delivered)),
        longest_exit=round(max(seconds for seconds, _ in exits), 2),
        exit_statuses=sorted({status for _, status in exits}),
    )
    all_ended = all(status in CLEAN and bench.within(seconds, EXIT) for seconds, status in exits)
    return all_ended and not (cut or done or odd or figures["lost"] or figures["twice"] or bench.tracebacks())


def servers_on(data: Path) -> set[int]:
    """The servers whose folder that is, by their working folder too: for a moment one has no title yet. The children
    with which a Redis writes its file anew do not count.
    """
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            name = Path(os.readlink(process / "exe")).name.removesuffix(" (deleted)")
            if not name.startswith(("redis-", "valkey-")):
                continue
            state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
            named = f"unixsocket:{data}".encode() in (process / "cmdline").read_bytes()
            if state != "Z" and (named or os.readlink(process / "cwd") == str(data)):
                found[int(process.name)] = int(parent)
    return {pid for pid, parent in found.items() if parent not in found}


class Watch:
    """Looks again and again how many servers a folder has."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.looks = self.most = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.002):
            self.most = max(self.most, len(servers_on(self.data)))
            self.looks += 1

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


class Kills:
    """The private Redis of a daemon, and the daemon, killed under load."""

    def __init__(self, bench: Bench, figures: dict[str, Any]) -> None:
        self.bench = bench
        self.data = bench.folder() / "data"
        self.daemon = daemon_on(bench, self.data)
        self.producers = Producers(self.daemon.port, 50)
        self.orphans: list[float] = []  # seconds that each outlived its daemon
        self.back: list[float] = []  # seconds from a kill until an insertion was taken
        self.figures = figures

    def more(self) -> None:
        """Wait until some more insertions were taken."""
        taken = self.producers.answers["201"]
        until(lambda: self.producers.answers["201"] > taken + 100, 60, "insertions")

    def kill_child(self) -> None:
        self.more()
        killed, began = redis_of(self.data), time.monotonic()
        os.kill(killed, signal.SIGKILL)
        until(lambda: redis_of(self.data) not in (0, killed), 60, "another Redis")
        self.more()
        self.back.append(time.monotonic() - began)

    def kill_daemon(self, is_hasty: bool) -> None:
        """Start another at once, or when nothing is left of the one before."""
        self.more()
        orphan, began = redis_of(self.data), time.monotonic()
        self.daemon.kill()
        waiting = threading.Thread(target=self._await_end, args=(orphan, began))
        waiting.start()
        if not is_hasty:
            waiting.join()
        again = time.monotonic()
        self.daemon.start()
        self.more()
        self.back.append(time.monotonic() - again)
        waiting.join()

    def _await_end(self, pid: int, began: float) -> None:
        with contextlib.suppress(TimeoutError):
            until(lambda: pid not in servers_on(self.data), 20)
        self.orphans.append(time.monotonic() - began)

    def rival(self) -> bool:
        """Whether a second daemon on the folder is told whose it is, and ends."""
        log = self.bench.folder()
        try:
            Daemon.private(log, self.data).kill()
        except RuntimeError:
            return "is in use by another presque" in (log / "daemon.log").read_text()
        return False

    def run(self) -> bool:
        """All kills, of both kinds in turn."""
        rivals = 0
        for number in range(times := self.bench.size(20, 2)):
            self.kill_child()
            self.kill_daemon(is_hasty=number % 2 == 0)
            rivals += self.rival()
        self.figures.update(kills_of_each=times, rivals_refused=rivals)
        return rivals == times


def private_redis(bench: Bench, figures: dict[str, Any]) -> bool:
    """private Redis: its child and the daemon killed; never two servers on a folder, no orphan 2 s later, lost 0."""
    kills = Kills(bench, figures)
    watch = Watch(kills.data)
    told: list[bool] = []
    try:
        kills.producers.run(lambda: told.append(kills.run()))
        found = counted(kills.producers, drain(kills.daemon.port))
        kills.daemon.signal(signal.SIGTERM)
        ended(kills.daemon)
        left = servers_on(kills.data)
    finally:
        watch.end()
    longest = max(kills.orphans)
    figures.update(
        found,
        most_servers=watch.most,
        looks=watch.looks,
        longest_orphan=round(longest, 3),
        longest_outage=round(max(kills.back), 2),
        left=len(left),
    )
    sound = found["acknowledged"] > 0 and not (found["lost"] or found["twice"] or found["unexpected"] or left)
    return told == [True] and sound and watch.most == 1 and bench.within(longest, ORPHAN) and not bench.tracebacks()


ROWS = {15: graceful_stop, 16: private_redis}
