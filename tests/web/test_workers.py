"""`/w/`, row by row."""

import json
import re
import time
from urllib.parse import quote

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, daemon_on, eventually, port_of
from twisted.internet.defer import ensureDeferred, gatherResults, maybeDeferred

from presque.redis.keys import partition_key, partition_of

JOB = b'{"key":"value"}'
MISSING = (400, b'{"error":"worker_id is missing"}')
UNKNOWN = (404, b'{"error":"unknown worker"}')
LONGEST = "\u00e9" * 256
IDS = [
    "w",
    "x" * 256,
    LONGEST,
    "\u65e5\u672c 1",
    "a/b?c&d=e#f",
    "h:1,2;3",
    '"\\q',
    "\U0001f600",
    "{0}",
    "100%25",
    "a b",
]


async def workers_of(client, queue):
    return (await client.get(f"/w/?queue_name={queue}")).json["workers_list"]


@pytest_twisted.async_yield_fixture()
async def partitioned(redises):
    """The client of a daemon whose queues lie in several partitions."""
    daemon = daemon_on(redises().url, partitions="8")
    daemon.startService()
    await daemon.started
    client = Client(port_of(daemon))
    yield client
    await client.close()
    await maybeDeferred(daemon.stopService)


@awaiting
async def test_a_registered_worker_starts_now_with_nothing_done(client):
    before = int(time.time())
    answer = await client.post("/w/foo?worker_id=w1")
    assert (answer.status, answer.body) == (201, b"")
    assert answer.headers["content-type"] == "application/json"
    answer = await client.get("/w/?worker_id=w1")
    found = answer.json
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert before <= found["started_at"] <= time.time()
    assert found["started_at"] <= found["last_seen"] <= time.time()
    assert answer.body == (
        b'{"worker_id":"w1","started_at":%d,"processed":"0","failed":"0","queues":["foo"],"last_seen":%d}'
        % (found["started_at"], found["last_seen"])
    )


@awaiting
async def test_registering_again_begins_anew(client, redis):
    await client.post("/w/foo?worker_id=w1")
    await client.post("/q/foo", JOB)
    await client.get("/q/foo?worker_id=w1")
    await client.put("/q/foo?worker_id=w1", JOB)
    redis.command("HSET", partition_key("worker_started", 0), "w1", 1273923534000)
    found = (await client.get("/w/?worker_id=w1")).json
    assert (found["started_at"], found["processed"], found["failed"]) == (1273923534, "1", "1")
    before = int(time.time())
    assert (await client.post("/w/foo?worker_id=w1")).status == 201
    found = (await client.get("/w/?worker_id=w1")).json
    assert (found["processed"], found["failed"], found["queues"]) == ("0", "0", ["foo"])
    assert before <= found["started_at"] <= time.time()


@awaiting
async def test_registering_on_another_queue_begins_anew_wherever_the_queues_lie(partitioned):
    for n in range(8):
        await partitioned.post(f"/w/q{n}?worker_id=w1")
    for n in range(8):
        await partitioned.post(f"/q/q{n}", JOB)
        await partitioned.get(f"/q/q{n}?worker_id=w1")
        await partitioned.put(f"/q/q{n}?worker_id=w1", JOB)
    found = (await partitioned.get("/w/?worker_id=w1")).json
    assert (found["processed"], found["failed"]) == ("8", "8")
    assert (await partitioned.post("/w/another?worker_id=w1")).status == 201
    found = (await partitioned.get("/w/?worker_id=w1")).json
    assert found["queues"] == ["another", *(f"q{n}" for n in range(8))]
    assert (found["processed"], found["failed"]) == ("0", "0")


