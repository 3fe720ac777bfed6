"""What `/v1` answers when something is odd: repeated, partly done, unknown, too long, or written long ago."""

import json

import pytest
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, daemon_on, eventually, port_of
from twisted.internet.defer import Deferred, DeferredList, fail, gatherResults
from v1 import insert, is_problem, look, reserve, send, settle

from presque.errors import OutcomeUnknown, StoreUnavailable
from presque.web.problems import PROBLEMS

KEYS = "presque:{0}:foo:"


async def patch(client, queue="foo", **settings):
    answer = await client.request("PATCH", f"/v1/queues/{queue}", json.dumps(settings).encode())
    assert answer.status == 200, answer.body
    return answer.json


def refusing(monkeypatch, daemon, verb, queue, error, after=0):
    """Have a script fail with `error` on that queue, after so many calls."""
    ask, calls = daemon.store.on_queue, []

    def on_queue(name, of, *args, **options):
        if (name, of) == (verb, queue):
            calls.append(args)
            if len(calls) > after:
                return fail(error())
        return ask(name, of, *args, **options)

    monkeypatch.setattr(daemon.store, "on_queue", on_queue)


@pytest.mark.parametrize(
    ("verb", "said"), [("ack", {}), ("nack", {"delay": 9}), ("nack", {"final": True}), ("nack", {}), ("release", {})]
)
@awaiting
async def test_a_settlement_is_repeated_as_it_was_answered_whatever_became_of_the_job(client, verb, said):
    await insert(client, 1)
    (job,) = await reserve(client)
    first = await settle(client, verb, job, **said)
    assert first.status in (200, 204)
    for happens in (None, "ready again", "another's", "acked"):
        if happens == "ready again" and verb == "nack":
            await client.post("/v1/queues/foo/retry-dead", b'{"all":true}')
        if happens == "another's":
            others = await reserve(client)
        if happens == "acked" and others:
            assert (await settle(client, "ack", others[0])).status == 204
        again = await settle(client, verb, job, **said)
        assert (again.status, again.body) == (first.status, first.body)
        for other in {"ack", "nack", "release"} - {verb}:
            is_problem(await settle(client, other, job), 409, "lease-lost")


@awaiting
async def test_ten_thousand_later_settlements_are_remembered_and_not_many_more(client, redis):
    def settled(count, letter):
        """So many jobs were acknowledged."""
        program = "for i = 1, ARGV[1] do redis.call('HSET', KEYS[1], ARGV[2] .. i, 'l') end"
        redis.command("EVAL", program, 1, f"{KEYS}acked", count, letter)

    def remembered():
        return sum(redis.command("HLEN", KEYS + key) for key in ("acked", "acked_before"))

    await insert(client, *range(1000))
    first, *others = [job for _ in range(10) for job in await reserve(client, max=100)]
    answer = await settle(client, "nack", first)
    for letter in ("x", "y"):
        settled(9998, letter)
        assert (await settle(client, "nack", first)).body == answer.body
        while redis.command("HLEN", f"{KEYS}acked") > 9000:  # whether they are too many is looked at now and then
            await settle(client, "ack", others.pop())
            assert remembered() < 21_000
        if letter == "x":
            assert (await settle(client, "nack", first)).body == answer.body
    is_problem(await settle(client, "nack", first), 409, "lease-lost")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (json.dumps("x" * 400 + "y" * 20_000 + "z" * 800), "x" * 300 + "z" * 700),
        (json.dumps("\U0001f600" * 10_000), "\U0001f600" * 1000),
        (json.dumps("a\0b\x1b[31m\x7f"), "a\0b\x1b[31m\x7f"),
        ('"caf\\udce9 \\ud83d\\ude00 \\\\udce9"', "caf\ufffd \U0001f600 \\udce9"),
        ("null", None),
    ],
)
@awaiting
async def test_any_error_text_is_taken(client, text, kept):
    await insert(client, 1, 2)
    one, two = await reserve(client, max=2)
    body = f'{{"receipt":"{one["receipt"]}","delay":500,"error":{text}}}'
    assert (await client.post(f"/v1/jobs/{one['id']}/nack", body.encode())).status == 200
    body = f'{{"settlements":[{{"id":"{two["id"]}","outcome":"nack","receipt":"{two["receipt"]}","error":{text}}}]}}'
    answer = await client.post("/v1/settlements", body.encode())
    assert answer.json["results"][0]["result"] == "delayed"
    assert 4 <= answer.json["results"][0]["due_in"] <= 6
    for job in (one, two):
        assert (await look(client, job["id"])).get("last_error", "") == (kept or "")


