"""The routes of schedules: what they take, what they answer, and what is refused."""

import json
import random
import time
from collections import Counter
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, daemon_on, eventually, port_of
from twisted.internet.defer import maybeDeferred
from v1 import insert, is_problem, look, reserve, send, settle

from presque.jobs.cron import LONGEST_ZONE
from presque.redis.keys import partition_of

DAILY = {"cron": "0 7 * * *", "timezone": "Europe/Berlin"}
OFTEN = {"every": 3600}
JOB = {"payload": {"n": 1}}


def path(name="s", queue="foo", more=""):
    return f"/v1/queues/{queue}/schedules/{name}{more}"


async def put(client, name="s", queue="foo", status=None, job=JOB, **fields):
    answer = await client.put(path(name, queue), json.dumps({"job": job, **fields}).encode())
    assert answer.status in ((200, 201) if status is None else (status,)), answer.body
    return answer.json


async def show(client, name="s", queue="foo"):
    answer = await client.get(path(name, queue))
    assert answer.status == 200, answer.body
    return answer.json


@awaiting
async def test_a_schedule_is_made_shown_and_deleted(client):
    before = time.time()
    made = await put(client, status=201, **DAILY)
    at = datetime.fromtimestamp(made["next_at"], ZoneInfo("Europe/Berlin"))
    assert (at.hour, at.minute, at.second) == (7, 0, 0)
    assert before < made["next_at"] <= before + 86400 + 3600
    assert before - 1 <= made.pop("created_at") <= time.time() + 1
    del made["next_at"]
    assert made == {
        "queue": "foo",
        "name": "s",
        "cron": "0 7 * * *",
        "timezone": "Europe/Berlin",
        "misfire": "once",
        "overlap": "allow",
        "paused": False,
        "job": {"payload": {"n": 1}},
        "fired": 0,
        "skipped": 0,
    }
    assert {**await show(client), "x": 1}.items() >= made.items()
    answer = await client.delete(path())
    assert (answer.status, answer.body) == (204, b"")
    for gone in (await client.get(path()), await client.delete(path()), await client.get(path(more="/next"))):
        assert is_problem(gone, 404, "not-found") == "unknown schedule"
    is_problem(await send(client, "queues/foo/schedules/s/run-now"), 404, "not-found")


@awaiting
async def test_an_interval_begins_now(client, daemon):
    made = await put(client, **OFTEN)
    assert abs(made["next_at"] - 3600 - daemon.store.now()) < 5
    assert made["every"] == 3600
    assert "cron" not in made


@awaiting
async def test_the_same_definition_changes_nothing_and_another_one_begins_anew(client):
    first = await put(client, status=201, every=100)
    assert await put(client, status=200, every=100) == first
    # The job and what becomes of missed times are changed without a change of the times.
    changed = await put(client, status=200, every=100, job={"payload": 2}, misfire="all", overlap="skip")
    assert changed["next_at"] == first["next_at"]
    assert (changed["job"], changed["misfire"], changed["overlap"]) == ({"payload": 2}, "all", "skip")
    assert changed["created_at"] == first["created_at"]
    other = await put(client, status=200, every=200)
    assert other["next_at"] > first["next_at"] + 90
    cron = await put(client, status=200, cron="* * * * *")
    assert cron["next_at"] % 60 == 0
    berlin = await put(client, status=200, cron="0 12 * * *", timezone="Europe/Berlin")
    assert (await put(client, status=200, cron="0 12 * * *"))["next_at"] != berlin["next_at"]


@awaiting
async def test_a_paused_schedule_has_no_next_time_and_begins_anew_when_it_goes_on(client, redis):
    first = await put(client, every=100)
    assert (await put(client, every=100, paused=True))["next_at"] is None
    assert redis.command("ZCARD", "presque:{0}/schedule_due") == 0
    assert await put(client, every=100, paused=True) == await show(client)
    again = await put(client, every=100)
    assert first["next_at"] <= again["next_at"] <= first["next_at"] + 5
    made_paused = await put(client, "p", status=201, every=100, paused=True)
    assert made_paused["next_at"] is None


