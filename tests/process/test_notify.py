"""What systemd is told: the real daemon, and a socket that stands for systemd's."""

import os
import signal
import socket
import time

import pytest
from pids import servers_of
from programs import ROOT
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, eventually

from presque.process.notify import take_variables, watchdog_interval

USEC = 1_000_000
WATCHDOG = 4  # seconds


class Manager:
    """The service manager's socket; `facts` is all that came, in order, and `values` all values of a name."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind("\0" + path[1:] if path.startswith("@") else path)
        self.path, self.facts = path, []

    def read(self):
        while True:
            try:
                text = self.socket.recv(65536).decode()
            except BlockingIOError:
                return self.facts
            self.facts += [tuple(line.split("=", 1)) for line in text.split("\n")]

    def values(self, name):
        return [value for each, value in self.read() if each == name]

    async def heard(self, name, words=""):
        """Wait until that came, with those words in its value."""

        async def is_heard():
            return any(words in value for value in self.values(name))

        await eventually(is_heard, f"{name} {words} among {self.facts}")

    def environ(self, watchdog=0.0):
        return {"NOTIFY_SOCKET": self.path} | ({"WATCHDOG_USEC": str(int(watchdog * USEC))} if watchdog else {})


@pytest.fixture(params=["file", "abstract"])
def manager(request, tmp_path):
    path = str(tmp_path / "notify") if request.param == "file" else f"@presque-test-{os.getpid()}-{time.monotonic_ns()}"
    manager = Manager(path)
    yield manager
    manager.socket.close()


@pytest.fixture
def one_manager(tmp_path):
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.socket.close()


@awaiting
async def test_it_is_told_that_we_are_ready_where_we_serve_what_is_wrong_and_that_we_stop(processes, redises, manager):
    redis = redises()
    daemon = processes("--redis", redis.url, environ=manager.environ())
    port = await daemon.listening
    await manager.heard("READY", "1")
    await manager.heard("STATUS", f"Serving on 127.0.0.1:{port}")
    assert manager.values("EXTEND_TIMEOUT_USEC") == ["30000000"]  # so long as we start
    redis.kill()
    await manager.heard("STATUS", "Not ready (store: ")
    redis.start()
    manager.facts.clear()
    await manager.heard("STATUS", "Serving on")
    await daemon.stop()
    assert manager.values("STOPPING") == ["1"]
    assert manager.values("READY") == manager.values("WATCHDOG") == []
    assert manager.values("STATUS")[-1] == "Stopping"


@awaiting
async def test_with_several_processes_it_is_told_once_all_of_them_listen(processes, tmp_path, one_manager):
    daemon = processes("--data-dir", str(tmp_path / "data"), "--processes", "2", environ=one_manager.environ())
    await one_manager.heard("READY", "1")
    assert daemon.log.count("presque listens on") == 2
    await one_manager.heard("STATUS", f"2 processes: Serving on 127.0.0.1:{daemon.port}")
    assert '"report"' not in daemon.log
    os.kill(servers_of(daemon)[0], signal.SIGKILL)
    await one_manager.heard("STATUS", "1 of 2 processes serve")
    one_manager.facts.clear()
    await one_manager.heard("STATUS", "2 processes: Serving")
    await daemon.stop()
    assert one_manager.values("STOPPING") == ["1"]
    assert one_manager.values("READY") == []


@pytest.mark.parametrize("flags", [(), ("--processes", "2")], ids=["one process", "several"])
@awaiting
async def test_the_watchdog_is_fed_while_all_processes_turn_and_even_if_redis_hangs(
    processes, redises, one_manager, flags
):
    redis = redises()
    daemon = processes("--redis", redis.url, *flags, environ=one_manager.environ(watchdog=WATCHDOG))
    await daemon.listening
    await one_manager.heard("READY")
    redis.signal(signal.SIGSTOP)
    one_manager.facts.clear()
    await one_manager.heard("STATUS", "Not ready (store: ")
    one_manager.facts.clear()
    await one_manager.heard("WATCHDOG", "1")
    redis.signal(signal.SIGCONT)
    stopped = servers_of(daemon)[0] if flags else daemon.pid
    os.kill(stopped, signal.SIGSTOP)
    hungry = time.monotonic() + WATCHDOG / 2 + 0.5  # until then it may be fed for what was heard before

    async def is_hungry():
        one_manager.read()
        return time.monotonic() > hungry

    await eventually(is_hungry, "the end of its patience")
    one_manager.facts.clear()
    hungry += WATCHDOG / 2
    await eventually(is_hungry, "the time of the next meal")
    assert one_manager.values("WATCHDOG") == []
    os.kill(stopped, signal.SIGCONT)
    await one_manager.heard("WATCHDOG", "1")


@awaiting
async def test_children_of_ours_do_not_know_systemd_s_variables(processes, tmp_path, one_manager):
    daemon = processes("--data-dir", str(tmp_path / "data"), "--processes", "2", environ=one_manager.environ(30))
    await one_manager.heard("READY")
    for pid in servers_of(daemon):
        assert b"NOTIFY_SOCKET" not in (ROOT / f"/proc/{pid}/environ").read_bytes()


@awaiting
async def test_without_listen_the_sockets_of_systemd_are_taken(processes, redises):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        daemon = processes("--redis", redises().url, listen="", inherits=[listening])
        await daemon.listening
    client = Client(port)
    assert (await client.get("/health/ready")).status == 200
    await client.close()


def test_the_watchdog_of_another_process_is_not_ours():
    environ = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1", "PATH": "/bin"}
    taken = take_variables(environ)
    assert environ == {"PATH": "/bin"}
    assert watchdog_interval(taken) == 0
    assert watchdog_interval({**taken, "WATCHDOG_PID": str(os.getpid())}) == 2
    assert watchdog_interval({"WATCHDOG_USEC": "soon"}) == 0
