"""A Debian that boots in systemd-nspawn, with a network of its own, on a copy of a tree."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from load import until

if TYPE_CHECKING:
    from collections.abc import Iterator

BOOTING = 90.0  # seconds
STOPPING = 30.0  # seconds
CLONE_NEWNET = 0x40000000  # <linux/sched.h>
SHUT_DOWN = signal.SIGRTMIN + 4  # to a container's systemd, see systemd(1)
NSPAWN = ("--quiet", "--boot", "--register=no", "--keep-unit", "--private-network", "--console=read-only")


def missing() -> str:
    """Why no machine can be booted here; empty if one can."""
    if os.geteuid() != 0:
        return "systemd-nspawn needs root"
    for program in ("systemd-nspawn", "nsenter"):
        if shutil.which(program) is None:
            return f"there is no {program}"
    return ""


class Machine:
    """A booted copy of `tree` in `folder`."""

    def __init__(self, tree: Path, folder: Path) -> None:
        self.tree, self.console = folder / "tree", folder / "console"
        subprocess.run(["cp", "-a", "--reflink=auto", tree, self.tree], check=True)
        (self.tree / "etc" / "machine-id").unlink(missing_ok=True)
        self.leader = 0  # the pid of its systemd, as we see it

    def boot(self) -> None:
        """Boot, and wait until everything has started."""
        command = ["setpriv", "--pdeathsig", "TERM", "systemd-nspawn", *NSPAWN, f"--directory={self.tree}"]
        with self.console.open("wb") as console:
            self._nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        try:
            until(self._is_up, BOOTING, "a booted machine")
        except TimeoutError:
            raise RuntimeError(f"it did not boot:\n{self.console.read_text(errors='replace')[-3000:]}") from None

    def _is_up(self) -> bool:
        if self._nspawn.poll() is not None:
            raise RuntimeError(f"it ended:\n{self.console.read_text(errors='replace')[-3000:]}")
        pid = self._nspawn.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self.leader = int(children[0]) if children else 0
        if not self.leader or Path(f"/proc/{self.leader}/comm").read_text() != "systemd\n":
            return False
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    def run(self, *command: str, check: bool = True, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a command in it; what it has written to either output, together."""
        words = ["nsenter", "-t", str(self.leader), "-a", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *command]
        ended = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        assert not check or ended.returncode == 0, f"{' '.join(command)}: {ended.returncode}\n{ended.stdout}"
        return ended

    def said(self, *command: str) -> str:
        """What a command has written."""
        return self.run(*command).stdout.strip()

    def signal(self, name: str, pid: str) -> None:
        """Send a signal to a process in it."""
        self.run("sh", "-c", f"kill -{name} {pid}")  # the shell's own: there may be no other

    def fact(self, name: str, unit: str = "presque.service") -> str:
        """A property of a unit."""
        return self.said("systemctl", "show", "--value", "--property", name, unit)

    def journal(self, *options: str) -> str:
        """What presque has written into the journal, and systemd about it."""
        return self.said("journalctl", "--no-pager", "--unit=presque.service", *options)

    @contextmanager
    def network(self) -> Iterator[None]:
        """Within this, this thread and those that it starts are in the machine's network: its loopback is ours."""
        with open("/proc/thread-self/ns/net") as ours, open(f"/proc/{self.leader}/ns/net") as theirs:
            _enter(theirs.fileno())
            try:
                yield
            finally:
                _enter(ours.fileno())

    def stop(self) -> None:
        """Shut down; whatever does not end is killed."""
        with suppress(ProcessLookupError):
            os.kill(self.leader or self._nspawn.pid, SHUT_DOWN if self.leader else signal.SIGTERM)
        try:
            self._nspawn.wait(STOPPING)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.kill(self.leader, signal.SIGKILL)
            self._nspawn.kill()
            self._nspawn.wait()


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