@awaiting
async def test_a_worker_is_described_once_wherever_its_queues_lie(partitioned):
    for n in range(8):
        await partitioned.post(f"/w/q{n}?worker_id=w1")
        await partitioned.post(f"/q/q{n}", JOB)
        await partitioned.post(f"/w/q{n}?worker_id=w{n}x")
    for n in range(8):
        await partitioned.get(f"/q/q{n}?worker_id=w1")
    answer = (await partitioned.get("/w/")).json
    assert answer["workers_list"] == sorted(["w1", *(f"w{n}x" for n in range(8))])
    assert [worker["worker_id"] for worker in answer["workers"]] == answer["workers_list"]
    assert (answer["processed"], answer["failed"]) == (8, 0)
    one = next(worker for worker in answer["workers"] if worker["worker_id"] == "w1")
    assert one == (await partitioned.get("/w/?worker_id=w1")).json
    assert (one["processed"], one["queues"]) == ("8", [f"q{n}" for n in range(8)])
    for n in range(8):
        assert (await partitioned.get("/w/?worker_id=w1")).status == 200
        await partitioned.delete(f"/w/q{n}?worker_id=w1")
    assert (await partitioned.get("/w/?worker_id=w1")).status == 404


@pytest.mark.parametrize("content_type", [None, "application/json", "aplication/json", "text/plain", "", "\xff", ";;"])
@awaiting
async def test_the_body_names_the_worker_whatever_its_content_type(client, content_type):
    headers = {} if content_type is None else {"Content_Type": content_type}
    body = b' {"worker_id" : "w\\u0031", "pid":[1]}'
    assert (await client.request("POST", "/w/foo", body, **headers)).status == 201
    assert await workers_of(client, "foo") == ["w1"]


@awaiting
async def test_header_goes_before_query_and_query_before_body(client):
    body = b'{"worker_id":"body"}'
    await client.post("/w/a?worker_id=query", body, X_presque_workerid="header")
    await client.post("/w/b?worker_id=query", body)
    await client.post("/w/c", body)
    await client.post("/w/d?worker_id=query", b"not JSON")
    assert [await workers_of(client, queue) for queue in "abcd"] == [["header"], ["query"], ["body"], ["query"]]
    await client.delete("/w/a?worker_id=query", X_presque_workerid="header")
    assert await workers_of(client, "a") == []
    await client.delete("/w/b?worker_id=query")
    assert await workers_of(client, "b") == []


@awaiting
async def test_the_header_is_read_in_any_case_of_letters(client):
    for number, name in enumerate(("X-presque-workerid", "x-presque-workerid", "X-PRESQUE-WORKERID")):
        await client.post("/w/foo", **{name: f"w{number}"})
    assert await workers_of(client, "foo") == ["w0", "w1", "w2"]


NAMELESS = rb"""|{}|[]|null|"w1"|w1|worker_id=w1|{|{"worker_id":""}|{"worker_id":null}|{"worker_id":["w1"]}"""
NAMELESS += (
    b'|{"worker_id":{"a":1}}|{"Worker_id":"w1"}|{"worker_id":"\xff"}|{"worker_id":"\\ud800"}|{"worker_id":'
    + b"[" * 100_000
)


@pytest.mark.parametrize("body", NAMELESS.split(b"|"), ids=lambda body: repr(body[:24]))
@awaiting
async def test_a_request_that_names_no_worker_is_refused(client, body):
    answer = await client.post("/w/foo", body)
    assert (answer.status, answer.body) == MISSING
    answer = await client.delete("/w/foo?worker_id=")
    assert (answer.status, answer.body) == MISSING
    assert (await client.get("/w/")).json["workers_list"] == []


@pytest.mark.parametrize("worker", IDS, ids=lambda worker: worker[:12])
@awaiting
async def test_an_id_is_up_to_256_printable_characters(client, worker):
    await client.post(f"/w/by.query?worker_id={quote(worker, safe='')}")
    await client.post("/w/by.body", json.dumps({"worker_id": worker}).encode())
    await client.post("/w/by.header", X_presque_workerid=worker)
    answer = await client.get(f"/w/?worker_id={quote(worker, safe='')}")
    assert (answer.status, answer.json["worker_id"]) == (200, worker)
    assert answer.json["queues"] == ["by.body", "by.header", "by.query"]
    assert (await client.get("/w/")).json["workers_list"] == [worker]
    await client.post("/q/by.query", JOB)
    await client.get("/q/by.query", X_presque_workerid=worker)
    assert (await client.get("/w/")).json["workers"][0]["processed"] == "1"


