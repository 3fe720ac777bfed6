"""A private Redis: a child process on a Unix socket in our own folder.

The folder has mode 0700 and a `lock` file. We hold the lock, and so does the child, which inherits it: after a daemon
was killed, its successor cannot start a second server before the first has ended.

Commands that Redis has acknowledged must survive its death. With Redis' own `appendfsync everysec` they do not: during
the fsync of each second Redis answers before it writes (flushAppendOnlyFile in its aof.c), and those commands die with
it. So for `--fsync everysec` Redis never syncs, and therefore writes before each answer; we sync its file. When the
disk is full, Redis acknowledges what it cannot write once, and keeps it in memory: see `disk` and `writing`.
"""

from __future__ import annotations

import os
import re
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from presque.background.loop import Loop
from presque.errors import StoreUnfit, one_line
from presque.process.child_process import Child, Command
from presque.process.private_redis.aof import sync_files
from presque.process.private_redis.control import Control
from presque.process.private_redis.disk import Room
from presque.process.private_redis.engine import Engine, engine_of, find_program
from presque.process.private_redis.folder import Folder
from presque.process.private_redis.trouble import plain, reason
from presque.process.private_redis.writing import Writing
from presque.redis import keys
from presque.redis.url import RedisURL

if TYPE_CHECKING:
    from collections.abc import Callable

    from presque.settings import Settings

__all__ = ["PrivateServer", "find_program"]

LOCK_PATIENCE = 5.0  # seconds to wait for a predecessor's server to end
LOCK_LOOK = 0.02  # seconds between checks of that
READY_LOOK = 0.02  # seconds between checks that the server is ready
SYNC_EVERY = 1.0  # seconds
STOP_PATIENCE = 10.0  # seconds that the child gets to end before it is killed
LINES = 20  # lines of output of a run that are kept
_TORN = re.compile(r"Truncating the AOF .*at offset (\d+)")
LOCK_FD = 3  # the descriptor of the inherited lock in the child


