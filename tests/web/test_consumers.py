"""Who consumes, and what each holds: `/v1/workers`."""

from urllib.parse import quote

import pytest
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, daemon_on, eventually, port_of
from twisted.internet.defer import ensureDeferred, maybeDeferred
from v1 import insert, is_problem, reserve, send

from presque.jobs import consumers
from presque.redis.keys import partition_of

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img onerror>',
    "\u65e5\u672c \U0001f600",
    "a&b=c?d#e/f",
    "\u00e9" * 256,
    "{0}",
]
BAD_CURSORS = ["x", "w%00", "q..", "q-", "qa%2Fb", "w" + "x" * 257, "%FF", "q" + "x" * 129, "W1"]


async def workers(client, query=""):
    """All workers, from all pages, and what the first page said besides."""
    found, first, cursor = [], None, ""
    while cursor is not None:
        answer = await client.get(f"/v1/workers?{query}{'&' if query and cursor else ''}{cursor}")
        assert answer.status == 200, answer.body
        first = first or answer.json
        found += answer.json["workers"]
        cursor = answer.json["next"] and f"cursor={quote(answer.json['next'], safe='')}"
    return found, first


def held(worker):
    return [hold["id"] for hold in worker["holds"]]


@awaiting
async def test_nobody_is_there(client):
    nothing = {"workers": [], "waiting": {}, "incomplete": [], "next": None}
    assert (await client.get("/v1/workers")).json == nothing
    assert (await client.get("/v1/workers?queue=foo")).json == nothing


@awaiting
async def test_a_registered_worker_its_counters_and_what_is_kept_for_it(client):
    await client.request("PATCH", "/v1/queues/foo", b'{"redeliver_after":60}')
    await client.post("/w/foo?worker_id=w1")
    await client.post("/w/bar?worker_id=w1")
    await insert(client, 1, 2)
    assert (await client.get("/q/foo?worker_id=w1")).status == 200

    async def is_kept():
        (found,), _ = await workers(client)
        return found if found["holding"] else None

    found = await eventually(is_kept, "what is kept for it")
    assert (found["id"], found["registered"], found["queues"]) == ("w1", True, ["bar", "foo"])
    assert (found["processed"], found["failed"]) == (1, 0)
    assert 0 < found["started_at"] <= found["last_seen"]
    (hold,) = found["holds"]
    assert hold["id"] == "foo:1"
    assert found["last_seen"] < hold["lease_expires_at"] < found["last_seen"] + 65
    for queue, ids in (("foo", ["foo:1"]), ("bar", [])):
        ((found,), _) = await workers(client, f"queue={queue}")
        assert (found["id"], held(found)) == ("w1", ids)


@awaiting
async def test_whoever_holds_a_lease_is_there_registered_or_not_named_or_not(client):
    await insert(client, *range(4))
    await insert(client, 1, queue="bar")
    await client.post("/w/foo?worker_id=w1")
    await reserve(client, worker_id="w1")
    await reserve(client, worker_id="w2", max=2)
    await reserve(client)
    await reserve(client, "bar", worker_id="w2", lease=1000)
    found, _ = await workers(client)
    assert [(each["id"], each["registered"], each["queues"], held(each)) for each in found] == [
        ("w1", True, ["foo"], ["foo:1"]),
        (None, False, ["foo"], ["foo:4"]),
        ("w2", False, ["bar", "foo"], ["bar:1", "foo:2", "foo:3"]),
    ]
    assert found[1]["last_seen"] is found[1]["processed"] is None
    found, _ = await workers(client, "queue=bar")
    assert [(each["id"], held(each)) for each in found] == [("w2", ["bar:1"])]


@awaiting
async def test_a_worker_is_told_of_a_queue_on_which_it_is_not_registered_too(client):
    await client.post("/w/foo?worker_id=w1")
    await insert(client, 1, queue="bar")
    await reserve(client, "bar", worker_id="w1")
    found, _ = await workers(client)
    told = [(each["id"], each["registered"], held(each)) for each in found]
    assert told == [("w1", True, []), ("w1", False, ["bar:1"])]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
