"""Several processes behind one socket: they know the same, come back, stop together and leave nobody behind."""

import os
import random
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
import pytest_twisted
from pids import (
    INSERT,
    accepted,
    ask,
    connection_to,
    family,
    insert,
    listening,
    servers_of,
)
from proc import lives, words
from programs import ROOT
from pytest_twisted import ensureDeferred as awaiting
from servers import LOOPBACK, PATIENCE, Client, eventually, raw_connection
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectError
from twisted.internet.threads import deferToThread

from presque.redis import keys

JOB = b'{"key":"value"}'


SECRET = "S3cret"


async def ended_for(reason, daemon):
    """Wait until the supervisor has ended by itself; it must have said why in one line, and left nobody behind."""
    daemon.listening.addErrback(lambda failure: None)
    children = family(daemon.pid)
    assert await daemon.end() == 1, daemon.log
    assert len(re.findall(rf"Supervisor#critical\] presque ends: {reason}", daemon.log)) == 1, daemon.log
    assert "Traceback" not in daemon.log
    assert not any(lives(pid) for pid in children)


@pytest_twisted.async_yield_fixture()
async def pair(processes, tmp_path):
    """A supervisor with a private Redis and two processes, both of which listen."""
    daemon = processes("--data-dir", str(tmp_path / "data"), "--processes", "2")
    await listening(daemon)
    yield daemon


@awaiting
async def test_what_one_process_was_told_the_other_knows(pair):
    one, two = servers_of(pair)
    first, second = await connection_to(pair.port, one, [two]), await connection_to(pair.port, two, [one])
    for connection, times in ((first, 3), (second, 4)):
        for _ in range(times):
            await ask(connection, "POST", "/q/foo", JOB)
        assert await ask(connection, "GET", "/q/foo?worker_id=w") == JOB
    await ask(second, "PUT", "/q/foo?worker_id=w", JOB)
    for path in ("/status/", "/status/foo", "/j/foo", "/w/?worker_id=w", "/w/?queue_name=foo", "/w/"):
        assert await ask(first, "GET", path) == await ask(second, "GET", path), path
    counted = b'{"queue_name":"foo","job_count":6,"job_failed":1,"job_processed":2}'
    assert await ask(first, "GET", "/j/foo") == counted
    await ask(first, "POST", "/control/foo", b'{"status":"stop"}')
    assert await ask(second, "GET", "/q/foo") == b'{"error":"queue is closed"}'


@awaiting
async def test_a_lease_of_one_process_is_settled_at_the_other(pair):
    one, two = servers_of(pair)
    first, second = await connection_to(pair.port, one, [two]), await connection_to(pair.port, two, [one])
    await ask(first, "POST", "/v1/queues/mail/jobs", b'{"payload":1}')
    (job,) = msgspec.json.decode(await ask(second, "POST", "/v1/queues/mail/reservations", b"{}"))["jobs"]
    for connection in (first, second):
        assert b'"leased":1,' in await ask(connection, "GET", "/v1/queues/mail")
    await ask(first, "POST", f"/v1/jobs/{job['id']}/ack", msgspec.json.encode({"receipt": job["receipt"]}))
    for connection in (first, second):
        assert b'"leased":0,' in await ask(connection, "GET", "/v1/queues/mail")


@awaiting
async def test_a_consumer_who_waits_at_one_process_is_woken_by_an_insertion_at_the_other(pair):
    one, two = servers_of(pair)
    consumer, producer = await connection_to(pair.port, one, [two]), await connection_to(pair.port, two, [one])
    await ask(producer, "GET", "/status/")
    consumer.transport.write(b"GET /q/foo?wait=30 HTTP/1.1\r\nHost: x\r\n\r\n")
    await ask(producer, "GET", "/q/foo?wait=0.2")
    began = time.monotonic()
    await ask(producer, "POST", "/q/foo", JOB)
    assert (await consumer.until(b"\r\n\r\n{")).endswith(JOB)
    assert time.monotonic() - began < 1


@awaiting
async def test_connections_that_come_at_once_are_spread_over_the_processes(pair):
    pids, spread = servers_of(pair), []
    for _ in range(5):  # a machine that is busy may let one process sleep for a while
        connections = await gatherResults([raw_connection(pair.port) for _ in range(32)])
        spread.append(min((await accepted(pair.port, pids, connections)).values()))
        for connection in connections:
            connection.transport.abortConnection()
        await gatherResults([connection.end() for connection in connections])
    print("of 32 connections the process with fewer had:", spread)
    assert max(spread) >= 6, spread  # if only who wakes first took them, it would be 1 or none each time


@awaiting
async def test_connections_that_come_one_by_one_are_spread_over_the_processes(pair):
    pids, spread = servers_of(pair), []
    for _ in range(3):
        connections = []
        for _ in range(16):
            connections.append(await raw_connection(pair.port))
            found = await accepted(pair.port, pids, connections)
        spread.append(min(found.values()))
        for connection in connections:
            connection.transport.abortConnection()
        await gatherResults([connection.end() for connection in connections])
    print("of 16 connections the process with fewer had:", spread)
    assert max(spread) >= 2, spread