@awaiting
async def test_the_job_is_as_on_insertion(client):
    job = {
        "payload": {"n": 1},
        "delay": 1.5,
        "unique": "ключ",
        "max_attempts": 3,
        "priority": 9,
        "expires_in": 60.25,
        "headers": {"a": "b"},
    }
    assert (await put(client, job=job, **OFTEN))["job"] == job
    assert (await show(client))["job"] == job
    answer = await send(client, "queues/foo/schedules/s/run-now")
    assert answer.json["state"] == "delayed"
    view = await look(client, answer.json["id"])
    assert (view["unique"], view["max_attempts"]) == ("ключ", 3)
    assert (view["priority"], view["headers"]) == (9, {"a": "b"})
    assert abs(view["due_at"] - view["created_at"] - 1.5) < 0.001
    assert abs(view["expires_at"] - view["created_at"] - 60.25) < 0.001


@awaiting
async def test_the_payload_comes_back_byte_for_byte(client):
    body = b'{"every":3600,"job":{"payload": {"n": 1.50,  "a":"\\u00e9", "s":"\\udce9"} }}'
    assert (await client.put(path(), body)).status == 201
    assert b'{"payload":{"n": 1.50,  "a":"\\u00e9", "s":"\\udce9"}}' in (await client.get(path())).body
    await send(client, "queues/foo/schedules/s/run-now")
    assert (await client.get("/q/foo")).body == b'{"n": 1.50,  "a":"\\u00e9", "s":"\\udce9"}'


@awaiting
async def test_run_now_inserts_as_an_insertion_does(client):
    before = await put(client, job={"payload": 7, "unique": "k"}, paused=True, **OFTEN)
    answer = await send(client, "queues/foo/schedules/s/run-now")
    assert (answer.status, answer.json["state"]) == (201, "ready")
    assert answer.headers["location"] == f"/v1/jobs/{answer.json['id']}"
    again = await send(client, "queues/foo/schedules/s/run-now")
    is_problem(again, 409, "duplicate")
    assert again.json["existing"] == answer.json["id"]
    after = await show(client)
    assert (after["next_at"], after["fired"], after["last_job"]) == (before["next_at"], 1, answer.json["id"])
    await client.request("PATCH", "/v1/queues/foo", b'{"max_length":1}', Content_Type="application/json")
    await put(client, "t", **OFTEN)
    is_problem(await send(client, "queues/foo/schedules/t/run-now"), 429, "queue-full")
    await client.request("PATCH", "/v1/queues/foo", b'{"accepting":false}', Content_Type="application/json")
    is_problem(await send(client, "queues/foo/schedules/t/run-now"), 409, "wrong-state")
    assert (await show(client, "t"))["fired"] == 0


@awaiting
async def test_the_next_times_are_told(client):
    made = await put(client, **DAILY)
    answer = await client.get(path(more="/next?count=3"))
    assert answer.status == 200
    times = answer.json["times"]
    assert times[0] == made["next_at"]
    assert len(times) == 3
    assert all(23 * 3600 <= b - a <= 25 * 3600 for a, b in pairwise(times))
    assert len((await client.get(path(more="/next"))).json["times"]) == 10
    often = await put(client, "o", every=1.5, misfire="skip")
    found = (await client.get(path("o", more="/next?count=100"))).json["times"]
    assert len(found) == 100
    assert abs(found[-1] - found[0] - 99 * 1.5) < 0.01
    assert found[0] >= often["next_at"]
    await put(client, "o", every=100, paused=True)
    assert len((await client.get(path("o", more="/next?count=2"))).json["times"]) == 2
    for bad in ("0", "101", "-1", "x", "1.5", "%D9%A3", "1" * 5000):
        is_problem(await client.get(path(more=f"/next?count={bad}")), 400, "bad-request")


BAD = [
    {},
    {**OFTEN, **DAILY},
    {"cron": "* * * *"},
    {"cron": "0 0 30 2 *"},
    {"cron": "* * */20 * 1L"},
    {"cron": "60 * * * *"},
    {"cron": "* * * * * *"},
    {"cron": "\u0661 * * * *"},
    {"cron": "1" * 1000},
    {"cron": 5},
    {"cron": "* * * * *\udce9"},
    {"every": 0},
    {"every": 0.9999},
    {"every": -1},
    {"every": 366 * 86400 + 1},
    {"every": 1e308},
    {"every": "60"},
    {"every": True},
    {**DAILY, "timezone": "Europe/Nowhere"},
    {**DAILY, "timezone": "../../etc/passwd"},
    {**DAILY, "timezone": "/etc/localtime"},
    {**DAILY, "timezone": "x" * (LONGEST_ZONE + 1)},
    {**DAILY, "timezone": ""},
    {**DAILY, "timezone": None},
    {**OFTEN, "timezone": "Mars/Olympus"},
    {**OFTEN, "misfire": "twice"},
    {**OFTEN, "overlap": "never"},
    {**OFTEN, "paused": 1},
    {**OFTEN, "colour": "red"},
    {**OFTEN, "next_at": 1},
    {**OFTEN, "job": {}},
    {**OFTEN, "job": None},
    {**OFTEN, "job": {"payload": 1, "colour": "red"}},
    {**OFTEN, "job": {"payload": 1, "run_at": 1}},
    {**OFTEN, "job": {"payload": 1, "expires_at": 1}},
    {**OFTEN, "job": {"payload": 1, "delay": -1}},
    {**OFTEN, "job": {"payload": 1, "priority": 10}},
    {**OFTEN, "job": {"payload": 1, "unique": "\udce9"}},
    {**OFTEN, "job": {"payload": 1, "headers": {"é": "x"}}},
    {**OFTEN, "job": {"jobs": [{"payload": 1}]}},
]


