"""What the rows need: Redis processes, daemons, a proxy between them, HTTP clients, and the end of all of it."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import re
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import hiredis

from presque.process.private_redis.server import find_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

ROOT = Path(__file__).parent.parent
TWISTD = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; sys.exit(run())"
SO_ATTACH_FILTER = 26  # <asm-generic/socket.h>
PATIENCE = 30.0  # seconds that a row waits for what must come
SLACK = 10  # in a short run a time limit is so many times as long


class Refused(Exception):
    """Nothing was done: there was no connection, or a 503 that says so."""


class Lost(Exception):
    """The connection was lost after the request: perhaps it was done."""


class Reply(NamedTuple):
    """What came back."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Redis:
    """A redis-server on a Unix socket, which can be killed, stopped and started again on the same files."""

    def __init__(self, folder: Path, *options: str, variables: Mapping[str, str] | None = None) -> None:
        self.folder, self.options = folder, options
        self.variables = {**os.environ, **(variables or {})}
        self.socket = str(folder / "redis.sock")
        self.url = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self, *more: str, wait: bool = True) -> None:
        program = os.environ.get("TEST_REDIS_SERVER") or find_program()
        command = [program, "--port", "0", "--unixsocket", self.socket, "--dir", str(self.folder)]
        command += ["--save", "", "--appendonly", "yes", "--logfile", str(self.folder / "log"), *self.options, *more]
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(command, stdout=quiet, stdin=quiet, env=self.variables)
        if wait:
            self.ready()

    def ready(self) -> None:
        ends = time.monotonic() + 60
        while True:
            try:
                self.session()("PING")
                return
            except (OSError, hiredis.ReplyError) as error:
                if self.process is None or self.process.poll() is not None or time.monotonic() > ends:
                    raise RuntimeError(f"Redis did not start: {(self.folder / 'log').read_text()[-2000:]}") from error
                time.sleep(0.005)

    def session(self) -> Callable[..., Any]:
        """A function that runs commands on one connection and returns their replies, in bytes."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        connection.connect(self.socket)
        reader = hiredis.Reader()

        def command(*parts: Any) -> Any:
            connection.sendall(hiredis.pack_command(parts))
            while (reply := reader.gets()) is False:
                if not (data := connection.recv(65536)):
                    raise OSError("Redis closed the connection")
                reader.feed(data)
            if isinstance(reply, hiredis.ReplyError):
                raise reply
            return reply

        return command

    def command(self, *parts: Any) -> Any:
        return self.session()(*parts)

    def signal(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Daemon:
    """`twistd presque` as a process of its own; started again it has the same port."""

    def __init__(self, folder: Path, redis_url: str, *flags: str, variables: Mapping[str, str] | None = None) -> None:
        self.path, self.redis_url, self.flags = folder / "daemon.log", redis_url, flags
        self.variables = variables or {}
        self.path.touch()
        self.port = 0
        self.ports: list[int] = []
        self.places = 1 + flags.count("--listen")  # where it listens
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @classmethod
    def private(cls, folder: Path, data: Path, *flags: str) -> Daemon:
        """One whose Redis is its own, in `data`; its log lies in `folder`."""
        return cls(folder, "", "--data-dir", str(data), *flags)

    def start(self) -> None:
        skip = self.path.stat().st_size
        command = [sys.executable, "-c", TWISTD, "-n", "--pidfile=", "presque", "--redis", self.redis_url]
        command += ["--listen", f"tcp:{self.port}:interface=127.0.0.1", *self.flags]
        variables = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "HOME": "/dev/null", **self.variables}
        with self.path.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=variables, cwd=self.path.parent, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        ends = time.monotonic() + PATIENCE
        while len(found := re.findall(rb"listens on .*port=(\d+)", self.path.read_bytes()[skip:])) < self.places:
            if self.process.poll() is not None or time.monotonic() > ends:
                raise RuntimeError(f"the daemon did not start: {self.log[-3000:]}")
            time.sleep(0.02)
        self.ports = [int(each) for each in found]
        self.port = self.ports[0]

    @property
    def log(self) -> str:
        return self.path.read_text(errors="replace")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Client:
    """HTTP/1.1 over one connection that is kept. It repeats nothing by itself."""

    def __init__(self, port: int, timeout: float = 30.0) -> None:
        self.port, self.timeout = port, timeout
        self.socket: socket.socket | None = None
        self.left = b""

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket, self.left = None, b""

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """One request. Raises Refused or Lost; a 503 that may have been done is Lost too."""
        reply = self.ask_plainly(method, path, body, **headers)
        if reply.status == 503:
            raise Lost(reply.body) if b"may or may not" in reply.body else Refused(reply.body)
        return reply

    def ask_plainly(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """As `ask`, but a 503 is an answer like any other."""
        if self.socket is None:
            try:
                self.socket = socket.create_connection(("127.0.0.1", self.port), self.timeout)
            except OSError as error:
                raise Refused(str(error)) from error
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket.sendall(encoded(method, path, body, **headers))
            return self._reply()
        except OSError as error:
            self.close()
            raise Lost(str(error)) from error

    def _reply(self) -> Reply:
        assert self.socket is not None
        data = self.left
        while (found := whole(data)) is None:
            if not (more := self.socket.recv(262144)):
                raise OSError("closed")
            data += more
        reply, self.left = found
        return reply

    def post(self, path: str, value: Any = None, **headers: str) -> Reply:
        return self.ask("POST", path, json.dumps(value or {}, separators=(",", ":")).encode(), **headers)


def encoded(method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
    """A request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def whole(data: bytes) -> tuple[Reply, bytes] | None:
    """The first whole answer in `data` and what follows it; None while it is not whole."""
    head, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        return None
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    size = int(length[1]) if length else 0
    if len(rest) < size:
        return None
    return Reply(int(head[9:12]), rest[:size]), rest[size:]


