"""The programs that tests, rows and benchmarks start, as processes: redis-server and `twistd presque`.

Nothing here knows pytest or the reactor. What only the tests need, because their clients run in the reactor, is in
`servers.py`; it starts the same commands.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hiredis

from presque.process.private_redis.server import find_program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).parent.parent
TWISTD = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; sys.exit(run())"
LISTENS = re.compile(r"listens on .*port=(\d+)")  # what a daemon says of each place where it listens
STARTING = 60.0  # seconds that a program has to start
REPLYING = 30.0  # seconds that Redis has for a reply


def redis_program() -> str:
    """The server under test: TEST_REDIS_SERVER, else the one that presque itself would run."""
    return os.environ.get("TEST_REDIS_SERVER") or find_program()


def presque_command(*flags: str) -> list[str]:
    """`twistd presque` in the foreground, with those flags."""
    return [sys.executable, "-c", TWISTD, "-n", "--pidfile=", "presque", *flags]


def presque_environ(root: Path = ROOT, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The whole environment of that command, which finds presque in the checkout at `root`."""
    return {"PYTHONPATH": str(root), "PATH": os.environ["PATH"], "HOME": "/dev/null", **(environ or {})}


class Program:
    """A program that runs as a process of its own; `process` is None while it does not."""

    process: subprocess.Popen[bytes] | None = None

    def signal(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Redis(Program):
    """A redis-server on a Unix socket, which can be killed, stopped and started again on the same files."""

    def __init__(self, *options: str, environ: Mapping[str, str] | None = None, folder: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="presque-test-"))
        self.options = options
        self.environ = {**os.environ, **(environ or {})}
        self.socket = str(self.folder / "redis.sock")
        self.url = f"unix://{self.socket}"
        self.start()

    def start(self, *more: str, wait: bool = True) -> None:
        command = [redis_program(), "--port", "0", "--unixsocket", self.socket, "--dir", str(self.folder)]
        command += ["--save", "", "--appendonly", "yes", "--logfile", str(self.folder / "log"), *self.options, *more]
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(command, stdout=quiet, stdin=quiet, env=self.environ)
        if wait:
            self.ready()

    def ready(self) -> None:
        """Return once it answers."""
        ends = time.monotonic() + STARTING
        while True:
            try:
                self.command("PING")
                return
            except (OSError, hiredis.ReplyError) as error:
                if self.process is None or self.process.poll() is not None or time.monotonic() > ends:
                    raise RuntimeError(f"Redis did not start: {(self.folder / 'log').read_text()[-2000:]}") from error
                time.sleep(0.005)

    def session(self) -> Callable[..., Any]:
        """A function that runs commands on one connection and returns their replies, in bytes."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(REPLYING)
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
        """Run one command on a connection of its own."""
        return self.session()(*parts)

    def taken(self, queue: str) -> set[bytes]:
        """The numbers of the jobs of a queue that are leased, or held by a fetch, in a store of one partition."""
        members = self.command("ZRANGE", f"presque:{{0}}:{queue}:held", 0, -1)
        held = {number for member in members for number in member.split(b"\n")[0].split(b" ")[1:]}
        return held | set(self.command("ZRANGE", f"presque:{{0}}:{queue}:leased", 0, -1))

    def remove(self) -> None:
        """Kill it, and delete its files."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Daemon(Program):
    """`twistd presque` as a process of its own; started again it has the same port."""

    def __init__(
        self,
        folder: Path,
        redis_url: str,
        *flags: str,
        environ: Mapping[str, str] | None = None,
        root: Path = ROOT,
    ) -> None:
        self.path, self.redis_url, self.flags = folder / "daemon.log", redis_url, flags
        self.environ = presque_environ(root, environ)
        self.path.touch()
        self.port = 0
        self.ports: list[int] = []
        self.places = 1 + flags.count("--listen")  # where it listens
        self.start()

    @classmethod
    def private(cls, folder: Path, data: Path, *flags: str) -> Daemon:
        """One whose Redis is its own, in `data`; its log lies in `folder`."""
        return cls(folder, "", "--data-dir", str(data), *flags)

    def start(self) -> None:
        skip = len(self.log)
        listen = f"tcp:{self.port}:interface=127.0.0.1"
        command = presque_command("--redis", self.redis_url, "--listen", listen, *self.flags)
        with self.path.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self.environ, cwd=self.path.parent, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        ends = time.monotonic() + STARTING
        while len(found := LISTENS.findall(self.log[skip:])) < self.places:
            if self.process.poll() is not None or time.monotonic() > ends:
                raise RuntimeError(f"the daemon did not start: {self.log[-3000:]}")
            time.sleep(0.02)
        self.ports = [int(each) for each in found]
        self.port = self.ports[0]

    @property
    def log(self) -> str:
        return self.path.read_text(errors="replace")


class Programs(contextlib.ExitStack):
    """Programs and folders that are ended and deleted when it is left, by process id."""

    def __init__(self, short: bool) -> None:
        super().__init__()
        self.short = short
        self.daemons: list[Daemon] = []

    def size(self, long: int, short: int) -> int:
        return short if self.short else long

    def folder(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="presque-test-"))
        self.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def redis(self, *options: str, environ: Mapping[str, str] | None = None) -> Redis:
        redis = Redis(*options, environ=environ, folder=self.folder())
        self.callback(redis.kill)
        self.callback(redis.signal, signal.SIGCONT)
        return redis

    def daemon(
        self, redis_url: str, *flags: str, environ: Mapping[str, str] | None = None, root: Path = ROOT
    ) -> Daemon:
        daemon = Daemon(self.folder(), redis_url, *flags, environ=environ, root=root)
        self.callback(daemon.kill)
        self.daemons.append(daemon)
        return daemon

    def tracebacks(self) -> int:
        return sum(daemon.log.count("Traceback (most recent") for daemon in self.daemons)
