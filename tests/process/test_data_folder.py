"""The data folder: which engine keeps it, what becomes of broken files, and a disk that is nearly full."""

import json
import os
import signal
import socket
import stat

import hiredis
import pytest
from logs import exception, logged
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, eventually
from test_private_server import redis_on
from twisted.internet.task import Clock

from presque.errors import StoreUnfit
from presque.process.private_redis.aof import cut_zeros, writer_of
from presque.process.private_redis.disk import LONGEST, Room
from presque.process.private_redis.engine import Engine, candidates, choose, engine_of

JOB = b'{"key":"value"}'
NO_LIMIT = ("--min-free", "0")
ALWAYS_LOW = ("--min-free", str(2**62))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


def program(path, says):
    """A program that says that it is this."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return str(path)


def redis(*version):
    return Engine("Redis", version)


def valkey(*version):
    return Engine("Valkey", version)


def ask(folder, *words):
    """Ask the private server in `folder`."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(folder / "redis.sock"))
        connection.sendall(hiredis.pack_command(words))
        reader = hiredis.Reader()
        while (reply := reader.gets()) is False:
            reader.feed(connection.recv(65536))
        return reply


def append_only(folder):
    """The file to which it appends."""
    found = sorted((folder / "appendonlydir").glob("*.incr.aof"))
    return found[-1] if found else folder / "appendonly.aof"


async def refused(processes, folder, *flags):
    """The one line with which a daemon on that folder ends."""
    daemon = processes("--data-dir", str(folder), *flags)
    daemon.listening.addErrback(lambda failure: None)
    await daemon.end()
    assert daemon.status == 1, daemon.log
    assert "Traceback" not in daemon.log
    (line,) = [line for line in daemon.log.splitlines() if "presque ends: " in line]
    return line.partition("presque ends: ")[2]


async def with_a_job(processes, folder, *flags):
    """A folder with one job in /q/foo, whose daemon has been stopped."""
    daemon = processes("--data-dir", str(folder), *flags)
    client = Client(await daemon.listening)
    assert (await client.post("/q/foo", JOB)).status == 201
    await client.close()
    await daemon.stop()


async def jobs_in(processes, folder, *flags):
    """How many jobs a daemon finds there, and what it logs."""
    daemon = processes("--data-dir", str(folder), *flags)
    client = Client(await daemon.listening)
    size = (await client.get("/status/foo")).json["size"]
    await client.close()
    await daemon.stop()
    return size, daemon.log


@pytest.mark.parametrize(
    ("reader", "writer", "reads"),
    [
        (redis(6, 2, 14), redis(6, 2, 14), True),
        (redis(6, 2, 14), redis(7, 0, 15), False),
        (redis(7, 0, 11), redis(7, 0, 15), True),  # patch releases do not change the files
        (redis(7, 2), redis(6, 2), True),
        (redis(8, 0), redis(7, 4), True),
        (valkey(8, 1), redis(7, 2, 4), True),
        (valkey(9, 1), redis(7, 4), False),
        (redis(7, 2), valkey(7, 2), False),
        (redis(8, 6), valkey(9, 0), False),
        (valkey(8, 1), valkey(9, 0), False),
        (valkey(9, 10), valkey(9, 9), True),
        (redis(7, 0), Engine("KeyDB", (6, 3)), False),
    ],
)
def test_an_engine_reads_what_an_older_one_wrote_and_valkey_what_redis_did_before_they_parted(reader, writer, reads):
    assert reader.reads(writer) is reads


