"""Whether the private server can write what it answers: it is told to take nothing in while there is too little room,
and is not stopped before all of it is written.

One mechanism serves all processes and all routes: with `maxmemory 1` Redis refuses the first write of a script that may
be refused, as with a full memory, and lets all that settles jobs pass.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, TimeoutError, ensureDeferred  # the last of addTimeout
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.task import deferLater
from twisted.logger import Logger

from presque.process.private_redis.control import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from presque.process.private_redis.control import Control
    from presque.process.private_redis.disk import Room

TRY_AGAIN = 0.2  # seconds until Redis is told again what it could not be told
SHRINK_LOOK = 2.0  # seconds between two looks whether a rewritten file would fit
WRITE_LOOK = 0.1  # seconds between two looks whether all is written
WRITE_PATIENCE = 600.0  # seconds that we wait for it when we stop
REMIND_EVERY = 10.0  # seconds
SILENCE = 10.0  # seconds without an answer after which Redis is stopped all the same

_AWAY = (OSError, ConnectError, ConnectionClosed, TimeoutError, CancelledError, Refused)

_UNWRITTEN = re.compile(r"(?:Error|Short write while) writing to the AOF file|AOF write error")


class Writing:
    """Keeps the server at `control` from taking in what it could not write."""

    _log = Logger()

    def __init__(self, control: Control, room: Room, reactor: Any) -> None:
        self._control = control
        self._room = room
        self._reactor = reactor
        self._warning = False
        self._telling = False
        self._shrunk_at = 0.0
        self._hurried = False
        self._left: int | None = None  # bytes that were answered and not written, when Redis was asked last

    def born(self) -> None:
        """Redis was started, again if it had run: what it had not written is gone."""
        if self._left is not None:
            self._lost(self._left)
        self._left = None

    def settings(self) -> dict[str, str]:
        """What of the configuration depends on the room that there is."""
        closed = self._room.low
        return {"maxmemory": "1" if closed else "0", "auto-aof-rewrite-percentage": "0" if closed else "100"}

    def room_changed(self, low: bool, free: int) -> None:
        """Say so, once, and let Redis refuse or take insertions."""
        what = {"folder": str(self._room.folder), "free": free, "floor": self._room.floor}
        if low:
            self._log.critical(
                "DISK NEARLY FULL: {free} bytes are free in {folder}, less than --min-free {floor}: insertions are "
                "refused (store-full) until space is freed, everything else continues",
                **what,
            )
        else:
            self._log.warn("enough space again in {folder} ({free} bytes free): insertions are accepted", **what)
        self._begin(self._tell())

    def _begin(self, work: Any) -> None:
        ensureDeferred(work).addErrback(lambda failure: self._log.failure("watching the disk failed", failure=failure))

    async def _tell(self) -> None:
        """Tell Redis, again and again until it has heard or it has changed; then care for room while it is low."""
        if self._telling:
            return
        self._telling, told = True, None
        try:
            while self._room.running and (self._room.low or told != self.settings()):
                wanted = self.settings()
                try:
                    if told != wanted:
                        for name, value in wanted.items():
                            await self._control.ask("CONFIG", "SET", name, value)
                        told = wanted
                    if self._room.low:
                        await self._shrink()
                        await self._warn()  # Redis itself speaks of it once in 30 s
                except _AWAY as away:  # it is started again with these settings, or answers later
                    self._log.debug("could not tell Redis about the disk: {away}", away=str(away))
                    told = None
                await deferLater(self._reactor, TRY_AGAIN)
        finally:
            self._telling = False

    async def _shrink(self) -> None:
        """A file full of jobs that are gone is rewritten while the disk is nearly full, if the new one fits."""
        now = self._reactor.seconds()
        if now - self._shrunk_at < SHRINK_LOOK:
            return
        self._shrunk_at = now
        facts = await self._control.facts("persistence", "memory")
        size, needed = int(facts["aof_current_size"]), int(facts["used_memory_dataset"])
        busy = facts["aof_rewrite_in_progress"] != "0" or facts["aof_rewrite_scheduled"] != "0"
        if not busy and needed < size / 2 and needed < self._room.free / 2:
            self._log.info("rewriting the append-only file of {size} bytes to free space", size=size)
            await self._control.ask("BGREWRITEAOF")

    def heard(self, line: str) -> None:
        """A line of Redis' log: when it cannot write, say at once what is at stake."""
        if _UNWRITTEN.search(line):
            self._begin(self._warn())

    async def _warn(self) -> None:
        """Say what is at stake as long as Redis cannot write, and when it can again."""
        if self._warning:
            return
        self._warning = True
        try:
            while not self._hurried and (left := await self.unwritten()) is not None:
                if self._left is None:
                    self._stake(left)
                self._left = left
                await deferLater(self._reactor, WRITE_LOOK)
            if self._left is not None:
                self._log.warn("Redis writes again: everything that it acknowledged is in its file")
                self._left = None
        except _AWAY as away:  # if it has ended, `born` says what that means
            self._log.debug("cannot ask Redis whether it can write: {away}", away=str(away))
        finally:
            self._warning = False

    def _stake(self, left: int) -> None:
        self._log.critical(
            "JOBS ARE AT STAKE: Redis cannot write its file, and {left} acknowledged bytes are only in its "
            "memory: free space on {folder}, and until then do not kill Redis or presque with SIGKILL",
            left=left or "some",
            folder=str(self._room.folder),
        )

    def _lost(self, left: int) -> None:
        self._log.critical(
            "JOBS ARE LOST: Redis has ended, and {left} bytes that it had acknowledged were never written",
            left=left or "some",
        )

    async def unwritten(self) -> int | None:
        """How many bytes of what Redis has answered are not in its file, 0 when it does not say; None for none."""
        facts = await self._control.facts("persistence")
        left = int(facts.get("aof_buffer_length", 0))
        return left if left or facts.get("aof_last_write_status", "ok") != "ok" else None

    def hurry(self) -> None:
        """Wait no longer."""
        self._hurried = True

    async def finish(self, alive: Callable[[], bool]) -> None:
        """Before Redis is stopped: wait until all is written, as long as it is `alive`, and say what is lost if not."""
        ends, remind, left = self._reactor.seconds() + WRITE_PATIENCE, 0.0, None
        silent = self._reactor.seconds() + SILENCE
        while alive() and self._reactor.seconds() < min(ends, silent) and not self._hurried:
            try:
                left = await self.unwritten()
            except _AWAY as away:
                self._log.debug("cannot ask Redis whether it has written: {away}", away=str(away))
            else:
                if left is None:
                    self._left = None
                    return
                silent = self._reactor.seconds() + SILENCE
                if self._reactor.seconds() >= remind:
                    remind = self._reactor.seconds() + REMIND_EVERY
                    self._remind(left)
            await deferLater(self._reactor, WRITE_LOOK)
        if left is not None:
            self._lost(left)
            self._left = None

    def _remind(self, left: int) -> None:
        self._log.critical(
            "presque waits to stop: {left} acknowledged bytes are not in the file of Redis yet: free space on "
            "{folder}; a second SIGTERM ends the wait and loses them",
            left=left or "some",
            folder=str(self._room.folder),
        )