@awaiting
async def test_names_are_told_as_they_are(client, monkeypatch, name):
    monkeypatch.setattr(consumers, "PAGE", 1)
    await client.post(f"/w/foo?worker_id={quote(name, safe='')}")
    await client.post("/w/foo?worker_id=~last")
    await insert(client, 1)
    await reserve(client, worker_id=name)
    for query in ("", "queue=foo"):
        found, _ = await workers(client, query)
        assert {each["id"]: held(each) for each in found} == {name: ["foo:1"], "~last": []}


@awaiting
async def test_pages_have_everybody_once(client, monkeypatch):
    monkeypatch.setattr(consumers, "PAGE", 3)
    monkeypatch.setattr(consumers, "LOOKED_AT", 2)
    monkeypatch.setattr(consumers, "LOOKS", 2)
    names = [f"w{number:02}" for number in range(10)]
    for number, name in enumerate(names):
        await client.post(f"/w/q{number}?worker_id={name}")
        await client.post(f"/w/all?worker_id={name}")
        await insert(client, 1, queue=f"r{number}")
        await reserve(client, f"r{number}", worker_id=f"x{number}")
    found, _ = await workers(client)
    assert [each["id"] for each in found] == [*names, *(f"x{number}" for number in range(10))]
    found, _ = await workers(client, "queue=all")
    assert [each["id"] for each in found] == names


@awaiting
async def test_of_a_queue_with_very_many_leases_some_are_told(client, monkeypatch):
    monkeypatch.setattr(consumers, "MOST_HELD", 150)
    await insert(client, *range(200))
    for _ in range(2):
        await reserve(client, max=100, worker_id="w")
    (found,), first = await workers(client)
    assert (found["holding"], len(found["holds"]), first["incomplete"]) == (150, 100, ["foo"])


@awaiting
async def test_consumers_that_wait_are_counted_by_queue(daemon, client):
    waiting = ("foo", "foo", "foo,bar")
    asked = [ensureDeferred(send(client, f"queues/{queues}/reservations", {"wait": 30})) for queues in waiting]

    async def waits():
        return (await client.get("/v1/workers")).json["waiting"] == {"bar": 1, "foo": 3}

    await eventually(waits, "three wait")
    assert (await client.get("/v1/workers?queue=bar")).json["waiting"] == {"bar": 1}
    await insert(client, 1, 2, 3)
    for each in asked:
        assert (await each).status == 200


@pytest.mark.parametrize("cursor", BAD_CURSORS)
@awaiting
async def test_a_wrong_cursor_or_name_is_refused(client, cursor):
    is_problem(await client.get(f"/v1/workers?cursor={cursor}"), 400, "bad-request")
    is_problem(await client.get(f"/v1/workers?queue=foo&cursor={cursor}"), 400, "bad-request")
    is_problem(await client.get("/v1/workers?queue=-a"), 400, "invalid-name")
    is_problem(await client.get("/v1/workers?limit=1"), 400, "bad-request")


@awaiting
async def test_partitions_that_are_missing_are_named_and_the_others_told(redises):
    redis = redises()
    daemon = daemon_on(redis.url, partitions="4")
    daemon.startService()
    await daemon.started
    client = Client(port_of(daemon))
    try:
        names = [f"q{number}" for number in range(12)]
        for name in names:
            await client.post(f"/w/{name}?worker_id=of-{name}")
            await insert(client, 1, queue=name)
            await reserve(client, name, worker_id=f"x-{name}")
        for key in redis.command("KEYS", "presque:{2}/*"):
            redis.command("DEL", key)
            redis.command("SET", key, "spoilt")
        found, first = await workers(client)
        assert first["missing_partitions"] == [2]
        there = {name for name in names if partition_of(name, 4) != 2}
        assert {each["id"] for each in found} == {f"{kind}-{name}" for kind in ("of", "x") for name in there}
    finally:
        await client.close()
        await maybeDeferred(daemon.stopService)
