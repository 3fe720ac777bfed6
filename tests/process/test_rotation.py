"""Tokens are changed while clients work, with several processes: nobody who has a valid one notices."""

import os
import re
import signal
import threading
import time

import pytest
from load import Client
from pids import listening, servers_of
from pytest_twisted import ensureDeferred as awaiting
from servers import PATIENCE, eventually
from token_files import TokenFile, bearer
from twisted.internet.threads import deferToThread

CLIENTS = 4
READ_AGAIN = re.compile(r"\] \[.*SIGHUP: .* has \d+ tokens")


@pytest.fixture
def file(tmp_path):
    return TokenFile(tmp_path / "tokens")


class Load:
    """Clients that insert jobs, each over a connection that it keeps, with the current token."""

    def __init__(self, port, text):
        self.port, self.text, self.statuses, self.stopped = port, text, [], False
        self.threads = [threading.Thread(target=self.insert, daemon=True) for _ in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def insert(self):
        client = Client(self.port)
        while not self.stopped:
            self.statuses.append(client.ask_plainly("POST", "/q/mail", b"{}", Authorization=bearer(self.text)).status)
        client.close()

    def stop(self):
        self.stopped = True
        for thread in self.threads:
            thread.join(PATIENCE)


def status(port, text):
    """The status of a request over a new connection, which either process may accept."""
    client = Client(port)
    found = client.ask_plainly("GET", "/v1/me", Authorization=bearer(text)).status
    client.close()
    return found


async def more(load):
    """Return once the clients have done more."""
    before = len(load.statuses)

    async def have_done_more():
        return len(load.statuses) > before + 20 * CLIENTS

    await eventually(have_done_more, "further insertions")


async def reload(daemon):
    """SIGHUP to the supervisor; return once both processes have read the file again."""
    before = len(READ_AGAIN.findall(daemon.log))
    os.kill(daemon.pid, signal.SIGHUP)

    async def both_have():
        return len(READ_AGAIN.findall(daemon.log)) >= before + 2

    await eventually(both_have, "both processes have the new tokens")


@awaiting
async def test_a_token_is_replaced_under_load_without_a_refusal(processes, redises, file):
    old = file.add("mail-1", "produce:mail", "read:*")
    daemon = processes("--redis", redises().url, "--processes", "2", "--tokens", str(file.path))
    await listening(daemon)
    load = Load(daemon.port, old)
    try:
        await more(load)
        new = file.add("mail-2", "produce:mail", "read:*")
        await reload(daemon)
        await more(load)
        load.text = new
        await more(load)
        file.remove("mail-1")
        began = time.monotonic()
        await reload(daemon)
        print(f"the old token was refused by both processes after {time.monotonic() - began:.3f} s")
        await more(load)
        refused = [await deferToThread(status, daemon.port, old) for _ in range(8)]
        assert set(refused) <= {401, 429}
        await more(load)
    finally:
        await deferToThread(load.stop)
    assert set(load.statuses) == {201}
    for text in (old, new):
        assert text not in daemon.log
    await daemon.stop()
    assert "Traceback" not in daemon.log, daemon.log


@awaiting
async def test_a_broken_file_changes_nothing_and_a_process_that_dies_meanwhile_comes_back(processes, redises, file):
    """The others go on with the tokens that they have; the new one waits until the file is right."""
    text = file.add("a", "read:*")
    daemon = processes("--redis", redises().url, "--processes", "2", "--tokens", str(file.path))
    one, two = await listening(daemon)
    file.write("broken\n")
    os.kill(daemon.pid, signal.SIGHUP)

    async def said(what, times):
        return daemon.log.count(what) >= times

    await eventually(lambda: said("the tokens stay as they were", 2), "both refuse the file")
    assert await deferToThread(status, daemon.port, text) == 200
    os.kill(one, signal.SIGKILL)
    await eventually(lambda: said("line 2: after the name comes", 3), "the new process refuses the file")
    assert daemon.status is None
    assert two in servers_of(daemon)
    assert await deferToThread(status, daemon.port, text) == 200
    file.write()
    await listening(daemon, 3)
    assert await deferToThread(status, daemon.port, text) == 200
    await daemon.stop()
    assert text not in daemon.log