def test_the_program_is_what_wrote_the_folder_else_what_was_embedded_else_what_is_on_path(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "presque.process.private_redis.engine.embedded", lambda: [str(tmp_path / "embedded" / "redis-server")]
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:{os.environ['PATH']}")
    on_path = program(tmp_path / "path" / "redis-server", "Redis server v=7.0.15 sha=0:0 bits=64")
    assert choose(None).program == on_path
    embedded = program(tmp_path / "embedded" / "redis-server", "Redis server v=6.2.14 sha=0:0 bits=64")
    assert choose(None).program == embedded
    writer = program(tmp_path / "writer", "Redis server v=6.2.14")
    assert choose(Engine("Redis", (6, 2, 14), writer)).program == writer
    assert choose(Engine("Redis", (7, 0, 1), str(tmp_path / "gone"))).program == on_path
    assert choose(Engine("Redis", (7, 0, 1), writer)).program == on_path  # it was replaced by an older one
    with pytest.raises(
        StoreUnfit, match=r"written by Redis 8\.0\.1, and Redis 6\.2\.14 .* and Redis 7\.0\.15 .* Redis 8\.0"
    ):
        choose(redis(8, 0, 1), folder=tmp_path)
    with pytest.raises(StoreUnfit, match=r"written by Redis 7\.0\.1, and Redis 6\.2\.14"):
        choose(redis(7, 0, 1), chosen=embedded)


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ("Redis server v=5.0.3 sha=0", "too old"),
        ("GNU cat 9.1", "not a redis-server or valkey-server: --version prints 'GNU cat 9.1'"),
        ("", "not a redis-server"),
    ],
)
def test_a_program_that_is_no_server_is_refused(tmp_path, says, why):
    with pytest.raises(StoreUnfit, match=why):
        engine_of(program(tmp_path / "it", says))


def test_a_program_that_is_not_there_is_refused_before_anything_is_done(tmp_path):
    with pytest.raises(StoreUnfit, match="not an executable program"):
        engine_of(str(tmp_path / "none"))


@awaiting
async def test_the_folder_notes_who_wrote_it(processes, folder):
    await with_a_job(processes, folder)
    note = json.loads((folder / "engine").read_text())
    engine = engine_of(note["program"])
    assert (note["engine"], note["version"]) == (engine.name, engine.number)
    assert stat.S_IMODE((folder).stat().st_mode) == 0o700
    assert writer_of(folder).reads(Engine(engine.name, engine.version)) or writer_of(folder).or_another


@awaiting
async def test_a_folder_moves_upward_from_engine_to_engine_and_never_back(processes, folder):
    found = {(engine.name, engine.version): engine for engine in map(engine_of, candidates())}  # PATH may repeat one
    engines = [found[name] for name in sorted(found)]
    if len(engines) < 2:
        assert not os.environ.get("CI"), "there is one engine only: install presque[test]"
        pytest.skip("there is one engine only")
    for index, engine in enumerate(engines):
        await with_a_job(processes, folder, "--redis-server", engine.program)
        for older in engines[:index]:
            said = await refused(processes, folder, "--redis-server", older.program)
            assert f"was last written by {engine}, and {older} ({older.program}) cannot read that" in said
            assert "--redis-server" in said
    size, _ = await jobs_in(processes, folder)
    assert size == len(engines)


@awaiting
async def test_a_folder_without_a_note_is_known_by_its_files(processes, folder):
    await with_a_job(processes, folder)
    (folder / "engine").unlink()
    assert (await jobs_in(processes, folder))[0] == 1
    assert (folder / "engine").exists()


@awaiting
async def test_a_folder_of_a_later_engine_is_not_opened_by_a_redis_that_would_start_empty(processes, folder):
    (folder / "appendonlydir").mkdir(parents=True)
    (folder / "appendonlydir" / "appendonly.aof.manifest").write_text("file appendonly.aof.1.base.rdb seq 1 type b\n")
    head = b"VALKEY099\xfa\x0avalkey-ver\x0699.1.2"
    (folder / "appendonlydir" / "appendonly.aof.1.base.rdb").write_bytes(head)
    said = await refused(processes, folder)
    assert "was last written by Valkey 99.1.2, and Redis" in said or "and Valkey" in said
    assert not (folder / "appendonly.aof").exists()


@awaiting
async def test_two_stores_in_a_folder_or_a_part_of_one_are_refused(processes, folder):
    await with_a_job(processes, folder)
    (folder / "appendonlydir").mkdir(exist_ok=True)
    manifest = folder / "appendonlydir" / "appendonly.aof.manifest"
    manifest.write_text("file appendonly.aof.1.incr.aof seq 1 type i\n")
    (folder / "appendonly.aof").write_bytes(b"*1\r\n")
    assert "has two stores" in await refused(processes, folder)
    manifest.unlink()
    (folder / "appendonlydir" / "appendonly.aof.1.incr.aof").write_bytes(b"*1\r\n")
    assert "has no appendonly.aof.manifest" in await refused(processes, folder)


@pytest.mark.parametrize("size", [1, 4096, 200_000])
@awaiting
async def test_zeros_behind_the_file_are_cut_off_and_said(processes, folder, size):
    await with_a_job(processes, folder)
    with append_only(folder).open("ab") as file:
        file.write(bytes(size))
    count, log = await jobs_in(processes, folder)
    assert count == 1
    assert f"ended with {size} zeros, as after a power cut: they were cut off" in log