@awaiting
async def test_a_payload_with_a_lone_surrogate_comes_back_byte_for_byte(client):
    text = b'"caf\\udce9 \\uDC00\\ufffd"'
    assert (await client.post("/v1/queues/foo/jobs", b'{"unique":"k","payload": ' + text + b"}")).status == 201
    assert (
        await client.post("/v1/queues/foo/jobs", b'{"jobs":[{"payload":1},{"payload":' + text + b"}]}")
    ).status == 201
    wrong = await client.post("/v1/queues/foo/jobs", b'{"unique":"\\udce9","payload":1}')
    assert "unique" in is_problem(wrong, 400, "bad-request")
    assert (await client.post("/v1/queues/foo/reservations", b'{"max":9}')).body.count(text) == 2


@awaiting
async def test_a_settlement_of_two_queues_tells_what_became_of_each(daemon, client, monkeypatch):
    await insert(client, 1, queue="foo")
    await insert(client, 2, queue="bar")
    jobs = [(await reserve(client, queue))[0] for queue in ("foo", "bar")]
    items = [{"id": job["id"], "receipt": job["receipt"]} for job in jobs]
    for error, word in ((StoreUnavailable, "unavailable"), (OutcomeUnknown, "unknown"), (ValueError, "unknown")):
        with monkeypatch.context() as patch:
            refusing(patch, daemon, "extend", "bar", error)
            refusing(patch, daemon, "ack", "bar", error)
            answer = await send(client, "extensions", {"jobs": items, "lease": 30})
            assert [each["result"] for each in answer.json["results"]] == ["extended", word]
            assert answer.json["results"][0]["lease"] == 30
            said = {"settlements": [{**item, "outcome": "ack"} for item in items]}
            answer = await send(client, "settlements", said)
            assert [each["result"] for each in answer.json["results"]] == ["acked", word]
            if word == "unavailable":
                refused = await send(client, "settlements", {"settlements": said["settlements"][1:]})
                is_problem(refused, 503, "store-unavailable")
        await insert(client, 1, queue="foo")
        (job,) = await reserve(client, "foo")
        items[0] = {"id": job["id"], "receipt": job["receipt"]}


@awaiting
async def test_a_purge_that_was_cut_off_says_how_many_it_deleted(daemon, client, monkeypatch):
    await insert(client, *range(1000))
    await insert(client, *range(500))
    refusing(monkeypatch, daemon, "purge", "foo", StoreUnavailable, after=1)
    answer = await send(client, "queues/foo/purge", {"state": "ready"})
    assert "1000" in is_problem(answer, 503, "store-outcome-unknown")
    assert answer.json["purged"] == 1000
    is_problem(await send(client, "queues/foo/purge", {"state": "ready"}), 503, "store-unavailable")


@awaiting
async def test_a_keyed_reservation_gives_the_same_jobs_while_they_are_leased(client):
    await insert(client, 1, 2, 3)
    headers = {"Idempotency_Key": "k"}

    async def ask(queues="foo"):
        return (await client.post(f"/v1/queues/{queues}/reservations", b'{"max":2}', **headers)).json["jobs"]

    first = await ask()
    again = await ask()
    same = ("id", "receipt", "payload", "attempt", "lease_expires_at")
    assert [[job[name] for name in same] for job in again] == [[job[name] for name in same] for job in first]
    await insert(client, 9, queue="bar")
    assert [job["id"] for job in await ask("bar,foo")] == ["foo:1", "foo:2"]
    await settle(client, "ack", first[0])
    assert [job["id"] for job in await ask()] == ["foo:2"]
    await settle(client, "ack", first[1])
    assert [job["id"] for job in await ask()] == ["foo:3"]
    for key in ("", "x" * 256):
        answer = await client.post("/v1/queues/foo/reservations", b"{}", Idempotency_Key=key)
        assert "Idempotency-Key" in is_problem(answer, 400, "bad-request")


