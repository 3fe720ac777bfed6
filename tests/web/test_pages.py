"""Jobs of a queue page by page: exactly, whatever happens meanwhile, and only those that match; and what is done to all
that match.
"""

import json
import random
from urllib.parse import quote

import pytest
from pytest_twisted import ensureDeferred as awaiting
from servers import eventually
from v1 import insert, is_problem, look, reserve, send, settle

STATES = ("ready", "delayed", "leased", "dead")


async def page(client, state="ready", queue="foo", **query):
    asked = "".join(f"&{name}={quote(str(value))}" for name, value in query.items())
    answer = await client.get(f"/v1/queues/{queue}/jobs?state={state}{asked}")
    assert answer.status == 200, answer.body
    return answer.json


async def listed(client, state="ready", between=None, **query):
    """The ids on all pages, in order. `between` is awaited after each page."""
    found, cursor = [], ""
    while cursor is not None:
        answer = await page(client, state, cursor=cursor, **query)
        found += [job["id"] for job in answer["jobs"]]
        cursor = answer["next"]
        if between and cursor is not None:
            await between()
    return found


async def nack(client, jobs, **said):
    items = [{"id": job["id"], "receipt": job["receipt"], "outcome": "nack", **said} for job in jobs]
    for start in range(0, len(items), 1000):
        answer = await send(client, "settlements", {"settlements": items[start : start + 1000]})
        assert answer.status == 200


async def lease(client, count, **asked):
    parts = [min(100, count - start) for start in range(0, count, 100)]
    return [job for part in parts for job in await reserve(client, max=part, **asked)]


async def kill(client, payloads, error="broken"):
    """Jobs that are dead of this error; their ids."""
    ids = await insert(client, *payloads, max_attempts=1)
    mine = set(ids)
    jobs = [job for job in await lease(client, len(ids)) if job["id"] in mine]
    assert len(jobs) == len(ids)
    await nack(client, jobs, error=error)
    return ids


async def fill(client, state, count):
    """Jobs in that state, with every option that changes where they stand; their ids."""
    options = [{}, {"priority": 9}, {"priority": 0}, {"unique": "u"}, {"expires_in": 6000}]
    jobs = [{"payload": n, "max_attempts": 1, **options[n % 5]} for n in range(count)]
    for n, job in enumerate(jobs):
        job |= {"delay": 60 + n % 7} if state == "delayed" else {}
        job |= {"unique": f"u{n}"} if "unique" in job else {}
    answer = await send(client, "queues/foo/jobs", {"jobs": jobs})
    assert answer.status == 201, answer.body
    if state in ("leased", "dead"):
        taken = await lease(client, count)
        await nack(client, taken) if state == "dead" else None
    return [job["id"] for job in answer.json["jobs"]]


class Churn:
    """Takes, deletes, adds and moves jobs between two pages, at random, and knows which stayed in their state."""

    def __init__(self, client, state, ids, chance):
        self.client, self.state, self.stayed, self.chance = client, state, set(ids), chance
        self.times = 0

    async def __call__(self):
        self.times += 1
        if self.times > 20:  # with pages of one job, those that are added would never end
            return
        for job_id in self.chance.sample(sorted(self.stayed), min(2, len(self.stayed))):
            self.stayed.discard(job_id)
            await self.client.delete(f"/v1/jobs/{job_id}")
        await insert(self.client, "new", priority=self.chance.randrange(10))
        if self.state != "delayed":
            await insert(self.client, "later", delay=0.01)
        moves = {"ready": self.take, "delayed": self.run, "leased": self.take, "dead": self.revive}
        await moves[self.state]()

    async def take(self):
        """Takes some of the ready; some go back to the front, and some die."""
        for job in await reserve(self.client, max=3):
            self.stayed.discard(job["id"])
            verb = self.chance.choice(["release", "nack", "ack", "extend"])
            await settle(self.client, verb, job)

    async def run(self):
        if self.stayed:
            job_id = self.chance.choice(sorted(self.stayed))
            self.stayed.discard(job_id)
            await send(self.client, f"jobs/{job_id}/run-now")

    async def revive(self):
        if self.stayed:
            job_id = self.chance.choice(sorted(self.stayed))
            self.stayed.discard(job_id)
            await send(self.client, "queues/foo/retry-dead", {"ids": [job_id]})
        for job in await reserve(self.client, max=2):
            await settle(self.client, "nack", job, final=True)