class PrivateServer:
    """Runs the server from `start` to `stop`, and restarts it when it dies. `give_up(reason)` is called when it cannot
    be used, and `became_ready` once it answers.
    """

    _log = Logger()

    def __init__(self, reactor: Any, settings: Settings, give_up: Callable[[object], None]) -> None:
        self._reactor = reactor
        self._settings = settings
        self._give_up = give_up
        if settings.redis_server:
            engine_of(settings.redis_server)  # to refuse it before anything is done
        self.folder = Folder(settings.data_dir)
        self.running = False
        self.became_ready: Callable[[], object] = lambda: None
        self._ready = False
        self.engine: Engine | None = None
        self.control = Control(reactor, self.folder.socket)
        self.child: Child | None = None
        self._said: list[str] = []
        self._syncing = Loop("the sync of Redis' file", self._sync, SYNC_EVERY, sys.maxsize, reactor)
        self.room = Room(settings.data_dir, settings.min_free, reactor, self._room_changed)
        self.writing = Writing(self.control, self.room, reactor)

    @property
    def url(self) -> RedisURL:
        """The URL of the server."""
        return RedisURL("unix", "", 0, self.folder.socket, 0)

    def is_ready(self) -> bool:
        """Whether it has answered, and the record in the folder is written."""
        return self._ready

    async def start(self) -> None:
        """Lock the folder, which may have to wait for a predecessor's server, check its files, and start the child.
        Raises StoreUnfit when the folder cannot be used.
        """
        self.running = True
        ends = self._reactor.seconds() + LOCK_PATIENCE
        while self.running and not self.folder.take():
            if self._reactor.seconds() >= ends:
                raise StoreUnfit(f"{self.folder} is in use by another presque (pid {self.folder.holder()})")
            await deferLater(self._reactor, LOCK_LOOK)
        if not self.running:  # we were stopped meanwhile
            self.folder.leave()
            return
        self.engine = self.folder.engine(self._settings.redis_server)
        self._mend(self.engine)
        self._start_child(self.engine)

    def _mend(self, engine: Engine) -> None:
        path, zeros, unfinished = self.folder.mend(engine)
        if zeros:
            self._log.warn(
                "{path} ended with {cut} zeros, as after a power cut: they were cut off",
                path=str(path),
                cut=zeros,
                log_every=True,
            )
        if unfinished:
            self._log.warn(
                "{path} ended within a transaction that Redis was killed while writing: its {cut} bytes were cut off",
                path=str(path),
                cut=unfinished,
                log_every=True,
            )

    def _mend_again(self, engine: Engine) -> None:
        """If it cannot be done, Redis itself says what is wrong with the file."""
        try:
            self._mend(engine)
        except StoreUnfit as wrong:
            self._log.error("{wrong}", wrong=str(wrong))

    def _start_child(self, engine: Engine) -> None:
        if self._settings.min_free:
            self.room.start()
        name = one_line(f"the private {engine} ({engine.program}) in {self.folder}")
        self.child = Child(name, self._command(), STOP_PATIENCE, self._reactor, self._heard)
        self.child.born, self.child.on_hopeless = self._born, self._hopeless
        self.child.before_again = partial(self._mend_again, engine)
        self.child.start()
        if self._settings.fsync == "everysec":
            self._syncing.start()

    def _command(self) -> Command:
        if self.engine is None or self.folder.lock is None:
            raise RuntimeError("the folder is not ours")
        return Command((self.engine.program, "-"), os.environ, {LOCK_FD: self.folder.lock}, self.settings())

    def _born(self, pid: int) -> None:
        self._said = []
        self.writing.born()
        ensureDeferred(self._follow(pid)).addErrback(self._cannot_go_on)

    def _cannot_go_on(self, failure: Any) -> None:
        if failure.check(StoreUnfit) is None:
            self._log.failure("watching the private server failed", failure=failure)
        self._give_up(failure.value)

    async def _follow(self, pid: int) -> None:
        """Wait until this run of the child is ready, check the id of its store, and record the engine."""
        while self.child is not None and self.child.pid == pid and self.running:
            try:
                await self.control.ask("PING")
                store_id, keys_there = (
                    await self.control.ask("HGET", keys.STORE, "id"),
                    await self.control.ask("DBSIZE"),
                )
            except Exception:  # it does not listen yet or is loading; if it cannot, it ends
                await deferLater(self._reactor, READY_LOOK)
                continue
            found = store_id.decode(errors="replace") if store_id else ""
            self.folder.check_store(found, keys_there)
            await self._note(found)
            self.child.is_ready()
            self._ready = True
            self.became_ready()
            return

    async def _note(self, found: str) -> None:
        if self.engine is None:
            return
        try:
            store_id = found or await self._name_store()
            self.folder.note(self.engine, store_id)
        except OSError as wrong:  # a full disk, which must not prevent settling jobs
            self._log.error(
                "could not record the engine in {folder} ({wrong})", folder=str(self.folder), wrong=str(wrong)
            )

    async def _name_store(self) -> str:
        """Give a store without an id the recorded one, so that both agree, or a new one. Returns "" if that fails."""
        new = self.folder.store_id or os.urandom(8).hex()
        try:
            await self.control.ask("HSETNX", keys.STORE, "id", new)
        except Exception as refused:
            self._log.info("could not give the store an id yet ({refused})", refused=str(refused))
            return ""
        return new

    def _hopeless(self, pid: int, ended: str) -> None:
        self._give_up(reason(self._said, ended, self.engine, self.folder.path))

    async def _sync(self) -> int:
        folder = self._settings.data_dir
        synced: int = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), sync_files, folder)
        return synced

    def _heard(self, pid: int, line: str) -> None:
        """Log a line of its output if it is a warning; routine lines do not interest operators."""
        self._said = [*self._said[-LINES:], line]
        self.writing.heard(line)
        if torn := _TORN.search(line):
            self._log.warn(
                "the file in {folder} ended within a command, as after a power cut: everything after "
                "byte {offset} was cut off",
                folder=str(self.folder),
                offset=torn[1],
            )
        if " # " in line and "WARNING" not in line:
            self._log.info("{line}", line=plain(line))

    def _room_changed(self, low: bool, free: int) -> None:
        self.writing.room_changed(low, free)
        if self.child is not None:
            self.child.command = self._command()  # for its next start

    def settings(self) -> bytes:
        """The child's configuration file, which it reads from its standard input."""
        values = {
            "port": "0",
            "unixsocket": _quoted(self.folder.socket),
            "unixsocketperm": "700",
            "dir": _quoted(self.folder.path),
            "daemonize": "no",
            "appendonly": "yes",
            # see the module's docstring
            "appendfsync": "no" if self._settings.fsync == "everysec" else self._settings.fsync,
            "aof-load-truncated": "yes",
            "no-appendfsync-on-rewrite": "no",
            "save": '""',
            "maxmemory-policy": "noeviction",
            "logfile": '""',
            "loglevel": "notice",
            "set-proc-title": "yes",
            "timeout": "0",
            **self.writing.settings(),
        }
        return "".join(f"{name} {value}\n" for name, value in values.items()).encode()

    async def stop(self) -> None:
        """Stop the child once everything that it has acknowledged is written."""
        self.running = False
        try:
            if self.child is not None and self.child.pid and self._ready:
                await self.writing.finish(lambda: bool(self.child is not None and self.child.pid))
        except Exception:
            self._log.failure("cannot tell whether Redis has written everything that it acknowledged")
        finally:
            if self._syncing.running:
                self._syncing.stop()
            if self.room.running:
                self.room.stop()
            if self.child is not None:
                await self.child.stop()
            self.folder.leave()


def _quoted(value: os.PathLike[str] | str) -> str:
    """A quoted word of Redis' configuration, with bytes other than plain ASCII escaped."""
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in os.fsencode(value))
    return f'"{"".join(plain)}"'