@pytest.mark.parametrize("second", ["foo,bar", "bar,foo", "baz,bar,foo"])
@awaiting
async def test_two_requests_with_one_key_that_wait_at_two_daemons_are_given_the_same_jobs(
    daemon, client, redis, second
):
    other_daemon = daemon_on(redis.url)
    other_daemon.startService()
    await other_daemon.started
    other = Client(port_of(other_daemon))

    async def both_wait():
        return len(daemon.waiting) == len(other_daemon.waiting) == 1

    try:
        for n in range(5):
            asked = [
                Deferred.fromCoroutine(
                    at.post(f"/v1/queues/{queues}/reservations", b'{"max":5,"wait":9}', Idempotency_Key=f"k{n}")
                )
                for at, queues in ((client, "foo,bar"), (other, second))
            ]
            await eventually(both_wait, "the waiters")
            await insert(client, n, queue="foo")
            await DeferredList(asked, fireOnOneCallback=True)
            await insert(client, n, queue="bar")
            first, same = [
                [(job["id"], job["receipt"]) for job in answer.json["jobs"]] for answer in await gatherResults(asked)
            ]
            assert same == first
            assert len(first) == 1
            assert first[0][0].startswith("foo:")
            await client.delete("/v1/queues/foo")
            await client.delete("/v1/queues/bar")
    finally:
        await other.close()
        await other_daemon.stopService()


@awaiting
async def test_a_keyed_request_that_looks_twice_leases_once_and_may_still_give_back(daemon, client):
    """A waiting request looks in several places and once more at its end; only what another request was told stays."""
    await insert(client, 1, 2)
    await insert(client, 3, queue="bar")
    receipt = daemon.leases.new_receipt()

    def look_for_jobs(queue):
        return daemon.leases.reserve(queue, 1, key=b"k", receipt=receipt, others=("foo", "bar"))

    taken = await look_for_jobs("foo")
    assert taken.numbers == (b"1",)
    for queue in ("foo", "bar"):
        assert (await look_for_jobs(queue)).numbers == ()
    assert await daemon.queues.give_back(taken) == 1


@awaiting
async def test_from_the_second_lease_on_that_runs_out_a_job_waits(client):
    await patch(client, backoff={"first": 500})
    await insert(client, 1, 2)
    await reserve(client, lease=0.05)

    async def left():
        return (await look(client, "foo:1"))["state"] != "leased"

    await eventually(left)
    assert (await look(client, "foo:1"))["state"] == "ready"
    assert (await reserve(client, lease=0.05))[0]["id"] == "foo:1"
    await eventually(left)
    seen = await look(client, "foo:1")
    assert (seen["state"], seen["attempts"]) == ("delayed", 2)
    assert (await reserve(client))[0]["id"] == "foo:2"


@awaiting
async def test_the_worker_of_a_leased_job_is_told_and_only_while_it_holds_it(client):
    await insert(client, 1)
    (job,) = await reserve(client, worker_id="w 1")
    assert (await look(client, "foo:1"))["worker"] == "w 1"
    assert (await client.get("/v1/queues/foo/jobs?state=leased")).json["jobs"][0]["worker"] == "w 1"
    await settle(client, "release", job)
    assert "worker" not in await look(client, "foo:1")
    await reserve(client)
    assert "worker" not in await look(client, "foo:1")


@awaiting
async def test_a_queue_that_accepts_nothing_refuses_on_every_route_of_insertion_and_goes_on(client):
    await insert(client, 1)
    assert (await patch(client, accepting=False))["settings"]["accepting"] is False
    answer = await send(client, "queues/foo/jobs", {"payload": 1})
    assert is_problem(answer, 409, "wrong-state") == "queue accepts no jobs"
    for answer in (
        await client.post("/q/foo", b"{}"),
        await client.put("/q/foo", b"{}"),
        await client.post("/qb/foo", b'{"jobs":[{}]}'),
    ):
        assert (answer.status, answer.body) == (409, b'{"error":"queue accepts no jobs"}')
    (job,) = await reserve(client)
    assert (await settle(client, "nack", job, delay=0)).status == 200
    assert (await patch(client, accepting=None))["settings"]["accepting"] is True
    assert (await send(client, "queues/foo/jobs", {"payload": 1})).status == 201


@pytest.mark.parametrize(
    "query", ["?sate=dead", "?lease=1", "?sate", "?sate=", "?%73ate=1", "?limit=1&limit=2", "?a;b"]
)
@awaiting
async def test_a_parameter_that_a_route_does_not_know_is_refused_by_name(client, query):
    await insert(client, 1)
    name = query[1:].replace("%73", "s").split("=")[0].split("&")[0].split(";")[0]
    for method, path in (("GET", "queues/foo/jobs"), ("POST", "queues/foo/reservations"), ("DELETE", "queues/foo")):
        assert name in is_problem(await client.request(method, f"/v1/{path}{query}", b""), 400, "bad-request")
    assert (await look(client, "foo:1"))["state"] == "ready"