@pytest.mark.parametrize("fields", BAD, ids=lambda fields: ascii(fields)[:60])
@awaiting
async def test_what_is_no_schedule_is_refused_and_nothing_is_stored(client, redis, fields):
    answer = await client.put(path(), json.dumps({"job": JOB, **fields}).encode())
    assert is_problem(answer, 400, "bad-request")
    assert not [key for key in redis.command("KEYS", "*") if b"schedule" in key]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"1", b"{", b'{"every":NaN,"job":{"payload":1}}', b'{"every":1e999,"job":{"payload":1}}', b"\xff"]
    + [b'{"every":60}', b'{"job":{"payload":1}}', b'{"every":60,"job":{"payload":' + b"[" * 100_000],
    ids=lambda body: ascii(body)[:40],
)
@awaiting
async def test_what_is_no_json_is_refused(client, body):
    is_problem(await client.put(path(), body), 400, "bad-request")


ODD = [None, True, 0, -1, 1, 1.5, 1e15, 1e308, 2**70, "", "x", "\ud800", "\0", "*" * 600, "UTC", "* * * * *", [], {}]
ODD += ["*/61 * * * *", "0-59/0 * * * *", "* * L * 5L", "0 0 LW 2 MON#5", "0 0 31 2 *", "all", "skip", {"payload": [1]}]


@awaiting
async def test_no_fields_of_any_kind_give_a_500(client, failures):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance, statuses = random.Random(seed), Counter()
    names = ["cron", "every", "timezone", "misfire", "overlap", "paused", "job"]
    inside = ["payload", "delay", "unique", "max_attempts", "priority", "expires_in", "headers"]
    for _ in range(600):
        body = {**chance.choice([OFTEN, DAILY]), "job": {"payload": 1}}
        body.update({name: chance.choice(ODD) for name in chance.sample(names, chance.randint(0, 2))})
        if isinstance(body["job"], dict):
            odd = {name: chance.choice(ODD) for name in chance.sample(inside, chance.randint(0, 2))}
            body["job"] = {**body["job"], **odd}
        answer = await client.put(path(), json.dumps(body).encode())
        assert answer.status in (200, 201, 400), (body, answer.body)
        statuses[answer.status] += 1
    assert statuses[200] > 10 < statuses[400]
    assert failures == []


@awaiting
async def test_a_schedule_has_a_name_as_a_queue_has(client):
    for bad in ("-a", "a%2Fb", "%C3%A9", "x" * 129, "a%00", ".", ":a"):
        for method, more in (("PUT", ""), ("GET", ""), ("DELETE", ""), ("GET", "/next"), ("POST", "/run-now")):
            answer = await client.request(
                method, path(bad, more=more), json.dumps({"job": JOB, **OFTEN}).encode() if method == "PUT" else None
            )
            if bad != ".":  # a path of its own
                assert is_problem(answer, 400, "invalid-name") == "invalid schedule name"
    is_problem(await client.put(path(queue="-a"), json.dumps({"job": JOB, **OFTEN}).encode()), 400, "invalid-name")
    for good in ("a", "_", "9", "A.b_c:d@e-f", "x" * 128):
        await put(client, good, status=201, **OFTEN)
        assert (await show(client, good))["name"] == good


