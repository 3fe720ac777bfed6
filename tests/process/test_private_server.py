"""The private redis-server: its folder, its death, the daemon's death, and never two on one folder."""

import os
import signal
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred as awaiting
from servers import LOOPBACK, Client, eventually, port_of
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred

from presque.service import make_service
from presque.settings import settings

JOB = b'{"key":"value"}'


def redis_on(folder):
    """The pids of the redis-servers whose socket is in `folder`, without the children that rewrite their files."""
    found = {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                title = (process / "cmdline").read_bytes()
                state, parent = (process / "stat").read_text().rsplit(")", 1)[1].split()[:2]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if str(folder).encode() in title and b"unixsocket" in title and state != "Z":
                found[int(process.name)] = int(parent)
    return [pid for pid, parent in found.items() if parent not in found]


async def count(client, path="/status/foo"):
    return (await client.get(path)).json["size"]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


@awaiting
async def test_jobs_survive_the_death_of_the_daemon_and_no_server_is_left_behind(processes, folder):
    inserted = 0
    for _ in range(3):
        daemon = processes("--data-dir", str(folder))
        client = Client(await daemon.listening)
        assert await count(client) == inserted
        for _ in range(20):
            assert (await client.post("/q/foo", JOB)).status == 201
            inserted += 1
        await client.close()
        assert len(redis_on(folder)) == 1
        await daemon.kill()

    async def nobody_left():
        return not redis_on(folder)

    began = os.times().elapsed
    await eventually(nobody_left, "the end of the orphan")
    assert os.times().elapsed - began < 2


@pytest.mark.parametrize("fsync", ["everysec", "always"])
@awaiting
async def test_redis_writes_before_it_answers_and_its_file_is_synced_every_second(folder, fsync, monkeypatch):
    """Redis' own `everysec` answers before it writes while its fsync runs: what it answered would die with it."""
    synced = []

    def sync(descriptor):
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), os.fstat(descriptor).st_size))

    monkeypatch.setattr(
        os, "fdatasync", lambda fd: synced.append((os.readlink(f"/proc/self/fd/{fd}"), os.fstat(fd).st_size))
    )
    daemon = make_service(settings({"listen": LOOPBACK, "data-dir": str(folder), "fsync": fsync}, {}), reactor)
    daemon.startService()
    await daemon.started
    client = Client(port_of(daemon))
    (connection,) = daemon.store.topology.connections
    asked = await connection.execute_command("CONFIG", "GET", "appendfsync")
    assert asked[1] == (b"no" if fsync == "everysec" else b"always")

    async def grown_twice():
        assert (await client.post("/q/foo", JOB)).status == 201
        return len({size for _, size in synced}) > 2

    if fsync == "everysec":
        await eventually(grown_twice, "two syncs of a file that grows")
        assert {path for path, _ in synced} <= {str(path) for path in folder.rglob("appendonly.aof*")}
    await client.close()
    await maybeDeferred(daemon.stopService)
    assert bool(synced) == (fsync == "everysec")


@awaiting
async def test_a_daemon_waits_for_the_server_of_one_that_was_killed(processes, folder):
    daemon = processes("--data-dir", str(folder))
    client = Client(await daemon.listening)
    await client.post("/q/foo", JOB)
    await client.close()
    (server,) = redis_on(folder)
    os.kill(server, signal.SIGSTOP)  # it cannot end with its daemon now
    await daemon.kill()
    assert redis_on(folder) == [server]
    other = processes("--data-dir", str(folder))

    async def second_daemon_waits():
        return "starting up" in other.log

    await eventually(second_daemon_waits, "the second daemon")
    assert redis_on(folder) == [server]
    os.kill(server, signal.SIGCONT)
    client = Client(await other.listening)
    assert await count(client) == 1
    assert len(redis_on(folder)) == 1
    await client.close()