@awaiting
async def test_the_interface_tells_its_limits_and_explains_its_problems(client, redis):
    about = (await client.get("/v1")).json
    assert list(about) == ["version", "now", "limits", "features"]
    assert about["limits"]["body"] == 1_048_576
    assert abs(about["now"] - int(redis.command("TIME")[0])) < 2
    is_problem(await client.get("/v1?x=1"), 400, "bad-request")
    for slug, (title, status, advice) in PROBLEMS.items():
        expected = {"type": f"/problems/{slug}", "title": title, "status": status, "detail": advice}
        assert (await client.get(f"/problems/{slug}")).json == expected
    assert (await client.get("/problems/none")).status == 404


@awaiting
async def test_unknown_queues_are_not_found_except_by_what_begins_them(client):
    for path, body in (("purge", b'{"state":"all"}'), ("retry-dead", b'{"all":true}'), ("resume", b"")):
        is_problem(await client.post(f"/v1/queues/foo/{path}", body), 404, "not-found")
    is_problem(await client.delete("/v1/queues/foo"), 404, "not-found")
    assert (await client.post("/v1/queues/foo/pause")).status == 204
    assert (await client.post("/v1/queues/foo/resume")).status == 204


@awaiting
async def test_all_of_the_dead_are_retried_however_many(client):
    await insert(client, *range(1000), max_attempts=1)
    await insert(client, *range(100), max_attempts=1)
    jobs = [job for _ in range(11) for job in await reserve(client, max=100)]
    said = [{"id": job["id"], "receipt": job["receipt"], "outcome": "nack"} for job in jobs]
    for part in (said[:1000], said[1000:]):
        await send(client, "settlements", {"settlements": part})
    assert (await send(client, "queues/foo/retry-dead", {"all": True})).json == {"moved": 1100, "not_found": []}


@awaiting
async def test_a_settlement_is_noted_in_words_that_any_release_of_this_model_reads(client, redis):
    await insert(client, 1)
    (job,) = await reserve(client)
    assert (await settle(client, "release", job)).status == 204
    noted = {
        f"1 {job['receipt']}": "release 0 0",
        "2 lr": "release 0 0",
        "3 lr": "delayed 9000 5000",
        "4 lr": "dead 0 0",
        "5": "lr",
    }
    for member, words in list(noted.items())[1:]:
        redis.command("HSET", f"{KEYS}acked", member, words)
    told = redis.command("HGETALL", f"{KEYS}acked")
    assert {key.decode(): value.decode() for key, value in zip(told[::2], told[1::2], strict=True)} == noted
    verbs = ((2, "release"), (3, "nack"), (4, "nack"), (5, "ack"))
    said = [{"id": f"foo:{n}", "receipt": "lr", "outcome": verb} for n, verb in verbs]
    results = (await send(client, "settlements", {"settlements": said})).json["results"]
    assert results == [
        {"id": "foo:2", "result": "released"},
        {"id": "foo:3", "result": "delayed", "due_at": 9, "due_in": 5},
        {"id": "foo:4", "result": "dead"},
        {"id": "foo:5", "result": "acked"},
    ]
    crossed = [{**each, "outcome": verb} for each, verb in zip(said, ("nack", "release", "ack", "nack"), strict=True)]
    results = (await send(client, "settlements", {"settlements": crossed})).json["results"]
    assert [each["result"] for each in results] == ["not-found"] * 3 + ["lease-lost"]


@awaiting
async def test_jobs_as_presque_redis_keys_describes_them_are_read(client, redis):
    """A leased job without options, of which nothing failed, and the note that another one was acknowledged."""
    for key, number, value in (("live", 2, "-lold"), ("jobs", 2, '0000000000001-"two"'), ("acked", 1, "lgone")):
        redis.command("HSET", KEYS + key, number, value)
    redis.command("HSET", f"{KEYS}q", "n", 2, "base", 0, "out", 2, "acked", 1, "at", 1)
    redis.command("ZADD", f"{KEYS}leased", 9e12, 2)
    redis.command("ZADD", "presque:{0}/queues", 0, "foo")
    redis.command("ZADD", "presque:{0}/due", 1, "foo")
    assert (await settle(client, "ack", {"id": "foo:1", "receipt": "lgone"})).status == 204
    is_problem(await settle(client, "nack", {"id": "foo:1", "receipt": "lgone"}), 409, "lease-lost")
    held = {"id": "foo:2", "receipt": "lold"}
    seen = await look(client, "foo:2")
    assert (seen["state"], seen["payload"], seen["headers"], seen["priority"]) == ("leased", "two", {}, 5)
    assert "worker" not in seen
    assert (await settle(client, "extend", held)).status == 200
    first = await settle(client, "nack", held, error="x")
    assert first.json["state"] == "delayed"
    assert (await settle(client, "nack", held)).body == first.body