@pytest.mark.parametrize(
    "worker", ["a" * 257, LONGEST + "x", "a\0", "\n", "a\tb", "\x7f", "\u200b", "\u2028", "\ue000"]
)
@awaiting
async def test_an_impossible_id_is_refused_everywhere(client, worker):
    query = f"?worker_id={quote(worker)}"
    for answer in (
        await client.post(f"/w/foo{query}"),
        await client.post("/w/foo", json.dumps({"worker_id": worker}).encode()),
        await client.delete(f"/w/foo{query}"),
        await client.get(f"/w/{query}"),
        await client.put(f"/q/foo{query}", JOB),
        await client.get(f"/qb/foo{query}"),
    ):
        assert answer.status == 400
        assert list(answer.json) == ["error"]
    assert (await client.get("/w/")).body == b'{"workers_list":[],"workers":[],"processed":0,"failed":0}'
    assert (await client.get("/status/")).json["size"] == 0


@awaiting
async def test_an_id_that_is_not_utf8_is_refused(client):
    for path in ("/w/foo?worker_id=%ff%fe", "/w/foo?worker_id=%ed%a0%80"):
        assert (await client.post(path)).status == 400
        assert (await client.get(path.replace("foo", ""))).status == 400
    assert (await client.get("/w/")).json["workers_list"] == []


@awaiting
async def test_an_unregistered_worker_is_gone_from_that_queue_and_forgotten_once_on_none(client):
    await client.post("/w/foo?worker_id=w1")
    await client.post("/w/bar?worker_id=w1")
    await client.post("/q/bar", JOB)
    await client.get("/q/bar?worker_id=w1")
    answer = await client.delete("/w/foo?worker_id=w1")
    assert (answer.status, answer.body) == (204, b"")
    assert await workers_of(client, "foo") == []
    found = (await client.get("/w/?worker_id=w1")).json
    assert (found["queues"], found["processed"]) == (["bar"], "1")
    assert (await client.delete("/w/bar", X_presque_workerid="w1")).status == 204
    answer = await client.get("/w/?worker_id=w1")
    assert (answer.status, answer.body) == UNKNOWN
    assert (await client.get("/w/")).json["workers_list"] == []


@awaiting
async def test_unregistering_an_unknown_worker_is_no_error(client):
    await client.post("/w/bar?worker_id=w1")
    for path in ("/w/foo?worker_id=w1", "/w/foo?worker_id=nobody"):
        answer = await client.delete(path)
        assert (answer.status, answer.body) == (204, b"")
    assert await workers_of(client, "bar") == ["w1"]


@awaiting
async def test_a_forgotten_worker_that_comes_back_is_not_registered_by_that(client):
    await client.post("/w/foo?worker_id=w1")
    await client.post("/q/foo", JOB)
    await client.get("/q/foo?worker_id=w1")
    await client.delete("/w/foo?worker_id=w1")
    for answer in (await client.get("/q/foo?worker_id=w1"), await client.put("/q/foo?worker_id=w1", JOB)):
        assert answer.status in (404, 201)
    assert (await client.get("/w/?worker_id=w1")).status == 404
    assert await workers_of(client, "foo") == []


@pytest.mark.parametrize("slash", ["", "/"])
@awaiting
async def test_an_unknown_worker_is_404(client, slash):
    await client.post("/w/foo?worker_id=w1")
    answer = await client.get(f"/w{slash}?worker_id=w2")
    assert (answer.status, answer.body) == UNKNOWN


@pytest.mark.parametrize("slash", ["", "/"])
@awaiting
async def test_the_workers_of_a_queue_come_with_the_counts_of_the_queue(client, slash):
    path = f"/w{slash}?queue_name=foo"
    assert (await client.get(path)).body == b'{"queue_name":"foo","workers_list":[],"processed":0,"failed":0}'
    await client.post("/w/foo?worker_id=w2")
    await client.post("/w/foo?worker_id=w1")
    await client.post("/w/foo?worker_id=w1")
    await client.post("/w/bar?worker_id=w3")
    await client.post("/qb/foo", b'{"jobs":[{},{},{}]}')
    await client.get("/qb/foo?worker_id=w1")
    await client.put("/q/foo?worker_id=w2", JOB)
    await client.put("/q/foo", JOB)
    answer = await client.get(path)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.body == b'{"queue_name":"foo","workers_list":["w1","w2"],"processed":3,"failed":2}'


