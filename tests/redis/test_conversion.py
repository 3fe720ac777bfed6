"""Stores of data model 2 are converted when they are first used: whatever was in them is there afterwards, once, whenever
the conversion was interrupted. The stores are made by the releases that had that model.

CONVERSION_SEED repeats a run; it is printed by each test that fails.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace
from hashlib import sha1

import pytest
from programs import Programs
from pytest_twisted import ensureDeferred as awaiting
from reading import check, dump_of, read_new, read_old
from servers import eventually
from stored import FIRST, LAST, STATES, Requests, copy_of, make, tree_of
from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks

from presque.jobs.policy import lua_parts
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
    after = dump_of(converted)
    check(after)
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
        after = dump_of(redis)
        check(after)
        assert list(differences(before, read_new(after))) == []
        assert b"converting" not in after["presque:store"]
        redis.kill()