@pytest.mark.parametrize("state", STATES)
@awaiting
async def test_a_job_that_stays_in_its_state_is_on_exactly_one_page(client, state):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    ids = await fill(client, state, 120)
    churn = Churn(client, state, ids, chance)
    found = await listed(client, state, between=churn, limit=chance.choice([1, 3, 7, 20]))
    assert 0 < len(churn.stayed) < len(ids)
    for job_id in churn.stayed:
        assert found.count(job_id) == 1, job_id


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("limit", [1, 2, 10, 49, 50, 51, 1000])
@awaiting
async def test_pages_of_any_size_have_every_job_once(client, state, limit):
    ids = await fill(client, state, 50)
    assert sorted(await listed(client, state, limit=limit)) == sorted(ids)
    assert await listed(client, "ready" if state != "ready" else "dead", limit=limit) == []


@awaiting
async def test_the_pages_of_ready_jobs_are_in_the_order_in_which_they_are_taken(client):
    await fill(client, "ready", 50)
    for job in await reserve(client, max=10):
        await settle(client, "release", job)
    for n in (20, 21, 22):
        await client.delete(f"/v1/jobs/foo:{n}")
    found = await listed(client, limit=7)
    assert len(found) == 47
    assert found == [job["id"] for job in await reserve(client, max=100)]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    "cursor",
    ["x", "-1", ":", "'", "%00", "%ff", "%C3%A9", "null", "9" * 400, "x" * 300, "[]", "%F0%9F%98%80", "-", "+1e9"],
)
@awaiting
async def test_an_invalid_cursor_is_refused(client, state, cursor):
    await insert(client, 1)
    answer = await client.get(f"/v1/queues/foo/jobs?state={state}&cursor={cursor}")
    assert "cursor" in is_problem(answer, 400, "bad-request")


@awaiting
async def test_a_cursor_of_another_state_or_queue_does_no_harm(client):
    for state in STATES:
        await send(client, "queues/foo/purge", {"state": "all"}) if state != "ready" else None
        await fill(client, state, 20)
        cursor = (await page(client, state, limit=5))["next"]
        for other in STATES:
            answer = await client.get(f"/v1/queues/foo/jobs?state={other}&cursor={quote(cursor)}")
            assert answer.status == 200 or is_problem(answer, 400, "bad-request")
        assert (await client.get(f"/v1/queues/bar/jobs?cursor={quote(cursor)}")).status == 404


@awaiting
async def test_the_last_page_has_no_next_and_an_empty_state_has_one_page(client):
    await insert(client, *range(10))
    whole = await page(client, limit=10)
    assert (len(whole["jobs"]), whole["next"]) == (10, None)
    assert await page(client, "dead") == {"jobs": [], "next": None}


# What matches


@awaiting
async def test_jobs_are_listed_by_a_part_of_their_last_error(client):
    smtp = await kill(client, range(5), "SMTP: mailbox is full [550] (a+b)%d")
    dns = await kill(client, range(5), "caf\u00e9: no such host")
    none = await kill(client, range(5), None)
    for part, ids in (
        ("mailbox", smtp),
        ("[550] (a+b)%d", smtp),
        ("SMTP: mailbox is full [550] (a+b)%d", smtp),
        ("caf\u00e9", dns),
        ("host", dns),
        (":", smtp + dns),
        ("MAILBOX", []),
        ("other", []),
        (".", []),
        ("x" * 1000, []),
        ("", smtp + dns + none),
    ):
        for limit in (4, 100):
            assert sorted(await listed(client, "dead", error=part, limit=limit)) == sorted(ids), part


@awaiting
async def test_the_last_error_counts_and_no_earlier_one(client):
    await insert(client, 1)
    for error in ("first", "second"):
        (job,) = await reserve(client)
        await settle(client, "nack", job, error=error, delay=0 if error == "first" else 600)
    assert await listed(client, "delayed", error="second") == ["foo:1"]
    assert await listed(client, "delayed", error="first") == []


@awaiting
async def test_jobs_are_listed_by_their_age_since_their_insertion(client):
    old = await insert(client, *range(3))

    async def older():
        return len(await listed(client, older_than=0.2)) == 3

    await eventually(older, "the age")
    new = await insert(client, *range(3))
    assert sorted(await listed(client, older_than=0.2)) == sorted(old)
    assert sorted(await listed(client, older_than=0)) == sorted(old + new)
    assert await listed(client, older_than=3600) == []
    for job in await reserve(client, max=3):  # an attempt makes no job younger
        await settle(client, "nack", job, delay=0)
    assert set(old) <= set(await listed(client, older_than=0.2))


