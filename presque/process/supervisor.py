"""The supervisor, which starts and stops several serving processes.

The supervisor owns what exists once: the listening sockets, and the private Redis unless another is given. It accepts
no connections. Each child is a `twistd presque` of its own, which inherits the sockets as in sd_listen_fds(3) and gets
the other settings as environment variables. All state is in Redis, so any child can answer any request.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import gatherResults
from twisted.logger import Logger, LogLevel

from presque.process import log_lines
from presque.process.certificate import certificate_of
from presque.process.child_process import Child, Command
from presque.process.listening import SHARED, close, hold, notice_vanished, server_endpoint
from presque.process.notify import SERVING, SUPERVISOR
from presque.process.private_redis.server import PrivateServer
from presque.process.root import Root
from presque.settings import as_variables

if TYPE_CHECKING:
    from presque.settings import Settings

READY_PATIENCE = 10.0  # seconds to wait for Redis before starting processes anyway, which then answer 503
HASTE = 0.5  # part of the watchdog's time in which the children must say that they are alive
FIRST_FD = 3  # of the inherited sockets, see sd_listen_fds(3)
TWISTD = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; sys.exit(run())"
WORDS = (sys.executable, "-P", "-c", TWISTD, "--nodaemon", "--pidfile=", "presque")

_REASON = re.compile(r".*\bpresque ends: (.+)")
_TOKENS = re.compile(r"presque: --tokens ")


class Supervisor(Root):
    """Keeps `settings.processes` children alive. A child that exits with a status above 0 (because it cannot use its
    settings or its Redis) would do so again: then all exit, with status 1 and the child's reason. Only a file of tokens
    that has become wrong since we started may become right again: that child is restarted until it is.
    """

    _log = Logger()

    def __init__(self, settings: Settings, reactor: Any, patience: float) -> None:
        super().__init__(reactor)
        self.settings = settings
        self.server = None if settings.redis else PrivateServer(reactor, settings, self._end)
        self.ports: list[Any] = []
        self.children: list[Child] = []
        self._patience = patience  # seconds that a child may take to stop
        self._endpoints = [server_endpoint(reactor, text) for text in settings.listen]
        self._reports: dict[int, dict[str, str]] = {}  # pid -> what it has told, the last of each name
        self._alive_at: dict[int, float] = {}  # pid -> when it last said that all in it turns
        self._began_at = reactor.seconds()
        self._are_ready = False
        self._reasons: dict[int, str] = {}  # pid -> the reason that it logged before it ended
        certificate_of(settings)  # what cannot be served is refused here, before anything starts
        self.on_reload(self.reload_children)
        self._tokenless: set[int] = set()  # those that ended because of a file of tokens, which may be right again

        if self.server is not None:
            self.server.became_ready = self.changed
            self.register("the private Redis", self._start_server, self.server.stop)
        self.register("the listening sockets", self._hold, self._release)
        self.register("the processes", self._start_children, self._stop_children)

    async def _start_server(self) -> None:
        if self.server is not None:
            await self.server.start()
        if self.server is not None and self.running:
            await self._until(self.server.is_ready, READY_PATIENCE)

    async def _hold(self) -> None:
        for endpoint in self._endpoints:
            if self.running:
                port = await hold(endpoint)
                notice_vanished(port, self.settings.request_timeout)
                self.ports.append(port)
                self._log.info("presque holds {address}", address=port.getHost())

    async def _release(self) -> None:
        ports, self.ports = self.ports, []
        await close(ports)

    def reload_children(self) -> None:
        """Have every child reload what it can: for `on_reload`."""
        for child in self.children:
            child.reload()

    def _start_children(self) -> None:
        command = self._command()
        for number in range(1, self.settings.processes + 1):
            child = Child(f"process {number}", command, self._patience, self._reactor, self._heard, self._gave_up)
            self.children.append(child)
            child.start()

    async def _stop_children(self) -> None:
        """Stop all children; close our sockets too, so that no connection waits for us meanwhile."""
        stopped = [child.stop() for child in self.children]
        await self._release()
        await gatherResults(stopped)

    def _command(self) -> Command:
        families = [port.socket.family.name.removeprefix("AF_") for port in self.ports]
        names = [f"{SHARED}{index}" for index in range(len(self.ports))]
        own = replace(
            self.settings,
            listen=tuple(f"systemd:domain={family}:name={name}" for family, name in zip(families, names, strict=True)),
            redis=self.server.url if self.server is not None else self.settings.redis,
            processes=1,
            log_format="json",  # each line is an event, of which we make the lines that are wanted, from the level on
            log_level="debug",
        )
        environ = {name: text for name, text in os.environ.items() if not name.startswith(("PRESQUE_", "LISTEN_"))}
        environ |= as_variables(own)
        environ |= {"LISTEN_FDS": str(len(names)), "LISTEN_FDNAMES": ":".join(names)}
        if self.notifier is not None:
            environ |= {SUPERVISOR: str(os.getpid()), "WATCHDOG_USEC": f"{self.notifier.watchdog * HASTE * 1e6:.0f}"}
        descriptors = {FIRST_FD + index: port.fileno() for index, port in enumerate(self.ports)}
        return Command(WORDS, environ, descriptors)

    def _heard(self, pid: int, line: str) -> None:
        """Copy an event of a child's log, which is JSON, into ours; or a line that it wrote otherwise."""
        event = log_lines.read(line) or {"message": line}
        if "report" in event:
            self._reported(pid, event["report"])
            return
        if said := _REASON.match(event["message"]):
            self._reasons[pid] = said[1]
        if _TOKENS.match(event["message"]):
            self._tokenless.add(pid)
        about = {"pid": pid, "line": log_lines.brief(event), "log_every": True}
        if "logger" in event:
            about["passed_on"] = event
        self._log.emit(LogLevel.levelWithName(event.get("level", "info")), "[{pid}] {line}", **about)

    def _reported(self, pid: int, report: dict[str, str]) -> None:
        """A child has told how it is, as in sd_notify(3)."""
        if pid not in self._reports:  # it is new: forget those that have ended
            living = {child.pid for child in self.children}
            self._reports = {each: told for each, told in self._reports.items() if each in living} | {pid: {}}
            self._alive_at = {each: at for each, at in self._alive_at.items() if each in living}
        self._reports[pid] |= report
        if "WATCHDOG" in report:
            self._alive_at[pid] = self._reactor.seconds()
        if "READY" in report and self.notifier is not None and not self._are_ready and self._all("READY"):
            self._are_ready = True
            self.notifier.ready()

    def _all(self, name: str) -> bool:
        """Whether every child has reported that."""
        return all(name in self._reports.get(child.pid, {}) for child in self.children)

    def _all_started(self) -> None:
        """The children are started, and say themselves when they listen."""

    def status(self) -> str:
        """How the children are: what is wrong with one of them, or what they say."""
        said = [self._reports.get(child.pid, {}).get("STATUS", "") for child in self.children]
        if not said or not self._all("READY"):
            serving = sum("READY" in self._reports.get(child.pid, {}) for child in self.children)
            return f"{serving} of {self.settings.processes} processes serve"
        wrong = next((each for each in said if not each.startswith(SERVING)), "")
        return wrong or f"{len(said)} processes: {said[0]}"

    def is_alive(self, patience: float) -> bool:
        """Whether every child that runs has said so within `patience` seconds."""
        now = self._reactor.seconds()
        stopping = not self.running
        return stopping or all(now - self._alive_at.get(each.pid, self._began_at) <= patience for each in self.children)

    def _gave_up(self, pid: int, status: int) -> bool:
        """Whether the reason of a child, which has ended with a status above 0, ends us all."""
        if pid in self._tokenless:  # the others go on with the tokens that they have
            self._tokenless.discard(pid)
            return False
        self._end(self._reasons.get(pid) or f"process {pid} ended with status {status}")
        return True

    def _hurry(self) -> None:
        if self.server is not None:
            self.server.writing.hurry()
