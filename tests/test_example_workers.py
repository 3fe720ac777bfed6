"""The workers that the page about `/v1` shows, as people copy them: taken from the page, and run."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
from programs import ROOT
from pytest_twisted import async_yield_fixture
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, eventually, port_of
from twisted.internet.threads import deferToThread
from v1 import insert, look, send

PAGE = (ROOT / "docs" / "v1.md").read_text()
PROGRAMS = {"bash": ("bash", "worker.sh"), "python": (sys.executable, "worker.py")}
LEASE = 2  # seconds
SHELL = "echo $$ >{folder}/pid; sleep 600 & echo $! >{folder}/grandchild; touch {folder}/started; wait"


@pytest.fixture(params=PROGRAMS)
def start(request, tmp_path):
    """Starts the worker on a port, with a command; ends it after the test."""
    if request.param == "bash" and not (shutil.which("jq") and shutil.which("curl")):
        assert "CI" not in os.environ, "the worker in shell needs curl and jq"
        pytest.skip("there is no curl or no jq")
    (text,) = re.findall(rf"```{request.param}\n(.*?)```", PAGE, re.DOTALL)
    program, name = PROGRAMS[request.param]
    (tmp_path / name).write_text(text)
    started = []

    def run(port, *command, lease=LEASE):
        words = [program, str(tmp_path / name), f"http://127.0.0.1:{port}", "mail", *command]
        environ = {**os.environ, "LEASE": str(lease)}
        with open(tmp_path / "printed", "wb") as printed:
            started.append(subprocess.Popen(words, env=environ, stdout=printed, start_new_session=True))
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@async_yield_fixture()
async def unbound(processes):
    """Clients of daemons that are no fixture."""
    clients = []

    def to(port):
        clients.append(Client(port))
        return clients[-1]

    yield to
    for each in clients:
        await each.close()


async def appears(path):
    async def there():
        return path.exists()

    await eventually(there, path.name)


async def ends(client, job_id):
    async def gone():
        return (await client.get(f"/v1/jobs/{job_id}")).status == 404

    await eventually(gone, f"the end of {job_id}")


def lives(path):
    """Whether the process whose id is in the file is there, and more than a zombie."""
    try:
        with open(f"/proc/{int(path.read_text())}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@awaiting
async def test_the_command_gets_the_payload_byte_for_byte(daemon, client, start, tmp_path):
    payloads = [
        b"12345678901234567890",
        b'{"n":1.50}',
        b'{"a" : [1e2,\t-0, 0.10],\n "receipt":"x","headers":{"payload":1},"e":"\\u00e9\xc3\xa9"}',
        b"9" * 5000,
        b'"' + b"x" * 500_000 + b'"',
        b"null",
    ]
    headers = json.dumps({"payload": "1", "headers": ',"headers":{', "receipt": ',"receipt":'}).encode()
    for n, payload in enumerate(payloads):
        options = b',"headers":' + headers if n % 2 else b""
        answer = await client.post("/v1/queues/mail/jobs", b'{"payload": ' + payload + options + b" }")
        assert answer.status == 201
    start(port_of(daemon), "bash", "-c", "cat; echo ,")

    await ends(client, answer.json["id"])
    assert (tmp_path / "printed").read_bytes() == b"".join(payload + b",\n" for payload in payloads)
    counts = (await client.get("/v1/queues/mail")).json
    assert (counts["ready"], counts["delayed"], counts["leased"], counts["dead"], counts["failed"]) == (0, 0, 0, 0, 0)


@awaiting
async def test_a_job_of_three_leases_is_done_once(daemon, client, start, tmp_path):
    (job_id,) = await insert(client, 1, queue="mail")
    start(port_of(daemon), "bash", "-c", f"echo run; sleep {3 * LEASE}")
    await ends(client, job_id)
    assert (tmp_path / "printed").read_bytes() == b"run\n"
    assert (await client.get("/v1/queues/mail")).json["failed"] == 0


@pytest.mark.parametrize(
    ("command", "head", "tail"),
    [
        ("echo broken >&2; exit 3", "broken", "broken"),
        ("exit 3", "exit status 3", "3"),
        (f"{sys.executable} -c \"print('head', 'é' * 100_000, 'tail')\" >&2; false", "head ééé", "ééé tail"),
        ("printf 'a\\377\\000b\"\\\\' >&2; false", "a\ufffd\0b", 'b"\\'),
    ],
    ids=["short", "none", "200 kB", "odd bytes"],
)
@awaiting
async def test_what_a_failing_command_says_is_the_error(daemon, client, start, command, head, tail):
    (job_id,) = await insert(client, 1, queue="mail")
    start(port_of(daemon), "bash", "-c", command)

    async def failed():
        return (await look(client, job_id)).get("last_error")

    error = await eventually(failed, "the failure")
    assert error.startswith(head)
    assert error.rstrip("\n").endswith(tail)
    assert len(error) <= 1000


@awaiting
async def test_a_command_that_is_not_there_is_an_error(daemon, client, start):
    (job_id,) = await insert(client, 1, queue="mail")
    start(port_of(daemon), "/no/such/command")

    async def failed():
        return (await look(client, job_id)).get("last_error")

    assert "No such file" in await eventually(failed, "the failure")


@awaiting
async def test_sigterm_stops_the_command_and_releases_its_job(daemon, client, start, tmp_path):
    (job_id,) = await insert(client, 1, queue="mail")
    worker = start(port_of(daemon), "bash", "-c", SHELL.format(folder=tmp_path))
    await appears(tmp_path / "started")

    worker.send_signal(signal.SIGTERM)
    await deferToThread(worker.wait, 20)
    assert not lives(tmp_path / "pid")
    assert not lives(tmp_path / "grandchild")
    job = await look(client, job_id)
    assert (job["state"], job["attempts"]) == ("ready", 0)


@awaiting
async def test_a_command_that_ignores_sigterm_is_killed(daemon, client, start, tmp_path):
    (job_id,) = await insert(client, 1, queue="mail")
    worker = start(port_of(daemon), "bash", "-c", "trap '' TERM; " + SHELL.format(folder=tmp_path))
    await appears(tmp_path / "started")
    worker.send_signal(signal.SIGTERM)
    await deferToThread(worker.wait, 20)
    assert not lives(tmp_path / "pid")
    assert ((await look(client, job_id))["state"], (await look(client, job_id))["attempts"]) == ("ready", 0)


@awaiting
async def test_sigterm_while_there_is_no_job_leaves_none_leased(daemon, client, start):
    worker = start(port_of(daemon), "true")
    (job_id,) = await insert(client, 1, queue="mail")
    await ends(client, job_id)
    worker.send_signal(signal.SIGTERM)
    (late,) = await insert(client, 1, queue="mail")
    await deferToThread(worker.wait, 20)
    assert (await client.get(f"/v1/jobs/{late}")).status == 404 or (await look(client, late))["state"] == "ready"


@awaiting
async def test_the_lease_of_a_worker_that_was_killed_runs_out(daemon, client, start, tmp_path):
    (job_id,) = await insert(client, 1, queue="mail")
    worker = start(port_of(daemon), "bash", "-c", SHELL.format(folder=tmp_path))
    await appears(tmp_path / "started")
    worker.kill()
    worker.wait()

    async def is_back():
        return (await look(client, job_id))["state"] == "ready"

    await eventually(is_back, "the end of its lease")
    with suppress(ProcessLookupError):  # the worker in shell has an extender, which stops the command
        os.killpg(os.getpgid(int((tmp_path / "grandchild").read_text())), signal.SIGKILL)


@awaiting
async def test_the_command_of_a_deleted_job_is_stopped_and_the_next_one_runs(daemon, client, start, tmp_path):
    (job_id,) = await insert(client, 1, queue="mail")
    start(port_of(daemon), "bash", "-c", f"[ -e {tmp_path}/started ] || {{ {SHELL.format(folder=tmp_path)}; }}")
    await appears(tmp_path / "started")
    assert (await client.delete(f"/v1/jobs/{job_id}")).status == 204

    (following,) = await insert(client, 2, queue="mail")
    await ends(client, following)
    assert not lives(tmp_path / "pid")
    assert not lives(tmp_path / "grandchild")


@awaiting
async def test_presque_may_restart_while_a_job_runs(redis, processes, start, unbound, tmp_path):
    redis.command("FLUSHALL")
    first = processes("--redis", redis.url)
    port = await first.listening
    client = unbound(port)
    (job_id,) = await insert(client, 1, queue="mail")
    assert (await send(client, "queues/mail/pause")).status == 204
    command = f"touch {tmp_path}/started; until [ -e {tmp_path}/go ]; do sleep 0.1; done; echo run"
    start(port, "bash", "-c", command, lease=30)
    assert (await send(client, "queues/mail/resume")).status == 204
    await appears(tmp_path / "started")

    await first.stop()
    (tmp_path / "go").touch()  # the command ends while presque is away
    await processes("--redis", redis.url, listen=f"tcp:{port}:interface=127.0.0.1").listening
    client = unbound(port)
    await ends(client, job_id)
    assert (tmp_path / "printed").read_bytes() == b"run\n"
    assert (await client.get("/v1/queues/mail")).json["failed"] == 0