class Proxy:
    """Between daemon and Redis, on a Unix socket. It lets a command through that contains a marked text, and instead of
    the reply cuts the connection; each mark counts once. In `mode` close it hangs up on the first bytes.
    """

    def __init__(self, folder: Path, redis: Redis) -> None:
        self.path = str(folder / "proxy.sock")
        self.url = f"unix://{self.path}"
        self.target = redis.socket
        self.marks: set[bytes] = set()
        self.cuts = 0  # connections
        self.replies = 0  # to marked commands
        self.mode = ""
        self._ended = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self.path)
        self._server.listen(64)
        self._selector.register(self._server, selectors.EVENT_READ)
        self._pairs: dict[socket.socket, tuple[socket.socket, bool]] = {}
        self._doomed: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.is_set():
            for key, _ in self._selector.select(0.1):
                source: Any = key.fileobj
                try:
                    self._accept() if source is self._server else self._pass(source)
                except OSError:
                    self._drop(source)

    def _accept(self) -> None:
        near, _ = self._server.accept()
        far = socket.socket(socket.AF_UNIX)
        try:
            far.connect(self.target)
        except OSError:
            near.close()
            return
        for one, other, of_daemon in ((near, far, True), (far, near, False)):
            self._pairs[one] = (other, of_daemon)
            self._selector.register(one, selectors.EVENT_READ)

    def _pass(self, source: socket.socket) -> None:
        if source not in self._pairs:
            return
        other, of_daemon = self._pairs[source]
        data = source.recv(1 << 20)
        if not data or (self.mode == "close" and of_daemon):
            self._drop(source)
            return
        if of_daemon:
            for mark in [mark for mark in list(self.marks) if mark in data]:
                self.marks.discard(mark)
                self.replies += 1
                self._doomed.add(other)
        elif source in self._doomed:
            self.cuts += 1
            self._drop(source)
            return
        other.sendall(data)

    def _drop(self, one: socket.socket) -> None:
        if one in self._pairs:
            other, _ = self._pairs.pop(one)
            self._pairs.pop(other, None)
            for each in (one, other):
                self._doomed.discard(each)
                self._selector.unregister(each)
                each.close()

    def drop_all(self) -> None:
        """Shut every connection; the thread finds them closed."""
        for each in list(self._pairs):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        for each in list(self._pairs):
            each.close()
        self._server.close()


