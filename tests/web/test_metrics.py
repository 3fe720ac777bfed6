"""`GET /metrics`: what happens to jobs, and how the processes are."""

import re
import subprocess

import pytest_twisted
from programs import ROOT
from pytest_twisted import ensureDeferred as awaiting
from scraped import Scraped
from servers import Client, daemon_on, eventually, port_of, raw, raw_connection, tool
from twisted.internet.defer import ensureDeferred, gatherResults, maybeDeferred
from v1 import insert, reserve, send, settle

from presque.jobs.counters import BOUNDS
from presque.web.prometheus.families import FAMILIES

DOCS = (ROOT / "docs" / "metrics.md").read_text()
REASONS = ("nack", "lease_expired", "worker")


async def scrape(client):
    answer = await client.get("/metrics")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return Scraped(answer.body.decode())


def documented():
    """The rows of the tables: (name, type, labels, unit, meaning)."""
    found = re.findall(r"(?m)^\| `(\w+)` \| (\w+) \| ([^|]*) \| (\w*) \| (.+) \|$", DOCS)
    return [
        (name, kind, tuple(re.findall(r"\w+", labels)), unit, meaning) for name, kind, labels, unit, meaning in found
    ]


def test_every_metric_is_documented_and_no_other():
    rows = [(each.name, each.kind, each.labels, each.unit, each.meaning) for each in FAMILIES]
    assert documented() == rows
    assert len({each.name for each in FAMILIES}) == len(FAMILIES)


@awaiting
async def test_it_says_every_metric_that_is_documented_and_no_other(client):
    answer = await client.get("/metrics")
    told = re.findall(r"(?m)^# TYPE (\w+) (\w+)$", answer.body.decode())
    assert told == [(each.name, each.kind) for each in FAMILIES]
    samples = Scraped(answer.body.decode()).samples
    for family in FAMILIES:
        for sample in samples:
            if re.fullmatch(f"{family.name}(_sum|_count|_bucket)?", sample.name):
                assert set(sample.labels) - {"le"} == set(family.labels), sample


