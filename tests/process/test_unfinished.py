"""A transaction at the end of the append-only file that was not written to its end."""

import os
import signal
import time
from functools import partial

import pytest
from programs import Redis, redis_program
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, eventually
from stored import Stored
from test_data_folder import JOB, append_only, ask
from test_private_server import redis_on

from presque.process.private_redis.engine import candidates, engine_of
from presque.process.private_redis.folder import Folder
from presque.process.private_redis.unfinished import EXEC, MULTI, cut_unfinished

SCRIPT = """
redis.call('HSET', KEYS[1], 'a', ARGV[1], 'b', 'two')
redis.call('RPUSH', KEYS[2], ARGV[1])
redis.call('INCR', KEYS[3])
"""
FAKE = MULTI + b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n"
SWALLOWS = b"*1\r\n$250000\r\n"  # all that follows
HOSTILE = [
    MULTI,
    FAKE,
    FAKE + b"*1\r\n$2\r\nab",  # whose end is that of the argument
    FAKE + SWALLOWS,
    FAKE + EXEC + SWALLOWS,
    EXEC,
    b"*2\r\n" + FAKE + FAKE,
    FAKE + EXEC,
    b"x\r\n" + EXEC + FAKE,
    b"\0\r\n" * 9 + MULTI + b"\0" * 9,
]


def names(value):
    return f"{HOSTILE.index(value)}"


def contents(redis):
    """All that it has appended."""
    return max(redis.folder.glob("appendonlydir/*.incr.aof"), default=redis.folder / "appendonly.aof").read_bytes()


@pytest.fixture
def server():
    redis = Redis("--appendfsync", "no", "--rdbcompression", "no")
    yield redis
    redis.remove()


def written(redis, *commands):
    """What the file is before these commands, and what they append."""
    before = contents(redis)
    ask_it = redis.session()
    for command in commands:
        ask_it(*command)
    after = contents(redis)
    assert after.startswith(before)
    return before, after[len(before) :]


def script(value):
    return ("EVAL", SCRIPT, 3, "hash", "list", "number", value)


def left(tmp_path, data):
    """What is left of a file with these contents."""
    path = tmp_path / "appendonly.aof"
    path.write_bytes(data)
    cut = cut_unfinished(tmp_path, redis_program())
    assert cut == len(data) - path.stat().st_size
    return path.read_bytes()


def test_a_transaction_that_is_cut_anywhere_is_cut_off(tmp_path, server):
    before, added = written(server, script("first"), ("MULTI",), ("SET", "k", "v"), ("INCR", "number"), ("EXEC",))
    begin = before + added[: added.rindex(MULTI)]
    transaction = added[added.rindex(MULTI) :]
    assert transaction.count(b"*") == 4
    for size in range(len(transaction) + 1):
        is_cut = len(MULTI) <= size < len(transaction)
        assert left(tmp_path, begin + transaction[:size]) == (begin if is_cut else begin + transaction[:size]), size


@pytest.mark.parametrize("value", HOSTILE, ids=names)
def test_what_is_finished_is_left_alone_whatever_its_arguments_contain(tmp_path, server, value):
    before, added = written(server, ("SET", "k", value), ("SET", value, "v"))
    assert left(tmp_path, before + added) == before + added
    before, added = written(server, script(value))
    assert left(tmp_path, before + added) == before + added
    assert left(tmp_path, before + added + b"*1\r\n$4\r\nPI") == before + added + b"*1\r\n$4\r\nPI"
    before, added = written(server, ("SET", "k", "v"), ("SET", "k", value))
    assert left(tmp_path, before + added) == before + added


@pytest.mark.parametrize("value", HOSTILE, ids=names)
def test_a_snapshot_is_left_alone_whatever_it_contains(tmp_path, server, value):
    server.command("SET", "k", value)
    server.command("BGREWRITEAOF")
    while b"aof_rewrite_in_progress:0" not in server.command("INFO", "persistence"):
        pass
    snapshots = [*server.folder.glob("appendonlydir/*.base.rdb")]  # apart from the commands, if it is no Redis 6.2
    snapshot = b"".join(path.read_bytes() for path in snapshots) or contents(server)
    assert snapshot.startswith((b"REDIS", b"VALKEY"))
    assert value in snapshot
    _, added = written(server, script("other"), ("SET", "k", "v"))
    assert left(tmp_path, snapshot) == snapshot
    assert left(tmp_path, snapshot + added) == snapshot + added
    end = added.rindex(EXEC)
    whole = snapshot + added[: added.rindex(MULTI)]
    unknown = snapshot.startswith(b"VALKEY")  # to redis-check-aof; but no Valkey writes it into one file
    assert left(tmp_path, snapshot + added[:end]) == (snapshot + added[:end] if unknown else whole)


@pytest.mark.parametrize("value", HOSTILE, ids=names)
def test_what_is_unfinished_is_cut_off_whatever_its_arguments_contain(tmp_path, server, value):
    before, added = written(server, script(value), ("SET", "k", "v"), script(value))
    begin = before + added[: added.rindex(b"*3\r\n$3\r\nSET\r\n$1\r\nk")]
    added = added[len(begin) - len(before) :]
    at = added.index(MULTI)
    for size in [*range(at + len(MULTI), len(added) - 1, 11), len(added) - 1]:
        if not added[:size].endswith(EXEC):  # then it looks finished, unless the whole file is read
            assert left(tmp_path, begin + added[:size]) == begin + added[:at], size