@awaiting
async def test_a_process_that_is_killed_comes_back_and_no_acknowledged_job_is_lost(pair):
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    acknowledged, tried, producing = set(), 0, True

    async def produce():
        nonlocal tried
        while producing:
            tried += 1
            job = b'{"n":%d}' % tried
            client = Client(pair.port)
            try:
                if (await client.post("/q/foo", job)).status == 201:
                    acknowledged.add(job)
            except Exception:  # whatever treq says of a connection that broke: the process was killed
                await client.close()
                continue
            await client.close()

    producers = [Deferred.fromCoroutine(produce()) for _ in range(4)]
    for killed in range(4):
        before, had = servers_of(pair), len(acknowledged)

        async def more(had=had):
            return len(acknowledged) > had + 20

        await eventually(more, "some insertions")
        os.kill(chance.choice(before), signal.SIGKILL)
        after = await listening(pair, 3 + killed)
        assert len(after) == 2
        assert len(set(after) - set(before)) == 1
    producing = False
    await gatherResults(producers)
    client, came = Client(pair.port), set()
    while jobs := (await client.get("/qb/foo?batch_size=1000&wait=0")).json:
        if "error" in jobs:
            break
        came |= {job.encode() for job in jobs}
    await client.close()
    assert acknowledged <= came
    assert len(re.findall(r"process \d ended .*signal 9.*again in 0.\d s", pair.log)) == 4


@awaiting
async def test_the_death_of_the_supervisor_leaves_neither_processes_nor_a_redis_behind(pair):
    children = family(pair.pid)
    assert len(children) == 3
    client = Client(pair.port)
    assert (await client.post("/q/foo", JOB)).status == 201
    await client.close()
    began = time.monotonic()
    await pair.kill()

    async def nobody_left():
        return not any(lives(pid) for pid in children)

    await eventually(nobody_left, "the end of the orphans")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@awaiting