@awaiting
async def test_promtool_finds_nothing_to_criticize(client):
    await insert(client, 1)
    await send(client, "queues/foo/pause")
    text = (await client.get("/metrics")).body
    checked = subprocess.run([tool("promtool"), "check", "metrics"], input=text, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


@awaiting
async def test_what_becomes_of_jobs_is_counted_by_how_it_ended(client):
    await send(client, "queues/foo/jobs", {"jobs": [{"payload": n} for n in range(8)]})
    jobs = await reserve(client, max=6)
    await settle(client, "ack", jobs[0])
    await settle(client, "ack", jobs[1])
    await settle(client, "nack", jobs[2], delay=60)
    await settle(client, "nack", jobs[3], final=True)
    await settle(client, "release", jobs[4])
    await settle(client, "release", jobs[4])  # repeated, and counted once
    await client.delete(f"/v1/jobs/{jobs[5]['id']}")
    found = await scrape(client)
    states = ("ready", "delayed", "leased", "dead")
    assert [found.value("presque_queue_jobs", queue="foo", state=state) for state in states] == [3, 1, 0, 1]
    names = ("inserted", "acked", "released")
    assert [found.value(f"presque_queue_{name}_total", queue="foo") for name in names] == [8, 2, 1]
    assert [found.value("presque_queue_failed_total", queue="foo", reason=reason) for reason in REASONS] == [2, 0, 0]
    assert found.value("presque_queue_died_total", queue="foo") == 1
    assert found.value("presque_queue_deleted_total", queue="foo") == 1
    assert found.missing("foo") == 0


@awaiting
async def test_a_worker_says_itself_that_it_failed(client):
    await client.put("/q/foo", b'{"a":1}', X_presque_workerid="w")
    await send(client, "queues/foo/jobs", {"payload": 1})
    await reserve(client, lease=0.001)

    async def ran_out():
        return (await scrape(client)).value("presque_queue_lease_expired_total", queue="foo")

    assert await eventually(ran_out, "the end of the lease") == 1
    found = await scrape(client)
    assert [found.value("presque_queue_failed_total", queue="foo", reason=reason) for reason in REASONS] == [0, 1, 1]


@awaiting
async def test_refused_insertions_are_counted_by_reason(client):
    await client.request("PATCH", "/v1/queues/foo", b'{"max_length":1}')
    await insert(client, 1, unique="k")
    assert (await scrape(client)).values("presque_queue_refused_total") == []
    asked = [ensureDeferred(client.post("/q/foo", b'{"n":%d}' % n)) for n in range(5)]  # which may be tried together
    assert {answer.status for answer in await gatherResults(asked)} == {429}
    assert (await client.post("/q/foo?uniq=k", b"{}")).status == 429  # a full queue has no room for a duplicate either
    await client.request("PATCH", "/v1/queues/foo", b'{"max_length":9}')
    assert (await client.post("/q/foo?uniq=k", b"{}")).status == 400
    await client.request("PATCH", "/v1/queues/foo", b'{"accepting":false}')
    assert (await client.post("/qb/foo", b'{"jobs":[{},{}]}')).status == 409  # a batch is refused once
    found = await scrape(client)
    reasons = ("full", "duplicate", "closed")
    assert [found.value("presque_queue_refused_total", queue="foo", reason=why) for why in reasons] == [6, 1, 1]


@awaiting
async def test_times_are_told_by_queue_and_of_the_whole_store(client):
    await insert(client, 1, 2, 3)
    for job in await reserve(client, max=2):
        await settle(client, "ack", job)
    await insert(client, 1, queue="bar")
    await reserve(client, "bar")
    await client.delete("/v1/queues/bar")
    found = await scrape(client)
    assert found.value("presque_queue_wait_seconds_count", queue="foo") == 2
    assert found.value("presque_queue_run_seconds_count", queue="foo") == 2
    assert 0 <= found.value("presque_queue_wait_seconds_sum", queue="foo") < 60
    assert found.value("presque_store_wait_seconds_count") == 3  # with that of the queue that was deleted
    assert found.value("presque_store_run_seconds_count") == 2
    buckets = found.values("presque_store_wait_seconds_bucket")
    assert (len(buckets), buckets[-1], buckets) == (len(BOUNDS) + 1, 3, sorted(buckets))


@pytest_twisted.async_yield_fixture()
async def small(redises, monkeypatch):
    """A daemon that tells two queues by name, of those that begin with m; and a client of it."""
    monkeypatch.setattr("presque.jobs.figures.MOST_NAMED", 2)
    monkeypatch.setattr("presque.jobs.figures.TOGETHER", 2)
    daemon = daemon_on(redises().url, metrics_queues="m*", partitions="4")
    daemon.startService()
    await daemon.started
    client = Client(port_of(daemon))
    yield client
    await client.close()
    await maybeDeferred(daemon.stopService)


@awaiting
async def test_a_few_queues_are_told_by_name_and_the_others_together(small):
    for n, queue in enumerate(("a", "m1", "m2", "m3", "z", "n")):
        await insert(small, *range(n + 1), queue=queue)
    await reserve(small, "z", max=2)
    await send(small, "queues/a/pause")
    found = await scrape(small)
    assert found.label("presque_queue_jobs", "queue") == {"m1", "m2", "(other)"}
    assert (found.value("presque_store_queues"), found.value("presque_store_unlabelled_queues")) == (6, 4)
    assert found.value("presque_queue_inserted_total", queue="(other)") == 1 + 4 + 5 + 6
    assert found.value("presque_queue_jobs", queue="(other)", state="leased") == 2
    assert found.value("presque_queue_paused", queue="(other)") == 1
    assert found.value("presque_queue_oldest_ready_age_seconds", queue="(other)") >= 0
    assert {found.missing(queue) for queue in ("m1", "m2", "(other)")} == {0}


@awaiting
async def test_requests_are_counted_by_the_template_of_their_route(client, daemon):
    before = await scrape(client)
    await insert(client, "secret-payload", queue="secret-queue")
    await client.get("/secret-path")
    await client.request("BREW", "/q/secret-queue")
    await raw(port_of(daemon), b"GET /q/secret HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    await raw(port_of(daemon), b"SECRET /secret HTTP/1.1\r\n\r\n")
    text = (await client.get("/metrics")).body.decode()
    after = Scraped(text)

    def grown(**labels):
        name = "presque_http_requests_total"
        return sum(after.values(name, **labels)) - sum(before.values(name, **labels))

    assert grown(route="/v1/queues/{queue}/jobs", method="POST", code="201") == 1
    assert grown(route="none", method="GET", code="404") == 1
    assert grown(route="none", method="GET", code="421") == 1
    assert grown(route="none", method="other") == 2
    assert "secret" not in text.replace('queue="secret-queue"', "").lower()
    assert "127.0.0.1" not in text


@awaiting
async def test_the_time_of_a_request_is_without_the_wait_for_a_job(client):
    before = await scrape(client)
    assert (await client.get("/q/foo?wait=0.5")).status == 404
    after = await scrape(client)
    spent = [sum(each.values("presque_http_request_seconds_sum")) for each in (before, after)]
    assert 0 < spent[1] - spent[0] < 0.5


@awaiting
async def test_waiting_consumers_and_clients_that_leave_are_counted(client, daemon):
    before = await scrape(client)
    await insert(client, 1, queue="foo")
    await reserve(client)
    connection = await raw_connection(port_of(daemon))
    connection.transport.write(b"GET /q/foo?wait=30 HTTP/1.1\r\nHost: x\r\n\r\n")

    async def waits():
        return (await scrape(client)).value("presque_queue_waiting_consumers", queue="foo") == 1

    await eventually(waits, "a consumer that waits")
    assert (await client.get("/v1/queues/foo/scale")).json["waiting"] == 1
    connection.transport.abortConnection()

    async def gone():
        found = await scrape(client)
        counts = [sum(each.values("presque_http_client_gone_total")) for each in (before, found)]
        return counts[1] - counts[0] == 1 and found.value("presque_queue_waiting_consumers", queue="foo") == 0

    await eventually(gone, "a client that is gone")


@awaiting
async def test_stale_receipts_and_limits_are_counted(client, daemon):
    before = await scrape(client)
    await insert(client, 1)
    (job,) = await reserve(client)
    for verb in ("ack", "nack", "release", "extend"):
        assert (await settle(client, verb, {**job, "receipt": "other"})).status == 409
    many = [{"id": job["id"], "receipt": "other", "outcome": "ack"}] * 3
    await send(client, "settlements", {"settlements": many})
    assert (await client.post("/q/foo", b"{" + b" " * (1 << 20) + b"}")).status == 413
    after = await scrape(client)
    assert after.value("presque_stale_receipts_total") - before.value("presque_stale_receipts_total") == 7
    refused = [each.value("presque_limit_refused_total", limit="body") for each in (before, after)]
    assert refused[1] - refused[0] == 1
    assert after.value("presque_limit", limit="body") == 1 << 20
    assert after.value("presque_script_seconds_count", script="ack") > 0


@awaiting
async def test_without_the_store_a_process_tells_of_itself(redises):
    redis = redises()
    daemon = daemon_on(redis.url)
    daemon.startService()
    await daemon.started
    client = Client(port_of(daemon))
    assert (await scrape(client)).value("presque_store_up") == 1
    redis.kill()

    async def away():
        return (await scrape(client)).value("presque_store_up") == 0

    await eventually(away, "the store, away")
    found = await scrape(client)
    assert found.values("presque_queue_jobs") == found.values("presque_store_queues") == []
    assert len(found.values("presque_build_info")) == 1
    redis.start()

    async def back():
        return (await scrape(client)).value("presque_store_up") == 1

    await eventually(back, "the store, back")
    assert (await scrape(client)).value("presque_store_reconnects_total") >= 1
    await client.close()
    await maybeDeferred(daemon.stopService)


@awaiting
async def test_those_who_ask_at_the_same_time_get_the_same_text(client):
    answers = await gatherResults([ensureDeferred(client.get("/metrics")) for _ in range(5)])
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) < 5


@awaiting
async def test_each_daemon_tells_of_all_processes(redises, processes):
    redis = redises()
    daemons = [processes("--redis", redis.url), processes("--redis", redis.url, "--processes", "2")]
    clients = [Client(await each.listening) for each in daemons]

    async def knows_all(client):
        return len((await scrape(client)).label("presque_build_info", "process")) == 3

    for client in clients:
        await eventually(lambda client=client: knows_all(client), "the figures of all processes")
    await insert(clients[0], 1, 2)
    for client in clients:
        found = await scrape(client)
        assert found.value("presque_queue_inserted_total", queue="foo") == 2
        assert len(found.label("process_resident_memory_bytes", "process")) == 3
        await client.close()