class Bench(contextlib.ExitStack):
    """All that a row starts, ended when it is left, by process id."""

    def __init__(self, short: bool, seed: int) -> None:
        super().__init__()
        self.short, self.seed = short, seed
        self.chance = random.Random(seed)
        self.daemons: list[Daemon] = []

    def size(self, long: int, short: int) -> int:
        return short if self.short else long

    def within(self, measured: float, limit: float) -> bool:
        """Whether a time was short enough. Counts are held alike in both forms; a time limit is held as it stands in
        the long form alone, for the short one runs among other tests, on machines that are busy.
        """
        return measured <= limit * (SLACK if self.short else 1)

    def folder(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="presque-bench-"))
        self.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def redis(self, *options: str, variables: Mapping[str, str] | None = None) -> Redis:
        redis = Redis(self.folder(), *options, variables=variables)
        self.callback(redis.kill)
        self.callback(redis.signal, signal.SIGCONT)
        return redis

    def daemon(self, redis_url: str, *flags: str, variables: Mapping[str, str] | None = None) -> Daemon:
        daemon = Daemon(self.folder(), redis_url, *flags, variables=variables)
        self.callback(daemon.kill)
        self.daemons.append(daemon)
        return daemon

    def proxy(self, redis: Redis) -> Proxy:
        proxy = Proxy(self.folder(), redis)
        self.callback(proxy.end)
        return proxy

    def tracebacks(self) -> int:
        return sum(daemon.log.count("Traceback (most recent") for daemon in self.daemons)


def deafen(client: socket.socket) -> None:
    """Make a client's kernel drop all that comes, as a machine does that has vanished without a word."""
    code = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF_RET 0: keep no byte of a packet
    client.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(code)))


def together(tasks: Iterable[Callable[[], Any]]) -> list[Any]:
    """Run each in a thread; all results, or the first failure once all have ended."""
    tasks = list(tasks)
    with ThreadPoolExecutor(len(tasks)) as pool:
        return [future.result() for future in [pool.submit(task) for task in tasks]]


def until(check: Callable[[], Any], seconds: float = PATIENCE, what: str = "") -> float:
    """Wait until `check()` is true; how many seconds that took. A Refused or Lost is not yet true."""
    began = time.monotonic()
    while True:
        with contextlib.suppress(Refused, Lost):
            if check():
                return time.monotonic() - began
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"it never came: {what}")
        time.sleep(0.005)


def insist(ask: Callable[[], Reply], good: tuple[int, ...], seconds: float = 60.0) -> tuple[Reply, int]:
    """Repeat what may be repeated until it is answered so; the answer, and how many tries it took."""
    tries = 0
    ends = time.monotonic() + seconds
    while True:
        tries += 1
        with contextlib.suppress(Refused, Lost):
            if (reply := ask()).status in good:
                return reply, tries
            raise AssertionError(f"{reply.status} {reply.body[:300]!r}")
        if time.monotonic() > ends:
            raise TimeoutError("never answered")
        time.sleep(0.02)


def works(port: int, queue: str = "probe", seconds: float = PATIENCE) -> float:
    """Seconds until an insertion is accepted."""
    client = Client(port)
    return until(lambda: client.post(f"/q/{queue}", {"probe": 1}).status == 201, seconds, "an insertion")


def percentile(values: list[float], part: float) -> float:
    """The value below which `part` (0 to 1) of them lie."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * part))], 4) if ordered else 0.0
