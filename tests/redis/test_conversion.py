"""Stores of data model 2 are converted when they are first used: whatever was in them is there afterwards, once,
whenever the conversion was interrupted. The stores are made by the releases that had that model.

CONVERSION_SEED repeats a run; it is printed by each test that fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import time
from dataclasses import replace
from hashlib import sha1

import hiredis
import pytest
from data_models import check, dump_of, own_keys, read_new, read_old
from logs import logged
from old_stores import FIRST, LAST, QUEUES, STATES, Requests, copy_of, make, tree_of
from programs import Programs
from pytest_twisted import ensureDeferred as awaiting
from servers import eventually
from stored import Stored
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, inlineCallbacks
from twisted.logger import formatEvent

from presque.jobs.policy import lua_parts
from presque.redis.connection import gather
from presque.redis.conversion import Conversion
from presque.redis.record import Record
from presque.redis.scripts import load
from presque.redis.store import Store
from presque.redis.url import endpoint_for, parse_redis_url

SEED = int(os.environ.get("CONVERSION_SEED", random.randrange(10**9)))


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    return {revision: tree_of(revision, tmp_path_factory.mktemp(revision)) for revision in (FIRST, LAST)}


@pytest.fixture
def programs():
    with Programs(short=True) as programs:
        yield programs


@pytest.fixture
def chance(request):
    print(f"CONVERSION_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


def with_limit(scripts, jobs):
    """The scripts, of which one converts up to so many jobs in a call."""
    script, words = scripts["convert_queue"], b"jobs_left, bytes_left = %d, "
    source = script.source.replace(words % 1000, words % jobs)
    assert source.count(words % jobs) == 1
    digest = sha1(source, usedforsecurity=False).hexdigest().encode()
    head = script.head.replace(script.digest, digest)
    return {**scripts, "convert_queue": replace(script, source=source, digest=digest, head=head)}


class Interrupted(Conversion):
    """A conversion that is ended when it has sent so many scripts."""

    def __init__(self, partitions, clock, calls, end):
        super().__init__(partitions, clock)
        self.calls, self.end = calls, end

    def _run(self, *args):
        self.calls -= 1
        running = super()._run(*args)
        if self.calls == 0:
            self.end()
        return running


def store_on(redis, partitions="1", jobs=1000):
    url = parse_redis_url(redis.url)
    scripts = with_limit(load(lua_parts()), jobs)
    store = Store(reactor, url, endpoint_for(reactor, url), int(partitions), scripts)
    store.checks.append(Record(int(partitions)).check)
    return store


async def convert(redis, partitions="1", jobs=1000):
    """Convert a store, as each connection of a daemon does before it is used."""
    store = store_on(redis, partitions, jobs)
    store.checks.append(Conversion(int(partitions), reactor).check)
    store.start()

    async def is_up():
        return store.is_up

    await eventually(is_up, "the conversion")
    await store.stop()


async def interrupt(redis, partitions, jobs, calls, kills_redis):
    """Convert a part of a store. Returns whether it is whole."""
    store, ended = store_on(redis, partitions, jobs), Deferred()

    def end():
        if kills_redis:
            redis.kill()
        ended.callback(False)

    conversion = Interrupted(int(partitions), reactor, calls, end)

    @inlineCallbacks
    def check(connection):
        yield conversion.check(connection)
        if not ended.called:
            ended.callback(True)

    store.checks.append(check)
    store.start()
    is_whole = await ended
    await store.stop()
    if redis.process is None:
        redis.start()
    return is_whole


def pages(ask, path, key):
    """All of a list that comes in pages."""
    rows, cursor = [], ""
    while cursor is not None:
        answer = ask.json("GET", f"{path}{'&' if '?' in path else '?'}limit=7{cursor and f'&cursor={cursor}'}")
        rows += answer[key]
        cursor = answer["next"]
    return rows


def answers(ask, queues, workers):
    """What a daemon says of a store."""
    said = {"/v1/queues": pages(ask, "/v1/queues", "queues"), "/status/": ask.json("GET", "/status/")}
    for queue in queues:
        for path in (f"/status/{queue}?with_desc=1", f"/j/{queue}", f"/control/{queue}", f"/w/?queue_name={queue}"):
            said[path] = ask.json("GET", path)
        said[queue] = ask.json("GET", f"/v1/queues/{queue}")
        for state in STATES if "name" in said[queue] else ():
            path = f"/v1/queues/{queue}/jobs?state={state}"
            jobs = pages(ask, path, "jobs")
            said[path] = sorted(jobs, key=lambda job: job["id"]) if state == "leased" else jobs
            for job in jobs:
                said[job["id"]] = ask.json("GET", f"/v1/jobs/{job['id']}")
    for worker in workers:
        said[worker] = ask.json("GET", f"/w/?worker_id={worker}")
    said["/w/"] = ask.json("GET", "/w/")
    return said


def differences(old, new, where=""):
    """Where the new answer lacks something of the old one; new fields are allowed."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in old:
            if name not in ("oldest_ready_age", "title"):
                yield from differences(old[name], new.get(name, "missing"), f"{where} {name}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, f"{where}[{number}]")
    elif old != new:
        yield where, old, new


def check_all(redis, partitions):
    """The invariants of data model 3, by two readers that do not know each other."""
    dump = dump_of(redis)
    check(dump)
    if partitions == "1":
        stored = Stored(redis.session())
        for queue in stored.queues():
            stored.of(queue).check()
    return dump


def drain(ask, queue):
    """The jobs of a queue in the order in which they are handed out."""
    ask("POST", f"/v1/queues/{queue}/resume")
    found = []
    while (answer := ask("GET", f"/qb/{queue}?batch_size=1000"))[0] == 200:
        found.append(answer[1])
    return found


@pytest.mark.parametrize(("revision", "partitions"), [(FIRST, "1"), (FIRST, "3"), (LAST, "1")])
@awaiting
async def test_a_converted_store_gives_the_same_answers_and_jobs(programs, trees, chance, revision, partitions):
    original = programs.redis()
    built = make(programs, original, chance, trees[revision], partitions=partitions, is_first=revision == FIRST)
    before = read_old(dump_of(original))
    converted = copy_of(programs, original)
    flags = ("--partitions", partitions, "--tick", "60", "--max-body", "2000000")
    await convert(converted, partitions)
    after = check_all(converted, partitions)
    assert list(differences(before, read_new(after))) == []
    old = Requests(programs.daemon(original.url, *flags, root=trees[revision]).port)
    new = Requests(programs.daemon(converted.url, *flags).port)
    queues, workers = (*built.queues, "none"), ("w0", "w1", "w2", "w9")
    said = [answers(ask, queues, workers) for ask in (old, new)]
    assert not [print(each) for each in differences(*said)]
    for path, body, key, answer in built.inserted:
        assert [ask("POST", path, body, Idempotency_Key=key) for ask in (old, new)] == [answer, answer]
    for queue, facts in before.items():
        for key in facts["uniq"]:
            body = b'{"payload":1,"unique":"%b"}' % key
            one, other = (ask.json("POST", f"/v1/queues/{queue}/jobs", body) for ask in (old, new))
            assert (one["status"], other["status"]) == (409, 409)
            assert "existing" not in one or one["existing"] == other["existing"]
    for path, body, _ in built.settled:
        one, other = (ask("POST", path, body) for ask in (old, new))
        assert one[0] == other[0], (path, one, other)
    chance.shuffle(built.leases)
    for job, receipt in built.leases:
        verb, more = chance.choice((("extend", {"lease": 900}), ("nack", {"delay": 0}), ("ack", {}), ("release", {})))
        one, other = (ask("POST", f"/v1/jobs/{job}/{verb}", {"receipt": receipt, **more}) for ask in (old, new))
        assert one[0] == other[0], (job, verb, one, other)
    for queue in built.queues:
        assert drain(old, queue) == drain(new, queue), queue


@pytest.mark.parametrize(("revision", "partitions"), [(FIRST, "3"), (LAST, "1")])
@awaiting
async def test_a_conversion_that_is_killed_a_hundred_times_loses_nothing(programs, trees, chance, revision, partitions):
    """In steps of one job. Every 20th time, Redis is killed with it."""
    original = programs.redis()
    make(programs, original, chance, trees[revision], partitions=partitions, is_first=revision == FIRST)
    before = read_old(dump_of(original))
    killed = 0
    while killed < 100:
        redis = copy_of(programs, original)
        while not await interrupt(redis, partitions, 1, chance.randrange(1, 20), killed % 20 == 19):
            killed += 1
        after = check_all(redis, partitions)
        assert list(differences(before, read_new(after))) == []
        assert b"converting" not in after["presque:store"]
        redis.kill()


def spoil(command, chance, queue):
    """Leave in a queue what scripts that fail half way, or other programs, may leave."""

    def key(name):
        return f"presque:{{0}}:{queue}:{name}"

    if command("ZSCORE", "presque:{0}/queues", queue) is None:
        return  # nobody would know that there is such a queue
    numbers = command("HKEYS", key("jobs")) or [b"1"]
    a, b, c, d, e, f, g, h = (chance.choice(numbers) for _ in range(8))
    padded = f"{int(a):016}"
    every = [
        ("HDEL", key("jobs"), a, b),
        ("LREM", key("ready"), 0, c),
        ("LREM", key("ready"), 0, d),
        ("ZREM", key("leased"), *command("ZRANGE", key("leased"), 0, 1), "x"),
        ("HDEL", key("receipts"), *command("HKEYS", key("receipts"))[:2], "x"),
        ("HSET", key("receipts"), e, "lost", f, ""),
        ("HSET", key("receipts"), g, "h 1", h, "l 2 3"),
        ("ZADD", key("leased"), 1e15, f),
        ("ZADD", key("dead"), 1, f, 2, "none", 3, "0x10", 4, "007", 5, ""),
        ("ZADD", key("delayed"), "inf", padded, "-inf", f"{10**14:016}", 7, "word", 8, "9" * 40),
        ("ZADD", key("front"), "inf", f"{int(g):016}", "-inf", f"{int(h):016}", 1, "1.5"),
        ("ZADD", key("dead"), 1, f"0{int(g)}"),
        ("ZADD", key("delayed"), 1, f"{int(h):05}"),
        ("RPUSH", key("ready"), g, "abc", "", " 7", "1e3", h, "-4", 10**17),
        ("LPUSH", key("ready"), b"99999", "two words"),
        ("HSET", key("history"), a, b"\xc1", b, b"\x93", c, b"\x01", d, "text", e, b"\x91\x01"),
        ("HSET", key("attempts"), e, "many", f, ""),
        ("HSET", key("limits"), g, "few", h, "7"),
        ("HSET", key("holders"), e, "lost", f, "lost w\n0"),
        ("HSET", key("kept"), "w7", "1 k-1 2", "w8", ""),
        ("HSET", key("jobs"), "word", "x", "98765", "short", "98764", "", "98763", b"\xff" * 30),
        ("HSET", key("jobs"), "98762", "x" * 13 + "d"),
        ("SET", key("uniq_of"), "of another program"),
        ("SREM", "presque:{0}/paused", queue),
        ("SADD", "presque:{0}/paused", "only-paused", "no name", b"\xff"),
        ("ZADD", "presque:{0}/queues", 0, "only-listed", 0, "no name", 0, b"\xff"),
        ("ZADD", "presque:{0}/due", 5, "only-due", 6, b"\xff"),
        ("HSET", "presque:{0}/processed", queue, "many"),
        ("SET", "presque:{0}/last_id", chance.choice((1, "many"))),
        ("HSET", key("settings"), "lease", "soon", "unknown", "1"),
        *(("DEL", key(name)) for name in ("receipts", "settings", "acked")),
    ]
    for name in chance.sample(("front", "limits", "dead", "uniq", "kept", "run_outs", "acked_by", "holders"), 2):
        every += [("DEL", key(name)), ("SET", key(name), "of another program")]
    chance.shuffle(every)
    for each in every[: chance.randrange(1, len(every))]:
        with contextlib.suppress(hiredis.ReplyError):  # a key of a wrong type by then
            command(*each)


def payloads(records):
    """The payload of each job by its number, as a conversion finds it in records that anybody may have written."""
    there = {number: record for number, record in records.items() if re.fullmatch(b"[1-9][0-9]{0,14}", number)}
    return {number: re.sub(rb"\A\d{13}[-u]", b"", record) for number, record in there.items()}


@pytest.mark.parametrize("number", range(3))
@awaiting
async def test_whatever_stands_in_a_store_every_record_is_in_one_place_afterwards(programs, trees, chance, number):
    original = programs.redis()
    make(programs, original, chance, trees[FIRST], steps=200)
    for _ in range(5):
        redis = copy_of(programs, original)
        for queue in QUEUES:
            spoil(redis.session(), chance, queue)
        before = {queue: own.get("jobs", {}) for (_, queue), own in own_keys(dump_of(redis)).items()}
        await convert(redis, jobs=chance.choice((1, 10, 1000)))
        after = dump_of(redis)
        check(after)
        jobs = {queue: queue_read["jobs"] for queue, queue_read in read_new(after).items()}
        for queue, records in before.items():
            found = {number: job["payload"] for number, job in jobs.get(queue, {}).items()}
            assert found == payloads(records), queue
            assert int(after.get(f"presque:{{0}}:{queue}:q", {}).get(b"n", 0)) >= max(map(int, found), default=0)
        redis.kill()


def key(name):
    return f"presque:{{0}}:spoilt:{name}"


def written(number):
    """A record of data model 2 whose payload is the number."""
    return b"1700000000000-%d" % number


SPOILT = {  # commands, and where each job is afterwards
    "a job that stands in ready twice is there once": (
        [
            ("HSET", key("jobs"), 1, written(1), 2, written(2), 3, written(3)),
            ("HSET", key("uniq_of"), 2, "u"),
            ("RPUSH", key("ready"), 1, 2, 3, 2),
        ],
        {b"1": "ready", b"2": "ready", b"3": "ready"},
    ),
    "an oddly written number counts for none": (
        [
            ("HSET", key("jobs"), 4, written(4), "word", "of another program"),
            ("RPUSH", key("ready"), 4),
            ("ZADD", key("delayed"), 5, "004"),
            ("ZADD", key("dead"), 5, "04"),
        ],
        {b"4": "ready"},
    ),
    "no byte of another program's record is a mark": (
        [
            ("HSET", key("jobs"), 1, "nothing of usd", 2, "nothing of usX", 3, "nothing of usx", 4, ""),
            ("HSET", key("uniq_of"), 3, "u"),
            ("ZADD", key("dead"), 5, 1, 5, 3),
        ],
        {b"1": "dead", b"2": "ready", b"3": "dead", b"4": "ready"},
    ),
    "a receipt with spaces is of nobody": (
        [
            ("HSET", key("jobs"), 1, written(1), 2, written(2), 3, written(3)),
            ("HSET", key("receipts"), 1, "h 3", 2, "l {}"),
            ("ZADD", key("leased"), 5, 1, 5, 2),
            ("RPUSH", key("ready"), 3),
        ],
        {b"1": "ready", b"2": "ready", b"3": "ready"},
    ),
    "failures that are none are forgotten": (
        [
            ("HSET", key("jobs"), 1, written(1), 2, written(2), 3, written(3)),
            ("HSET", key("history"), 1, b"\x91\x01", 2, b"\x92\x93\x01\x02\xa0\xc0", 3, b"\x91\x93\x01\x02\xc0"),
            ("ZADD", key("dead"), 5, 1, 5, 2, 5, 3),
        ],
        {b"1": "dead", b"2": "dead", b"3": "dead"},
    ),
    "counts that are none are forgotten": (
        [
            ("HSET", key("jobs"), 1, written(1), 2, written(2)),
            ("HSET", key("limits"), 1, "1.5", 2, "nan"),
            ("HSET", key("attempts"), 1, "inf", 2, "2.5"),
            ("RPUSH", key("ready"), 1, 2),
        ],
        {b"1": "ready", b"2": "ready"},
    ),
    "a job whose uniq key was lost stays in ready": (
        [
            ("HSET", key("jobs"), 1, written(1).replace(b"-", b"u"), 2, written(2)),
            ("HSET", key("uniq"), "u", 1),
            ("RPUSH", key("ready"), 1, 2),
        ],
        {b"1": "ready", b"2": "ready"},
    ),
    "a key of another program in the place of uniq keys": (
        [
            ("HSET", key("jobs"), 1, written(1).replace(b"-", b"u"), 2, "short", 3, written(3)),
            ("SET", key("uniq_of"), "of another program"),
            ("RPUSH", key("ready"), 1, 2, 3),
        ],
        {b"1": "ready", b"2": "ready", b"3": "ready"},
    ),
    "no number is given again": (
        [("HSET", key("jobs"), 7, written(7)), ("ZADD", key("dead"), 5, 7), ("DEL", "presque:{0}/last_id")],
        {b"7": "dead"},
    ),
}


@pytest.mark.parametrize(("commands", "places"), SPOILT.values(), ids=SPOILT)
@awaiting
async def test_a_spoilt_queue_is_converted(programs, commands, places):
    redis = programs.redis()
    command = redis.session()
    command("HSET", "presque:store", "partitions", 1, "model", 2)
    command("ZADD", "presque:{0}/queues", 0, "spoilt")
    command("SET", "presque:{0}/last_id", 9)
    for each in commands:
        command(*each)
    before = dump_of(redis)
    await convert(redis)
    after = dump_of(redis)
    check(after)
    jobs = read_new(after)["spoilt"]["jobs"]
    assert {number: job["place"][0] for number, job in jobs.items()} == places
    assert all(type(job[name]) is int for job in jobs.values() for name in ("limit", "attempts", "run_outs"))
    assert {number: job["payload"] for number, job in jobs.items()} == payloads(before[key("jobs")])
    assert int(after[key("q")][b"n"]) >= max(map(int, places))


def plain_store(programs, trees, revision=FIRST, count=2000, queue="plain"):
    """A Redis with so many plain jobs, and the requests to the daemon that made them."""
    redis = programs.redis()
    daemon = programs.daemon(redis.url, root=trees[revision])
    ask = Requests(daemon.port)
    for first in range(0, count, 1000):
        jobs = [{"n": n} for n in range(first, min(first + 1000, count))]
        assert ask("POST", f"/qb/{queue}", {"jobs": jobs})[0] == 201
    return redis, daemon, ask


@awaiting
async def test_plain_ready_jobs_stay_as_they_are(programs, trees):
    redis, daemon, _ = plain_store(programs, trees, count=20_000)
    daemon.kill()
    names = [f"presque:{{0}}:plain:{name}" for name in ("ready", "jobs")]
    before = dump_of(redis)
    began = time.monotonic()
    await convert(redis)
    took = time.monotonic() - began
    after = dump_of(redis)
    assert [after[name] for name in names] == [before[name] for name in names]
    check(after)
    assert took < 5, "a million take less than that on a machine that does nothing else"


@awaiting
async def test_jobs_that_were_made_ready_again_keep_their_place(programs, trees):
    """The first release put them at the end of `ready`, so the numbers there are not in order."""
    redis, daemon, ask = plain_store(programs, trees, count=50)
    ask("PATCH", "/v1/queues/plain", {"max_attempts": 1})
    for job in ask.json("POST", "/v1/queues/plain/reservations", {"max": 5})["jobs"]:
        ask("POST", f"/v1/jobs/{job['id']}/nack", {"receipt": job["receipt"], "error": f"of {job['id']}"})
    assert ask.json("POST", "/v1/queues/plain/retry-dead", {"ids": ["plain:4", "plain:2"]}) == {"moved": 2}
    ask("POST", "/qb/plain", {"jobs": [{"n": n} for n in range(50, 60)]})
    assert ask.json("POST", "/v1/queues/plain/retry-dead", {"limit": 9}) == {"moved": 3}
    ask("POST", "/qb/plain", {"jobs": [{"n": n} for n in range(60, 70)]})
    daemon.kill()
    before = read_old(dump_of(redis))
    await convert(redis, jobs=7)
    after = dump_of(redis)
    check(after)
    assert list(differences(before, read_new(after))) == []
    assert after["presque:{0}:plain:ready"] == [b"%d" % n for n in range(61, 71)]
    later = Requests(programs.daemon(redis.url).port)
    later("POST", "/q/plain", {"n": 70})
    expected = [*range(5, 50), 3, 1, *range(50, 60), 0, 2, 4, *range(60, 71)]
    assert [json.loads(text)["n"] for text in later.json("GET", "/qb/plain?batch_size=1000")] == expected


async def ending(daemon):
    """What a daemon has logged when it has ended by itself."""

    async def has_ended():
        return daemon.process.poll() is not None

    await eventually(has_ended, "the end of the daemon")
    return daemon.log


async def refusal(programs, redis, tree):
    """What a daemon of an earlier release says of a store that it must not use."""
    before = dump_of(redis)
    try:
        said = await ending(programs.daemon(redis.url, root=tree))
    except RuntimeError as error:  # it ended before it listened
        said = str(error)
    assert dump_of(redis) == before
    return said


REFUSED = "this store has data model 3, this presque reads and writes 2"


@pytest.mark.parametrize("revision", [FIRST, LAST])
@awaiting
async def test_an_earlier_release_refuses_the_store_at_every_stage(programs, trees, revision):
    redis, daemon, _ = plain_store(programs, trees, revision)
    daemon.kill()
    for calls in (1, 2, 1, 3):
        assert not await interrupt(redis, "1", 200, calls, kills_redis=False)
        said = await refusal(programs, redis, trees[revision])
        assert REFUSED in said
        assert "Traceback" not in said
    await convert(redis)
    assert REFUSED in await refusal(programs, redis, trees[revision])
    check(dump_of(redis))


@pytest.mark.parametrize("revision", [FIRST, LAST])
@awaiting
async def test_a_daemon_of_an_earlier_release_that_still_runs_ends(programs, trees, revision):
    redis, daemon, _ = plain_store(programs, trees, revision)
    await convert(redis)
    assert REFUSED in await ending(daemon)
    after = dump_of(redis)
    check(after)
    assert len(after["presque:{0}:plain:ready"]) == 2000


@awaiting
async def test_several_daemons_convert_a_store_at_once(programs, trees, chance):
    redis = programs.redis()
    make(programs, redis, chance, trees[FIRST])
    before = read_old(dump_of(redis))
    await gather(ensureDeferred(convert(redis, jobs=1)) for _ in range(4))
    after = dump_of(redis)
    check(after)
    assert list(differences(before, read_new(after))) == []


@awaiting
async def test_a_full_redis_makes_the_conversion_wait(programs, trees, chance):
    redis = programs.redis()
    make(programs, redis, chance, trees[FIRST])
    before = read_old(dump_of(redis))
    redis.command("CONFIG", "SET", "maxmemory", "1")
    store = store_on(redis, jobs=3)
    store.checks.append(Conversion(1, reactor).check)
    words = "goes on when there is space"
    with logged(lambda event: words in (formatEvent(event) or "") or None) as said:
        store.start()
        for memory in ("0", "1", "0", "1", "0"):  # it gets on a little each time
            said.clear()

            async def waits_or_is_up():
                return said or store.is_up

            await eventually(waits_or_is_up, "the words about it")
            redis.command("CONFIG", "SET", "maxmemory", memory)

        async def is_up():
            return store.is_up

        await eventually(is_up, "the conversion")
    await store.stop()
    after = dump_of(redis)
    check(after)
    assert list(differences(before, read_new(after))) == []


@awaiting
async def test_a_running_daemon_converts_a_store_that_takes_the_place_of_its_own(programs, trees):
    old, daemon, _ = plain_store(programs, trees)
    daemon.kill()
    old.kill()
    redis = programs.redis()
    running = programs.daemon(redis.url)
    ask = Requests(running.port)
    assert ask("POST", "/q/plain", {"n": "before"})[0] == 201
    redis.kill()
    for path in redis.folder.glob("appendonly*"):  # a file, or a folder
        path.rename(path.with_name(f"former-{path.name}"))
    for path in old.folder.glob("appendonly*"):
        path.rename(redis.folder / path.name)
    redis.start()

    async def has_them():
        status, body = ask("GET", "/status/plain")
        assert (status, body) == (503, body) or json.loads(body)["size"] == 2000, "it answered for a store in between"
        return status == 200

    await eventually(has_them, "the conversion")
    assert "converted this store" in running.log
    assert "Traceback" not in running.log
    check(dump_of(redis))