@pytest.mark.parametrize("path", ["/w", "/w/", "/w?", "/w/?worker_id="])
@awaiting
async def test_all_workers_come_with_the_sums_over_all_queues(client, path):
    assert (await client.get(path)).body == b'{"workers_list":[],"workers":[],"processed":0,"failed":0}'
    for queue in ("foo", "bar"):
        await client.post(f"/w/{queue}?worker_id=w-{queue}")
    await client.post("/w/foo?worker_id=w-bar")
    for queue in ("foo", "bar"):
        await client.post(f"/qb/{queue}", b'{"jobs":[{},{},{}]}')
        await client.get(f"/qb/{queue}?worker_id=w-{queue}")
    await client.put("/q/foo?worker_id=w-bar", JOB)
    await client.get("/q/foo")
    ones = [(await client.get(f"/w/?worker_id={worker}")).body for worker in ("w-bar", "w-foo")]
    answer = await client.get(path)
    assert answer.status == 200
    assert answer.body == (
        b'{"workers_list":["w-bar","w-foo"],"workers":[%b,%b],"processed":7,"failed":1}' % (ones[0], ones[1])
    )
    assert answer.json["workers"][0]["queues"] == ["bar", "foo"]


@awaiting
async def test_what_an_unregistered_worker_fetches_counts_on_the_queue_alone(client, redis):
    for _ in range(3):
        await client.post("/q/foo", JOB)
    named = {"X_presque_workerid": "w1"}
    assert (await client.get("/q/foo", **named)).status == 200
    assert (await client.get("/qb/foo?batch_size=1", **named)).status == 200
    assert (await client.put("/q/foo", JOB, **named)).status == 201
    assert (await client.post("/v1/queues/foo/reservations", b'{"worker_id":"w1"}')).status == 200
    assert (await client.get("/w/")).body == b'{"workers_list":[],"workers":[],"processed":3,"failed":1}'
    assert [key for key in redis.command("KEYS", "*") if b"worker" in key or b"seen" in key] == []


@awaiting
async def test_a_registered_worker_counts_on_a_queue_on_which_it_is_not(client):
    await client.post("/w/foo?worker_id=w1")
    await client.post("/q/bar", JOB)
    await client.get("/q/bar?worker_id=w1")
    found = (await client.get("/w/?worker_id=w1")).json
    assert (found["processed"], found["queues"]) == ("1", ["foo"])


@pytest.mark.parametrize("path", ["/w/foo", "/w/?queue_name=foo"])
@awaiting
async def test_the_workers_of_a_queue_are_asked_for_by_either_path(client, path):
    await client.post("/w/foo?worker_id=w1")
    assert (await client.get(path)).body == b'{"queue_name":"foo","workers_list":["w1"],"processed":0,"failed":0}'


KEEPS = b'{"redeliver_after":600,"max_attempts":2}'


async def kept_job(client):
    """A job of `foo` that is kept in the name of w1."""
    await client.request("PATCH", "/v1/queues/foo", KEEPS, Content_Type="application/json")
    await client.post("/q/foo", JOB)
    assert (await client.get("/q/foo?worker_id=w1")).body == JOB


@awaiting
async def test_a_worker_that_registers_anew_gets_back_more_jobs_than_one_script_moves(client, daemon):
    settings = b'{"redeliver_after":600,"max_attempts":9}'
    await client.request("PATCH", "/v1/queues/foo", settings, Content_Type="application/json")
    for _ in range(5):
        await client.post("/qb/foo", b'{"jobs":[%b]}' % b",".join([JOB] * 1000))
    # At the same time, because each fetch acknowledges what was kept before.
    fetches = [ensureDeferred(client.get("/qb/foo?batch_size=1000&worker_id=w1")) for _ in range(5)]
    for answer in await gatherResults(fetches):
        assert answer.status == 200

    async def kept():
        return not daemon.deliveries.pending

    await eventually(kept, "the arrival")
    left = (await client.get("/v1/queues/foo")).json["leased"]
    assert (await client.post("/w/foo?worker_id=w1")).status == 201
    counts = (await client.get("/v1/queues/foo")).json
    assert (counts["ready"], counts["leased"], counts["failed"]) == (left, 0, left)
    assert left >= 1000