@pytest.mark.parametrize("checksum", [b"12345678", b"1234567\0", b"123\0\0\0\0\0", bytes(8)])
@pytest.mark.parametrize("zeros", [0, 1, 9, 5000])
def test_a_snapshot_keeps_its_checksum_however_many_zeros_it_ends_with(tmp_path, checksum, zeros):
    snapshot = b"REDIS0009\xfa\x09redis-ver\x066.2.14\xff" + checksum
    (tmp_path / "appendonly.aof").write_bytes(snapshot + bytes(zeros))
    cut_zeros(tmp_path)
    assert (tmp_path / "appendonly.aof").read_bytes() == snapshot


@awaiting
async def test_a_server_that_refuses_its_file_is_tried_three_times_and_ends_the_daemon_with_its_reason(
    processes, folder
):
    await with_a_job(processes, folder)
    with append_only(folder).open("ab") as file:
        file.write(b"garbage\xff" * 20)
    for flags in ((), ("--processes", "2")):
        daemon = processes("--data-dir", str(folder), *flags)
        daemon.listening.addErrback(lambda failure: None)
        await daemon.end()
        assert daemon.status == 1
        assert daemon.log.count(" starts (pid ") == 3
        (line,) = [line for line in daemon.log.splitlines() if "presque ends: " in line]
        assert "Bad file format reading the append only file" in line
        assert "redis-check-aof" in line


@awaiting
async def test_a_store_that_was_noted_does_not_come_up_empty(processes, folder):
    await with_a_job(processes, folder)
    os.truncate(append_only(folder), 0)
    assert f"remove {folder / 'engine'}" in await refused(processes, folder)
    (folder / "engine").unlink()
    assert (await jobs_in(processes, folder))[0] == 0


@awaiting
async def test_a_flushall_under_a_running_daemon_makes_the_record_anew_with_the_same_id(processes, folder):
    daemon = processes("--data-dir", str(folder), "--partitions", "3")
    client = Client(await daemon.listening)
    before = ask(folder, "HGETALL", "presque:store")
    ask(folder, "FLUSHALL")
    assert (await client.post("/q/foo", JOB)).status == 201

    async def made_again():
        return len(ask(folder, "HGETALL", "presque:store")) == 8

    await eventually(made_again, "the record")
    after = ask(folder, "HGETALL", "presque:store")
    assert dict(zip(after[::2], after[1::2], strict=True)) == dict(zip(before[::2], before[1::2], strict=True))
    await client.close()
    await daemon.stop()
    assert daemon.log.count("the record of the store was gone") == 1
    assert (await jobs_in(processes, folder, "--partitions", "3"))[0] == 1


@awaiting
async def test_what_cannot_be_a_folder_or_a_socket_is_said_in_one_line(processes, tmp_path):
    (tmp_path / "file").write_text("")
    assert "--data-dir" in await refused(processes, tmp_path / "file")
    (tmp_path / "data" / "redis.sock").mkdir(parents=True)
    assert "redis.sock is a folder" in await refused(processes, tmp_path / "data")
    (tmp_path / "other" / "lock").mkdir(parents=True)
    assert "--data-dir" in await refused(processes, tmp_path / "other")


@pytest.mark.parametrize("name", ["a\nb", 'qu"ote', "back\\slash", "spaced  out", "t\tab", "é", "\udcff", "%s{x}"])
@awaiting
async def test_a_folder_may_have_any_name(processes, tmp_path, name):
    folder = tmp_path / name
    if name == "a\nb":
        await with_a_job(processes, folder, "--processes", "2")
    await with_a_job(processes, folder)
    size, log = await jobs_in(processes, folder)
    assert size == (2 if name == "a\nb" else 1)
    assert "Traceback" not in log


def test_the_disk_is_looked_at_the_oftener_the_sooner_it_may_be_full():
    gb = 10**9
    clock, free, changes = Clock(), [1000 * gb], []
    room = Room(None, 100 * gb, clock, lambda low, free: changes.append((low, free)), lambda folder: free[0])
    assert room.look() == LONGEST
    waits = []
    for free[0] in (900 * gb, 700 * gb, 400 * gb, 200 * gb, 120 * gb):
        clock.advance(1)
        waits.append(room.look())
    assert waits == sorted(waits, reverse=True)
    assert waits[-1] < 0.05
    for free[0] in (99 * gb, 100 * gb, 124 * gb, 125 * gb, 101 * gb, 99 * gb):
        clock.advance(1)
        room.look()
    assert changes == [(True, 99 * gb), (False, 125 * gb), (True, 99 * gb)]