@awaiting
async def test_all_schedules_are_listed_page_by_page(client):
    assert (await client.get("/v1/schedules")).json == {"schedules": [], "next": None}
    expected = []
    for queue in ("a", "a-b", "a.b", "b", "a:b"):
        for n in range(4):
            await put(client, f"s{n}", queue, paused=n == 1, **OFTEN)
            expected.append(f"{queue}/s{n}")
    found, cursor = [], ""
    while cursor is not None:
        page = (await client.get(f"/v1/schedules?limit=3&cursor={cursor}")).json
        assert len(page["schedules"]) <= 3
        found += [f"{each['queue']}/{each['name']}" for each in page["schedules"]]
        cursor = page["next"]
    assert found == sorted(expected)
    page = (await client.get("/v1/schedules")).json
    assert len(page["schedules"]) == 20
    assert page["next"] is None
    assert page["schedules"][0] == await show(client, "s0", "a-b")  # "-" is before "/"
    for bad in ("-a/b", "a", "a/b/c", "%ff/a", "a%00/b", "a/%C3%A9", "x" * 300):
        is_problem(await client.get(f"/v1/schedules?cursor={bad}"), 400, "bad-request")


@awaiting
async def test_a_page_of_large_jobs_ends_early(client):
    for n in range(12):
        await put(client, f"s{n:02}", job={"payload": "x" * 1_000_000}, **OFTEN)
    found, cursor, pages = [], "", 0
    while cursor is not None:
        page = (await client.get(f"/v1/schedules?cursor={cursor}")).json
        found += [each["name"] for each in page["schedules"]]
        cursor, pages = page["next"], pages + 1
    assert found == [f"s{n:02}" for n in range(12)]
    assert pages == 2


@awaiting
async def test_a_list_over_many_partitions_is_sorted_as_one(redises):
    redis = redises()
    daemon = daemon_on(redis.url, partitions="7")
    daemon.startService()
    await daemon.started
    client = Client(port_of(daemon))
    expected = sorted(f"q{n}" for n in range(30))
    for queue in expected:
        await put(client, queue=queue, **OFTEN)
    found, cursor = [], ""
    while cursor is not None:
        page = (await client.get(f"/v1/schedules?limit=4&cursor={cursor}")).json
        found += [each["queue"] for each in page["schedules"]]
        cursor = page["next"]
    assert found == expected
    redis.command("RENAME", "presque:{2}/schedule_names", "saved")
    redis.command("SET", "presque:{2}/schedule_names", "spoiled")
    answer = await client.get("/v1/schedules")
    assert (answer.status, answer.json["missing_partitions"]) == (200, [2])
    there = [queue for queue in expected if partition_of(queue, 7) != 2]
    assert [each["queue"] for each in answer.json["schedules"]] == there != expected
    await client.close()
    await maybeDeferred(daemon.stopService)


@awaiting
async def test_a_schedule_outlives_its_queue(client, redis):
    """As it says in docs/v1.md: DELETE of a queue leaves its schedules, which make it anew."""
    made = await put(client, **OFTEN)
    await insert(client, 1)
    assert (await client.delete("/v1/queues/foo")).status == 204
    assert await show(client) == made
    answer = await send(client, "queues/foo/schedules/s/run-now")
    assert answer.json["id"] == "foo:2"


@awaiting
async def test_a_schedule_of_a_later_release_is_kept_and_not_run(client, redis):
    await put(client, every=100)
    key, member = "presque:{0}/schedules", "foo/s"
    text = redis.command("HGET", key, member)
    later = text.replace(b"\x81\xa5every", b"\x82\xa5novel\x01\xa5every")
    head, _, rest = later.partition(b"\n")
    sizes = head.split(b" ")
    sizes[0] = b"%d" % (int(sizes[0]) + 7)
    later = b" ".join(sizes) + b"\n" + rest
    redis.command("HSET", key, member, later)
    is_problem(await client.get(path()), 409, "wrong-state")
    is_problem(await client.get(path(more="/next")), 409, "wrong-state")
    is_problem(await send(client, "queues/foo/schedules/s/run-now"), 409, "wrong-state")
    await put(client, "t", every=100)
    assert [each["name"] for each in (await client.get("/v1/schedules")).json["schedules"]] == ["t"]
    assert redis.command("HGET", key, member) == later
    assert (await put(client, status=200, every=200))["every"] == 200  # a PUT replaces it


@awaiting
async def test_a_schedule_fires_and_says_so(client):
    await put(client, every=1)
    view = {}

    async def fired():
        view.update(await show(client))
        return view["fired"] > 0

    await eventually(fired, "the first job")
    job = await look(client, view["last_job"])
    assert job["payload"] == JOB["payload"]
    assert abs(view["last_at"] - job["created_at"]) < 0.001
    assert view["last_at"] < view["next_at"]
    (taken,) = await reserve(client)
    await settle(client, "ack", taken)