@awaiting
async def test_a_worker_that_registers_anew_gives_back_what_it_had_not_finished_and_that_was_an_attempt(client, redis):
    await kept_job(client)
    await keeping(redis)
    await client.post("/w/foo?worker_id=w1")
    counts = (await client.get("/v1/queues/foo")).json
    assert (counts["ready"], counts["leased"], counts["failed"]) == (1, 0, 1)
    assert (await client.get("/q/foo?worker_id=w1")).body == JOB
    await keeping(redis)
    await client.post("/w/foo?worker_id=w1")
    (dead,) = (await client.get("/v1/queues/foo/jobs?state=dead")).json["jobs"]
    assert [failure["error"] for failure in dead["history"]] == ["the worker registered again"] * 2


async def keeping(redis):
    """Wait until what w1 was given is kept in its name."""

    async def is_kept():
        held = redis.command("ZRANGE", "presque:{0}:foo:held", 0, -1)
        return [(member[:1], member.partition(b"\n")[2]) for member in held] == [(b"k", b"w1")]

    await eventually(is_kept, "the arrival")


@pytest.mark.parametrize("again", ["GET /q/foo", "DELETE /w/foo"])
@awaiting
async def test_a_worker_that_comes_again_or_leaves_acknowledges(client, redis, again):
    await kept_job(client)
    await keeping(redis)
    method, path = again.split()
    await client.request(method, f"{path}?worker_id=w1")
    counts = (await client.get("/v1/queues/foo")).json
    assert (counts["ready"], counts["leased"], counts["failed"]) == (0, 0, 0)


@awaiting
async def test_what_is_kept_for_workers_that_never_come_again_is_forgotten(client, redis):
    settings = b'{"redeliver_after":0.2,"backoff":{"first":0}}'
    await client.request("PATCH", "/v1/queues/foo", settings, Content_Type="application/json")
    await client.post("/q/foo", JOB)

    async def forgotten():
        ready = (await client.get("/v1/queues/foo")).json["ready"]
        return redis.command("HLEN", "presque:{0}:foo:kept") == 0 and ready == 0

    for n in range(4):
        assert (await client.get(f"/q/foo?wait=20&worker_id=w{n}")).body == JOB
    await client.request("PATCH", "/v1/queues/foo", b'{"max_attempts":1}', Content_Type="application/json")
    await eventually(forgotten, "the end of all that was kept")


@awaiting
async def test_registering_does_not_make_a_queue(client):
    await client.post("/w/foo?worker_id=w1")
    assert (await client.get("/status/")).json == {"queues": [], "size": 0}


@awaiting
async def test_workers_stay_when_their_queue_is_purged(client):
    await client.post("/w/foo?worker_id=w1")
    await client.post("/q/foo", JOB)
    await client.delete("/q/foo")
    assert (await client.get("/w/?worker_id=w1")).json["queues"] == ["foo"]


# The registry at length


@pytest.mark.parametrize("partitions", ["1", "3"])
@awaiting
async def test_a_store_of_before_is_converted_by_daemons_that_start_at_once(redises, partitions):
    redis = redises()
    expected = {f"w{n}": sorted(f"q{m}" for m in range(n % 7 + 1)) for n in range(50)}
    expected["many"] = sorted(f"x{n}" for n in range(2500))
    plant_as_before(redis, expected, int(partitions))
    daemons = [daemon_on(redis.url, partitions=partitions, worker_keep="300000000") for _ in range(2)]
    for daemon in daemons:
        daemon.startService()
    for daemon in daemons:
        await daemon.started
    client = Client(port_of(daemons[0]))
    found = (await client.get("/w/")).json["workers"]
    assert {each["worker_id"]: each["queues"] for each in found} == expected
    assert {(each["started_at"], each["last_seen"], each["processed"]) for each in found} == {
        (1700000000, 1700000009, "3")
    }
    assert (await client.get("/w/q6")).json["workers_list"] == sorted(
        w for w, queues in expected.items() if "q6" in queues
    )
    left = [key for key in redis.command("KEYS", "*") if key.endswith((b":workers", b"worker_queues", b"worker_seen"))]
    assert left == []
    await client.close()
    for daemon in daemons:
        await daemon.stopService()