def test_a_small_disk_is_looked_at_often_before_anything_was_written_to_it():
    """A load that begins between two looks may fill 12 MB in 0.2 s."""
    room = Room(None, 4_000_000, Clock(), lambda low, free: None, lambda folder: 16_000_000)
    assert room.look() < 0.02


def test_a_disk_that_cannot_be_looked_at_is_looked_at_again():
    clock, answers = Clock(), [OSError("gone"), OSError("gone"), 50]

    def free(folder):
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    changes = []
    room = Room("folder", 100, clock, lambda low, free: changes.append(low), free)
    with logged(exception) as failures:
        room.start()
        clock.pump([LONGEST, LONGEST])
    assert [str(failure) for failure in failures] == ["gone"]
    assert changes == [True]
    room.stop()
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("flags", [(), ("--processes", "2")], ids=["one process", "several"])
@awaiting
async def test_below_the_floor_nothing_is_inserted_and_all_that_settles_goes_on(processes, folder, flags):
    daemon = processes("--data-dir", str(folder), *NO_LIMIT)
    client = Client(await daemon.listening)
    for _ in range(12):
        assert (await client.post("/v1/queues/foo/jobs", b'{"payload":1}')).status == 201
    await client.close()
    await daemon.stop()
    daemon = processes("--data-dir", str(folder), *ALWAYS_LOW, *flags)
    client = Client(await daemon.listening)
    full = "the store is full, nothing was done"

    async def everybody_knows():
        return (await client.get("/status/foo")).status == 200

    await eventually(everybody_knows, "answers")
    before = ask(folder, "DBSIZE"), (await client.get("/j/foo")).json
    for path, body in (
        ("/q/foo", JOB),
        ("/qb/foo", b'{"jobs":[{},{}]}'),
        ("/q/foo?uniq=1", JOB),
        ("/q/new?delayed=1", JOB),
    ):
        answer = await client.post(path, body)
        assert (answer.status, answer.json) == (503, {"error": full}), path
    assert (await client.put("/q/foo", JOB)).status == 503
    answer = await client.post("/v1/queues/foo/jobs", b'{"payload":1}', Idempotency_Key="key")
    assert (answer.status, answer.json["type"]) == (503, "/problems/store-full")
    assert (ask(folder, "DBSIZE"), (await client.get("/j/foo")).json) == before
    assert (await client.get("/q/foo")).status == 200
    jobs = (await client.post("/v1/queues/foo/reservations", b'{"max":4}')).json["jobs"]
    for job, verb, status in zip(jobs, ("ack", "nack", "release", "extend"), (204, 200, 204, 200), strict=True):
        value = {"receipt": job["receipt"], **({"lease": 9} if verb == "extend" else {})}
        assert (await client.post(f"/v1/jobs/{job['id']}/{verb}", json.dumps(value).encode())).status == status
    assert daemon.log.count("DISK NEARLY FULL") == 1
    (server,) = redis_on(folder)
    os.kill(server, signal.SIGKILL)

    async def back():
        return redis_on(folder) not in ([], [server]) and (await client.get("/status/foo")).status == 200

    await eventually(back, "Redis")
    assert (await client.post("/q/foo", JOB)).status == 503
    await client.close()
    await daemon.stop()


@pytest.mark.parametrize("flags", [(), ("--processes", "2")], ids=["one process", "several"])
@awaiting
async def test_sighup_ends_nothing_and_says_so(processes, folder, flags):
    daemon = processes("--data-dir", str(folder), *flags)
    client = Client(await daemon.listening)
    daemon.transport.signalProcess("HUP")

    async def said():
        return "SIGHUP: log level info (before: info)" in daemon.log

    await eventually(said, "its word")
    assert (await client.get("/status/foo")).status == 200
    await client.close()
    daemon.transport.signalProcess("TERM")
    daemon.transport.signalProcess("HUP")
    await daemon.stop()
    assert daemon.status != -signal.SIGHUP
    assert "Server Shut Down" in daemon.log
    assert "Traceback" not in daemon.log