async def test_no_accepted_request_is_cut_and_no_job_is_lost_when_all_stop(processes, redises, number):
    redis = redises()
    daemon = processes("--redis", redis.url, "--processes", "2")
    pids = await listening(daemon)
    acknowledged, unserved = 0, 0

    async def produce(connection):
        """Insert until the daemon says that it closes; every request gets its answer."""
        nonlocal acknowledged
        while True:
            connection.received = b""
            connection.transport.write(INSERT)
            answer = await connection.until(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 201 "), answer
            acknowledged += 1
            if b"Connection: close" in answer:
                await connection.end()
                return

    async def visit():
        """Come anew again and again: one is served, or turned away at once, never taken in and forgotten."""
        nonlocal acknowledged, unserved
        while True:
            try:
                connection = await raw_connection(daemon.port)
            except ConnectError:
                return
            connection.transport.write(INSERT.replace(b"Host: x", b"Connection: close\r\nHost: x"))
            answer = await connection.end()
            assert answer.startswith(b"HTTP/1.1 201 ") or answer == b"", answer
            acknowledged += bool(answer)
            unserved += not answer

    one, two = pids
    connections = [await connection_to(daemon.port, *each) for each in [(one, [two]), (two, [one])] * 4]
    working = [Deferred.fromCoroutine(produce(connection)) for connection in connections]
    working += [Deferred.fromCoroutine(visit()) for _ in range(4)]

    async def under_load():
        return acknowledged > 100

    await eventually(under_load, "some answers")
    began = time.monotonic()
    daemon.transport.signalProcess(number)
    await gatherResults(working)
    await daemon.end()
    assert time.monotonic() - began < 5
    assert "Traceback" not in daemon.log, daemon.log
    print("in the queue of the socket when it was closed:", unserved)
    assert redis.command("LLEN", "presque:{0}:foo:ready") == acknowledged
    assert not any(lives(pid) for pid in pids)


@awaiting
async def test_a_consumer_who_waits_is_answered_when_all_stop(pair):
    one, two = servers_of(pair)
    consumers = [await connection_to(pair.port, one, [two]), await connection_to(pair.port, two, [one])]
    for consumer in consumers:
        consumer.transport.write(b"GET /q/foo?wait=30 HTTP/1.1\r\nHost: x\r\n\r\n")
    await ask(await raw_connection(pair.port), "GET", "/q/foo?wait=0.2")
    children = family(pair.pid)
    began = time.monotonic()
    await pair.stop()
    assert time.monotonic() - began < 5
    for consumer in consumers:
        assert (await consumer.end()).endswith(b'{"error":"no job"}')
    assert not any(lives(pid) for pid in children)


@awaiting
async def test_a_store_that_does_not_fit_ends_all_in_one_line(processes, tmp_path):
    flags = ("--data-dir", str(tmp_path / "data"))
    daemon = processes(*flags, "--partitions", "4")
    await daemon.listening
    await daemon.stop()
    daemon = processes(*flags, "--processes", "2")
    await ended_for("--partitions is 1, but this store was made with 4", daemon)
    assert " again in " not in daemon.log


@awaiting
async def test_an_address_in_use_ends_all_in_one_line(processes, tmp_path):
    daemon = processes("--data-dir", str(tmp_path / "one"))
    port = await daemon.listening
    other = processes("--data-dir", str(tmp_path / "two"), "--processes", "2", listen=f"tcp:{port}:interface=127.0.0.1")
    await ended_for(f"Couldn't listen on 127.0.0.1:{port}", other)


@awaiting
async def test_a_folder_in_use_ends_all_in_one_line(pair, processes, tmp_path):
    other = processes("--data-dir", str(tmp_path / "data"), "--processes", "2")
    await ended_for(rf"{tmp_path / 'data'} is in use by another presque \(pid {pair.pid}\)", other)


@awaiting
async def test_flags_variables_and_the_file_reach_the_processes(processes, redises, tmp_path):
    redis = redises()
    (tmp_path / "presque.toml").write_text('max-body = 20\nprocesses = 7\npartitions = "3"')
    environ = {"PRESQUE_CONFIG": str(tmp_path / "presque.toml"), "PRESQUE_PROCESSES": "2", "PRESQUE_TICK": "9"}
    daemon = processes("--redis", redis.url, "--tick", "0.05", environ={**environ, "PRESQUE_REQUEST_TIMEOUT": "0.3"})
    pids = await listening(daemon)
    assert len(pids) == 2
    assert redis.command("HGET", keys.STORE, "partitions") == b"3"
    for one, two in (pids, pids[::-1]):
        connection = await connection_to(daemon.port, one, [two])
        connection.transport.write(INSERT.replace(b"Length: 2", b"Length: 21"))
        assert b" 413 " in await connection.end()
        connection = await connection_to(daemon.port, one, [two])
        connection.transport.write(INSERT[:-1])
        assert b" 408 " in await connection.end()
        variables = Path(f"/proc/{one}/environ").read_bytes().split(b"\0")
        assert b"PRESQUE_TICK=0.05" in variables
        assert not [variable for variable in variables if variable.startswith(b"PRESQUE_CONFIG=")]


@awaiting
async def test_a_password_is_neither_on_a_command_line_nor_in_the_log(processes, redises):
    url = redises().url.replace("unix://", f"unix://default:{SECRET}@")
    daemon = processes("--processes", "2", environ={"PRESQUE_REDIS": url})
    pids = await listening(daemon)
    client = Client(daemon.port)
    assert (await client.post("/q/foo", JOB)).status == 201
    await client.close()
    for pid in (daemon.pid, *pids):
        assert SECRET.encode() not in words(pid)
    await daemon.stop()
    assert SECRET not in daemon.log


@awaiting
async def test_ctrl_c_in_a_terminal_reaches_the_supervisor_alone(pair):
    for pid in family(pair.pid):
        assert os.getsid(pid) == pid


@awaiting
async def test_one_socket_of_each_kind_is_shared(processes, redises, tmp_path):
    path = tmp_path / "presque.sock"
    listen = f"{LOOPBACK} unix:{path}:mode=600"
    daemon = processes("--redis", redises().url, "--processes", "2", listen=listen)
    (one, two) = await listening(daemon, 4)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    os.kill(one, signal.SIGTERM)  # it stops in peace, and must leave the sockets to the others
    await listening(daemon, 6)
    assert path.is_socket()
    for pid in set(servers_of(daemon)) - {two}:
        os.kill(pid, signal.SIGSTOP)
    for address in (("127.0.0.1", daemon.port), str(path)):
        assert b" 201 " in await deferToThread(insert, address)
    for pid in set(servers_of(daemon)) - {two}:
        os.kill(pid, signal.SIGCONT)
    await daemon.stop()
    assert "Traceback" not in daemon.log, daemon.log
    assert not path.exists()


def test_presque_tac_has_processes_too_and_a_daemon_s_log_has_their_lines(tmp_path):
    code = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; sys.exit(run())"
    pidfile, log = tmp_path / "pid", tmp_path / "log"
    command = [sys.executable, "-c", code, "--pidfile", pidfile, "--logfile", log, "--python", ROOT / "presque.tac"]
    environ = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    environ |= {"PRESQUE_PROCESSES": "2", "PRESQUE_LISTEN": LOOPBACK}
    subprocess.run(command, cwd=tmp_path, env=environ, check=True, timeout=PATIENCE)
    supervisor = int(pidfile.read_text())
    ends = time.monotonic() + PATIENCE
    try:
        while log.read_text().count("presque listens on") < 2:
            assert time.monotonic() < ends, log.read_text()
        lines = re.findall(r"Supervisor#info\] \[(\d+)\] \[.*presque listens on .*port=(\d+)", log.read_text())
        assert {int(pid) for pid, _ in lines} <= set(family(supervisor))
        assert b" 201 " in insert(("127.0.0.1", int(lines[0][1])))
    finally:
        children = family(supervisor)
        os.kill(supervisor, signal.SIGTERM)
        while lives(supervisor):
            assert time.monotonic() < ends + PATIENCE, log.read_text()
    assert len(children) == 3
    assert not any(lives(pid) for pid in children)
    assert "Traceback" not in log.read_text()