def plant_as_before(redis, queues_of_workers, partitions):
    """Write registrations as they were written when a worker's queues were a text."""
    command = redis.session()
    command("HSET", "presque:store", "partitions", partitions, "model", 2)
    for worker, queues in queues_of_workers.items():
        parts = {}
        for queue in queues:
            parts.setdefault(partition_of(queue, partitions), []).append(queue)
        for number, (partition, names) in enumerate(sorted(parts.items())):
            command("HSET", f"presque:{{{partition}}}/worker_queues", worker, " ".join(names))
            command("HSET", f"presque:{{{partition}}}/worker_started", worker, 1700000000000)
            command("HSET", f"presque:{{{partition}}}/worker_seen", worker, 1700000009000)
            command("HSET", f"presque:{{{partition}}}/worker_processed", worker, 0 if number else 3)
            for queue in names:
                command("SADD", f"presque:{{{partition}}}:{queue}:workers", worker)


@pytest.mark.parametrize("partitions", ["1", "3"])
@awaiting
async def test_a_worker_that_was_silent_for_long_is_forgotten_and_one_that_was_not_stays(redises, partitions):
    redis = redises()
    daemon = daemon_on(redis.url, partitions=partitions, worker_keep="3")
    daemon.startService()
    await daemon.started
    client = Client(port_of(daemon))
    for queue in ("a", "b", "c", "d"):
        for worker in ("silent", "works"):
            await client.post(f"/w/{queue}?worker_id={worker}")

    async def forgotten():
        await client.get("/q/a?worker_id=works")
        return (await client.get("/w/?worker_id=silent")).status == 404

    await eventually(forgotten, "the forgetting")
    workers = (await client.get("/w/")).json["workers"]
    assert [(each["worker_id"], each["queues"]) for each in workers] == [("works", ["a", "b", "c", "d"])]
    assert (await client.get("/w/d")).json["workers_list"] == ["works"]
    await client.close()
    await daemon.stopService()


@awaiting
async def test_long_lists_are_whole_and_sorted(client, redis):
    names = sorted(f"q{n}" for n in range(2300))
    command = redis.session()
    for name in names:
        command("ZADD", "presque:{0}/queues", 0, name)
        command("HSET", f"presque:{{0}}:{name}:q", "n", 0, "base", 0, "out", 2, "failed", 1)
        for worker, queue in (("many", name), (f"w{name}", "one")):
            command("ZADD", "presque:{0}/queues_of", 0, f"{worker}\0{queue}")
            command("ZADD", "presque:{0}/workers_of", 0, f"{queue}\0{worker}")
            command("ZADD", "presque:{0}/last_seen", 1000, worker)
            command("HSET", "presque:{0}/worker_started", worker, 1000)
    assert (await client.get("/status/")).json == {"queues": names, "size": 2300}
    assert (await client.get("/w/one")).json["workers_list"] == [f"w{name}" for name in names]
    assert (await client.get("/w/?worker_id=many")).json["queues"] == names
    found = (await client.get("/w/")).json
    assert found["workers_list"] == ["many", *(f"w{name}" for name in names)]
    assert [len(each["queues"]) for each in found["workers"]] == [2300, *[1] * 2300]
    assert (found["processed"], found["failed"]) == (4600, 2300)


@awaiting
async def test_what_one_worker_on_many_queues_writes_grows_with_their_number(client, redis):
    def written():
        info = redis.command("INFO", "persistence").decode()
        return int(re.search(r"aof_current_size:(\d+)", info)[1])

    sizes = []
    for first in (0, 1000):
        before = written()
        for n in range(first, first + 1000):
            await client.post(f"/w/q{n:04}?worker_id=w1")
        sizes.append(written() - before)
    assert sizes[1] < 1.2 * sizes[0]