@pytest.mark.parametrize("state", STATES)
@awaiting
async def test_a_match_is_found_among_thousands_in_pages_that_are_bounded(client, state):
    """A page may have fewer jobs than its limit, and even none; the last one has no next."""
    options = {"delay": 600} if state == "delayed" else {}
    for _ in range(3):
        await insert(client, *range(1000), max_attempts=1, **options)
    if state in ("leased", "dead"):
        jobs = await lease(client, 3000)
        assert len(jobs) == 3000
        await nack(client, jobs, error="usual") if state == "dead" else None
    assert await listed(client, state, older_than=3600, limit=10) == []
    if state == "dead":
        rare = await kill(client, range(3), "rare")
        assert sorted(await listed(client, state, error="rare", limit=10)) == sorted(rare)
        assert sorted(await listed(client, state, error="rare", limit=1)) == sorted(rare)
    assert len(await listed(client, state, older_than=0, limit=1000)) >= 3000


@pytest.mark.parametrize(
    "query",
    ["older_than=x", "older_than=-1", "older_than=1e3", "older_than=NaN", "older_than=inf", f"older_than={'9' * 30}"]
    + ["older_than=315360001", f"error={'x' * 1001}", "error=%ff", "error=%ED%A0%80", "match=x", "error=a&error=b"],
)
@awaiting
async def test_a_wrong_match_in_a_query_is_refused_by_name(client, query):
    await insert(client, 1)
    detail = is_problem(await client.get(f"/v1/queues/foo/jobs?{query}"), 400, "bad-request")
    assert query.partition("=")[0] in detail


@awaiting
async def test_empty_parameters_count_as_none(client):
    ids = await insert(client, 1, 2)
    answer = await client.get("/v1/queues/foo/jobs?state=&error=&older_than=&limit=&cursor=")
    assert [job["id"] for job in answer.json["jobs"]] == ids


# What is done to all that match


@awaiting
async def test_the_dead_that_match_are_purged_and_no_others(client):
    smtp = await kill(client, range(5), "mailbox is full")
    dns = await kill(client, range(5), "no such host")
    answer = await send(client, "queues/foo/purge", {"state": "dead", "match": {"error": "mailbox"}})
    assert (answer.status, answer.json) == (200, {"purged": 5})
    assert sorted(await listed(client, "dead")) == sorted(dns)
    assert (await client.get(f"/v1/jobs/{smtp[0]}")).status == 404
    for match in ({"error": "mailbox"}, {"older_than": 3600}, {"error": "host", "older_than": 3600}):
        assert (await send(client, "queues/foo/purge", {"state": "all", "match": match})).json == {"purged": 0}
    both = {"error": "host", "older_than": 0}
    assert (await send(client, "queues/foo/purge", {"state": "all", "match": both})).json == {"purged": 5}


@pytest.mark.parametrize("state", STATES)
@awaiting
async def test_old_jobs_of_a_state_are_purged(client, state):
    old = await fill(client, state, 10)

    async def older():
        return len(await listed(client, state, older_than=0.2)) == 10

    await eventually(older, "the age")
    (new,) = await insert(client, "new", delay=600)
    match = {"older_than": 0.2}
    assert (await send(client, "queues/foo/purge", {"state": state, "match": match})).json == {"purged": 10}
    assert [(await client.get(f"/v1/jobs/{job_id}")).status for job_id in old] == [404] * 10
    assert (await look(client, new))["state"] == "delayed"
    assert (await client.get("/v1/queues/foo")).json["deleted"] == 10


@awaiting
async def test_thousands_that_match_are_purged_and_retried(client):
    first = await kill(client, range(1000), "one")
    second = await kill(client, range(1000), "two")
    third = await kill(client, range(1000), "one")
    match = {"error": "one"}
    answer = await send(client, "queues/foo/retry-dead", {"limit": 1000, "match": match})
    assert answer.json == {"moved": 1000, "not_found": []}
    answer = await send(client, "queues/foo/retry-dead", {"all": True, "match": match})
    assert answer.json == {"moved": 1000, "not_found": []}
    assert sorted(await listed(client, "dead", limit=1000)) == sorted(second)
    assert sorted(await listed(client, "ready", limit=1000)) == sorted(first + third)
    assert (await send(client, "queues/foo/purge", {"state": "ready", "match": match})).json == {"purged": 2000}
    assert (await send(client, "queues/foo/purge", {"state": "all", "match": {"error": "t"}})).json == {"purged": 1000}


@awaiting
async def test_the_dead_that_match_are_retried_up_to_a_limit(client):
    smtp = await kill(client, range(5), "mailbox is full")
    dns = await kill(client, range(5), "no such host")
    body = {"limit": 3, "match": {"error": "mailbox"}}
    assert (await send(client, "queues/foo/retry-dead", body)).json == {"moved": 3, "not_found": []}
    assert (await send(client, "queues/foo/retry-dead", body)).json == {"moved": 2, "not_found": []}
    assert (await send(client, "queues/foo/retry-dead", body)).json == {"moved": 0, "not_found": []}
    assert sorted(await listed(client, "dead")) == sorted(dns)
    assert sorted(await listed(client, "ready")) == sorted(smtp)
    body = {"all": True, "match": {"error": "host", "older_than": 3600}}
    assert (await send(client, "queues/foo/retry-dead", body)).json == {"moved": 0, "not_found": []}


