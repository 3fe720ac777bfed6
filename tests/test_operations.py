"""What the page about operations shows is what happens: its commands are run as written, on real servers."""

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from certificates import ONE_DAY, Issued
from programs import ROOT, redis_program
from pytest_twisted import async_yield_fixture
from pytest_twisted import ensureDeferred as awaiting
from servers import Client
from twisted.internet.threads import deferToThread
from v1 import insert, reserve, settle

from presque.process.certificate import Certificate

PAGE = (ROOT / "docs" / "operations.md").read_text()
COMMANDS = dict(re.findall(r"<!-- ([\w ]+) -->\n```sh\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture
def shell(tmp_path):
    """Runs the commands under that name on the page, in a thread; variables as keywords."""
    path = f"{Path(redis_program()).parent}:{os.environ['PATH']}"
    if shutil.which("redis-cli", path=path) is None:
        assert "CI" not in os.environ, "the page about operations needs redis-cli"
        pytest.skip("there is no redis-cli")
    folders = {"DATA": tmp_path / "data", "BACKUP": tmp_path / "backup"}

    def run(name, **more):
        environ = {"PATH": path, **{key: str(value) for key, value in {**folders, **more}.items()}}
        command = ["bash", "-euo", "pipefail", "-c", COMMANDS[name]]
        return deferToThread(subprocess.run, command, env=environ, check=True, timeout=30)

    run.data, run.new = folders["DATA"], tmp_path / "new"
    return run


@async_yield_fixture()
async def serve(processes, shell):
    """Starts a daemon, by default with a private Redis in $DATA; the daemon and a client of it."""
    clients = []

    async def start(*flags):
        path = f"{Path(redis_program()).parent}:{os.environ['PATH']}"
        flags = flags or ("--data-dir", str(shell.data))
        process = processes(*flags, environ={"PATH": path})
        clients.append(Client(await process.listening))
        return process, clients[-1]

    yield start
    for client in clients:
        await client.close()


async def payloads(client):
    """All that is ready, each acknowledged."""
    found = []
    for job in await reserve(client, max=100):
        found.append(job["payload"])
        assert (await settle(client, "ack", job)).status == 204
    return found


@awaiting
async def test_a_copy_of_the_files_brings_everything_back(shell, serve):
    process, client = await serve()
    await insert(client, "kept", unique="k")
    await shell("rewrite")
    await insert(client, "after the rewrite")
    await process.stop()
    await shell("cold backup")

    process, client = await serve()
    assert await payloads(client) == ["kept", "after the rewrite"]
    await insert(client, "lost")
    await process.stop()
    await shell("cold restore")

    _, client = await serve()
    assert (await client.post("/v1/queues/foo/jobs", b'{"payload":1,"unique":"k"}')).status == 409
    assert await payloads(client) == ["kept", "after the rewrite"]


@awaiting
async def test_a_snapshot_is_made_while_presque_runs(shell, serve):
    process, client = await serve()
    await insert(client, "kept")
    await shell("hot backup")
    await insert(client, "lost")
    await process.stop()
    await shell("hot restore")

    process, client = await serve()
    assert await payloads(client) == ["kept"]
    await insert(client, "written after the restore")
    await process.kill()
    _, client = await serve()
    assert await payloads(client) == ["written after the restore"]


@awaiting
async def test_the_private_files_are_those_of_a_redis_of_ones_own(shell, serve, redises):
    process, client = await serve()
    await insert(client, "moved")
    await process.stop()

    server = redises()
    server.command("FLUSHALL")
    server.kill()
    for old in server.folder.glob("append*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    await shell("move out", NEW=server.folder)
    server.start()
    _, client = await serve("--redis", server.url)
    assert await payloads(client) == ["moved"]


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@awaiting
async def test_replication_moves_a_store(shell, serve, redises):
    ports = {"OLD_PORT": free_port(), "NEW_PORT": free_port()}
    old, new = (redises("--port", str(port), "--bind", "127.0.0.1") for port in ports.values())
    process, client = await serve("--redis", old.url)
    await insert(client, "before")
    await shell("replicate", **ports)
    await insert(client, "while it is copied")
    await process.stop()
    await shell("promote", **ports)

    _, client = await serve("--redis", new.url)
    assert await payloads(client) == ["before", "while it is copied"]


@awaiting
async def test_the_deploy_hook_of_certbot_renews_what_is_served(tmp_path):
    """As root it would write to /etc/presque and give the file to the service's group."""
    hook = COMMANDS["deploy hook"].replace("/etc/presque", str(tmp_path))
    hook = hook.replace("root:presque", f"{os.getuid()}:{os.getgid()}")
    lineage = tmp_path / "live"
    lineage.mkdir()

    def renew(issued):
        (lineage / "privkey.pem").write_bytes(issued.key_pem())
        (lineage / "fullchain.pem").write_bytes(issued.pem)
        subprocess.run(["sh", "-c", hook], env={**os.environ, "RENEWED_LINEAGE": str(lineage)}, check=True, timeout=30)

    renew(Issued("localhost"))
    certificate = Certificate(tmp_path / "tls.pem", None)
    renewed = Issued("localhost", ends=60 * ONE_DAY)
    renew(renewed)
    assert [await certificate.look() for _ in range(2)] == [0, 1]
    assert certificate.not_after == renewed.certificate.not_valid_after_utc.timestamp()
    assert (tmp_path / "tls.pem").stat().st_mode & 0o777 == 0o640


def test_every_command_of_the_page_is_tried():
    text = (ROOT / "tests" / "test_operations.py").read_text()
    begin, rest = PAGE.split("## The files of the private Redis")  # how it is begun has tests of its own
    assert begin.count("```sh") == 6
    assert len(COMMANDS) == rest.count("```sh") + 1 > 5
    for name in COMMANDS:
        assert f'shell("{name}"' in text or f'COMMANDS["{name}"]' in text, name