def test_what_is_not_understood_is_left_alone(tmp_path, server):
    before, added = written(server, script("first"), script("other"))
    begin = before + added
    torn = added[: added.rindex(EXEC)]
    for data in (b"", begin + b"garbage\xff" * 20, begin + torn + b"garbage", begin + torn + b"*2\r\n$3\r\nGET\r\n#"):
        assert left(tmp_path, data) == data
    for nested in (begin + torn + MULTI, begin + torn + added, begin + torn + torn, begin + torn + EXEC + EXEC + torn):
        assert left(tmp_path, nested) == nested


def test_an_engine_that_cannot_check_the_file_leaves_it_alone(tmp_path):
    data = MULTI + b"*3\r\n$3"
    (tmp_path / "appendonly.aof").write_bytes(data)
    for program in ("/nowhere", "/bin/true"):
        assert cut_unfinished(tmp_path, program) == 0
    assert (tmp_path / "appendonly.aof").read_bytes() == data


def test_zeros_behind_an_unfinished_transaction_are_cut_off_first(tmp_path, server):
    before, added = written(server, script("first"), script(b"ab\0\0"))
    last = added.rindex(MULTI)
    for size in (last + len(MULTI), added.rindex(b"ab\0\0") + 3, len(added) - len(EXEC)):
        (tmp_path / "appendonly.aof").write_bytes(before + added[:size] + bytes(5000))
        mended = Folder(tmp_path).mend(engine_of(redis_program()))
        assert mended.zeros >= 5000
        assert mended.unfinished + mended.zeros == 5000 + size - last
        assert (tmp_path / "appendonly.aof").read_bytes() == before + added[:last]


def test_only_the_last_part_of_a_large_file_is_looked_at(tmp_path):
    plain = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$9\r\n123456789\r\n" * 100_000
    path = tmp_path / "appendonly.aof"
    for end in (plain, MULTI + plain + EXEC, MULTI + EXEC + plain):
        with path.open("wb") as file:
            file.truncate(20 * 2**30)  # of which nothing is stored
            file.seek(0, os.SEEK_END)
            file.write(end)
        began = time.process_time()
        assert cut_unfinished(tmp_path, "/nowhere") == 0
        assert time.process_time() - began < 2
        path.unlink()


def test_a_long_transaction_is_cut_off_in_seconds(tmp_path, server):
    before, added = written(server, script("first"))
    torn = MULTI + b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$9\r\n123456789\r\n" * 100_000 + b"*3\r\n$3\r\nSET\r\n$1"
    began = time.process_time()
    assert left(tmp_path, before + added + torn) == before + added
    assert time.process_time() - began < 5


def torn(folder):
    """Cut the file within the last command of the transaction with the last job."""
    path = append_only(folder)
    data = path.read_bytes()
    size = data.index(EXEC, data.rindex(JOB)) - 3
    assert size > data.rindex(MULTI, 0, data.rindex(JOB)) + len(MULTI)
    os.truncate(path, size)


@pytest.mark.parametrize("engine", {str(engine): engine for engine in map(engine_of, candidates())}.values(), ids=str)
@awaiting
async def test_half_an_insertion_is_never_carried_out(processes, tmp_path, engine):
    """Cut while nothing runs, and while the daemon does, which starts Redis again; and each time once more."""
    folder, log, said = tmp_path / "data", "", "ended within a transaction that Redis was killed while writing"
    for turn in range(3):
        daemon = processes("--data-dir", str(folder), "--redis-server", engine.program)
        client = Client(await daemon.listening)

        async def size(asks=client):
            answer = await asks.get("/v1/queues/foo")
            return answer.status == 200 and (answer.json["ready"], answer.json["inserted"])

        async def insert(count, asks=client, counted=size):
            for _ in range(count):
                assert (await asks.post("/q/foo", JOB)).status == 201
            return await counted()

        assert await insert(2) == (2 * turn + 2,) * 2
        (server,) = redis_on(folder)
        os.kill(server, signal.SIGSTOP)
        torn(folder)
        os.kill(server, signal.SIGKILL)

        async def back(counted=size, killed=server):
            return redis_on(folder) not in ([], [killed]) and await counted()

        assert await eventually(back, "Redis") == (2 * turn + 1,) * 2
        assert await insert(2) == (2 * turn + 3,) * 2
        (server,) = redis_on(folder)
        os.kill(server, signal.SIGKILL)
        assert await eventually(partial(back, killed=server), "Redis") == (2 * turn + 3,) * 2
        Stored(partial(ask, folder)).of("foo").check()
        await client.close()
        await daemon.kill()

        async def nobody_left():
            return not redis_on(folder)

        await eventually(nobody_left, "the end of Redis")
        torn(folder)
        log += daemon.log
    assert log.count(said) == (5 if engine.version < (7,) else 0)
    assert "nested" not in log