@pytest.mark.parametrize(
    ("match", "named"),
    [
        ({}, "match"),
        ({"error": None}, "match"),
        ({"error": ""}, "error"),
        ({"error": 1}, "error"),
        ({"error": "x" * 1001}, "error"),
        ({"older_than": -1}, "older_than"),
        ({"older_than": "1"}, "older_than"),
        ({"older_than": 1e99}, "older_than"),
        ({"colour": 1}, "colour"),
        ([], "match"),
        ("x", "match"),
        (1, "match"),
    ],
)
@awaiting
async def test_a_wrong_match_is_refused_by_name_and_does_nothing(client, match, named):
    await kill(client, [1])
    for path, body in (("purge", {"state": "dead"}), ("retry-dead", {"all": True}), ("retry-dead", {"limit": 1})):
        answer = await send(client, f"queues/foo/{path}", {**body, "match": match})
        assert named in is_problem(answer, 400, "bad-request")
    assert (await client.get("/v1/queues/foo")).json["dead"] == 1


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("purge", {"match": {"error": "x"}}, "state"),
        ("purge", {"state": "dead", "error": "x"}, "error"),
        ("retry-dead", {"match": {"error": "x"}}, "ids, limit and all"),
        ("retry-dead", {"ids": ["foo:1"], "match": {"error": "x"}}, "match"),
        ("retry-dead", {"ids": [], "match": {}}, "match"),
    ],
)
@awaiting
async def test_a_match_needs_what_it_chooses_from(client, path, body, named):
    await kill(client, [1])
    assert named in is_problem(await send(client, f"queues/foo/{path}", body), 400, "bad-request")
    assert (await client.get("/v1/queues/foo")).json["dead"] == 1


@awaiting
async def test_a_match_of_no_match_is_all(client):
    await kill(client, [1, 2])
    answer = await client.post("/v1/queues/foo/retry-dead", b'{"all":true,"match":null}')
    assert answer.json == {"moved": 2, "not_found": []}
    answer = await client.post("/v1/queues/foo/purge", json.dumps({"state": "all", "match": None}).encode())
    assert answer.json == {"purged": 2}


@awaiting
async def test_a_queue_that_there_is_not_is_not_found_whatever_matches(client):
    is_problem(await client.get("/v1/queues/foo/jobs?error=x&older_than=1"), 404, "not-found")
    for path, body in (("purge", {"state": "all"}), ("retry-dead", {"all": True})):
        answer = await send(client, f"queues/foo/{path}", {**body, "match": {"error": "x"}})
        is_problem(answer, 404, "not-found")


@awaiting
async def test_a_long_list_of_leased_jobs_is_whole_where_numbers_do_not_begin_at_one(client):
    """More than a script sorts; a queue that was deleted before gave its numbers away."""
    many = [{}] * 1000
    await insert(client, *many, queue="gone")
    await client.request("DELETE", "/v1/queues/gone")
    ids = [each for _ in range(21) for each in await insert(client, *many)]
    assert ids[0] == "foo:1001"
    for _ in range(210):
        await reserve(client, max=100)
    assert await listed(client, "leased", limit=1000) == ids
    assert (await send(client, "queues/foo/purge", {"state": "leased"})).json == {"purged": len(ids)}


@awaiting
async def test_a_list_of_jobs_that_are_kept_for_many_workers_takes_no_long_script(client, redis):
    await client.request("PATCH", "/v1/queues/foo", b'{"redeliver_after":600}', Content_Type="application/json")
    ids = await insert(client, *range(500))
    for n in range(500):
        assert (await client.get(f"/q/foo?worker_id=w{n}")).status == 200
    before = redis.command("CONFIG", "GET", "slowlog-log-slower-than")[1]
    redis.command("SLOWLOG", "RESET")
    redis.command("CONFIG", "SET", "slowlog-log-slower-than", 300_000)  # it took ten times as long
    jobs = (await page(client, "leased", limit=1000))["jobs"]
    slow = [entry for entry in redis.command("SLOWLOG", "GET", 10) if entry[3][0] == b"EVALSHA"]
    redis.command("CONFIG", "SET", "slowlog-log-slower-than", before)
    assert [job["id"] for job in jobs] == ids
    assert {job["worker"] for job in jobs} <= {f"w{n}" for n in range(500)}
    assert not slow