@awaiting
async def test_a_server_that_dies_is_started_again_with_its_jobs(processes, folder):
    daemon = processes("--data-dir", str(folder))
    client = Client(await daemon.listening)
    for inserted in range(1, 4):
        assert (await client.post("/q/foo", JOB)).status == 201
        (server,) = redis_on(folder)
        os.kill(server, signal.SIGKILL)

        async def back(killed=server):
            return redis_on(folder) not in ([], [killed]) and (await client.get("/status/foo")).status == 200

        await eventually(back, "the server")
        assert len(redis_on(folder)) == 1
        assert await count(client) == inserted
    await client.close()


@awaiting
async def test_a_second_daemon_on_a_folder_says_whose_it_is_and_ends(processes, folder):
    daemon = processes("--data-dir", str(folder))
    await daemon.listening
    other = processes("--data-dir", str(folder))
    other.listening.addErrback(lambda failure: None)
    await other.end()
    assert other.status == 1
    assert f"{folder} is in use by another presque (pid {daemon.pid})" in other.log
    assert "Traceback" not in other.log
    assert len(redis_on(folder)) == 1


@awaiting
async def test_sigterm_ends_both_and_keeps_the_jobs(processes, folder):
    daemon = processes("--data-dir", str(folder))
    client = Client(await daemon.listening)
    await client.post("/q/foo", JOB)
    await client.close()
    await daemon.stop()
    assert "Traceback" not in daemon.log
    assert redis_on(folder) == []
    daemon = processes("--data-dir", str(folder))
    client = Client(await daemon.listening)
    assert (await client.get("/q/foo")).body == JOB
    await client.close()


@awaiting
async def test_the_folder_and_its_socket_are_for_us_alone(processes, folder):
    folder.mkdir(mode=0o755)
    daemon = processes("--data-dir", str(folder))
    await daemon.listening
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "redis.sock").stat().st_mode & 0o077 == 0


@awaiting
async def test_a_folder_whose_path_is_too_long_for_a_socket_is_no_obstacle(processes, tmp_path):
    folder = tmp_path / ("deep" * 20) / ("deeper" * 10)
    daemon = processes("--data-dir", str(folder))
    client = Client(await daemon.listening)
    assert (await client.post("/q/foo", JOB)).status == 201
    await client.close()
    await daemon.stop()
    assert (folder / "appendonly.aof").exists() or (folder / "appendonlydir").exists()


@awaiting
async def test_a_folder_that_cannot_be_made_ends_the_daemon_in_one_line(processes, tmp_path):
    (tmp_path / "file").write_text("")
    daemon = processes("--data-dir", str(tmp_path / "file" / "data"))
    daemon.listening.addErrback(lambda failure: None)
    await daemon.end()
    assert daemon.status == 1
    assert "presque ends:" in daemon.log
    assert "Traceback" not in daemon.log


@awaiting
async def test_an_address_in_use_ends_the_daemon_in_one_line(processes, tmp_path):
    daemon = processes("--data-dir", str(tmp_path / "one"))
    port = await daemon.listening
    other = processes("--data-dir", str(tmp_path / "two"), listen=f"tcp:{port}:interface=127.0.0.1")
    other.listening.addErrback(lambda failure: None)
    await other.end()
    assert other.status == 1
    assert f"Couldn't listen on 127.0.0.1:{port}" in other.log
    assert "Traceback" not in other.log
    assert redis_on(tmp_path / "two") == []


@awaiting
async def test_a_store_made_with_other_partitions_is_refused(processes, folder):
    daemon = processes("--data-dir", str(folder), "--partitions", "4")
    client = Client(await daemon.listening)
    for name in ("a", "b", "c", "d", "e"):
        assert (await client.post(f"/q/{name}", JOB, X_presque_workerid="w")).status == 201
        assert (await client.post(f"/w/{name}?worker_id=w", b"")).status == 201
    assert (await client.get("/status/")).json["queues"] == ["a", "b", "c", "d", "e"]
    assert (await client.get("/w/?worker_id=w")).json["queues"] == ["a", "b", "c", "d", "e"]
    assert (await client.get("/w/")).json["workers_list"] == ["w"]
    await client.close()
    await daemon.stop()
    other = processes("--data-dir", str(folder))
    other.listening.addErrback(lambda failure: None)
    await other.end()
    assert other.status == 1
    assert "--partitions is 1, but this store was made with 4" in other.log
