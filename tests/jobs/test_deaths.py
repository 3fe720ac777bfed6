"""A job that dies is told in the log once, however it died, with its queue, id, attempts and the error's first line."""

import pytest
from logs import logged
from pytest_twisted import ensureDeferred as awaiting
from servers import eventually
from v1 import insert, reserve, send, settle


def death(event):
    if not event.get("log_namespace", "").startswith("presque.jobs.deaths"):
        return None
    return event["log_level"].name, event["queue"], event["id"], event["attempts"], event["error"]


@pytest.fixture
def deaths():
    with logged(death) as found:
        yield found


async def told(deaths, count=1):
    async def are():
        return len(deaths) >= count

    await eventually(are, "the lines")
    return deaths


@awaiting
async def test_a_job_that_fails_for_the_last_time_is_told_with_the_first_line_of_its_error(client, deaths):
    await insert(client, "c4nary", queue="mail", max_attempts=2)
    for _ in range(2):
        await send(client, "jobs/mail:1/run-now")
        (job,) = await reserve(client, "mail")
        await settle(client, "nack", job, error="no route\tto host\nTraceback: c4nary\n", delay=0)
    assert await told(deaths) == [("warn", "mail", "mail:1", 2, "no route\\tto host")]


@awaiting
async def test_a_job_whose_lease_runs_out_for_the_last_time_is_told_whoever_finds_it(client, deaths, daemon):
    await insert(client, 1, 2, queue="mail", max_attempts=1)
    await reserve(client, "mail", lease=0.05)
    daemon.loops["mover"].stop()
    try:

        async def is_dead():
            await reserve(client, "mail", lease=60)  # a take finds it, and the mover tells it
            return (await client.get("/v1/jobs/mail:1")).json["state"] == "dead"

        await eventually(is_dead, "its death")
        assert deaths == []
    finally:
        daemon.loops["mover"].start()
    assert await told(deaths) == [("warn", "mail", "mail:1", 1, "the lease ran out")]


@awaiting
async def test_a_final_failure_without_a_word_and_an_expiry_are_told_too(client, deaths):
    await client.request("PATCH", "/v1/queues/mail", b'{"expired":"dead","dead_keep":{"count":0}}')
    await insert(client, 1, queue="mail")
    (job,) = await reserve(client, "mail")
    await settle(client, "nack", job, final=True)
    await told(deaths)
    await insert(client, 2, queue="mail", expires_in=0.01)
    assert await told(deaths, 2) == [
        ("warn", "mail", "mail:1", 1, "no reason was given"),
        ("warn", "mail", "mail:2", 0, "expired"),
    ]


@awaiting
async def test_jobs_that_die_together_have_a_line_each_and_none_twice(client, deaths):
    await insert(client, *range(100), queue="mail")
    jobs = await reserve(client, "mail", max=100)
    outcomes = [
        {"id": job["id"], "receipt": job["receipt"], "outcome": "nack", "final": True, "error": f"e{n}"}
        for n, job in enumerate(jobs)
    ]
    for _ in range(2):  # the second one is a repetition
        answer = await send(client, "settlements", {"settlements": outcomes})
        assert {each["result"] for each in answer.json["results"]} == {"dead"}
    await told(deaths, 100)
    await insert(client, 1, queue="mail", expires_in=0.01)

    async def moved():
        return (await client.get("/v1/queues/mail")).json["expired"] == 1

    await eventually(moved, "a later visit of the mover")
    assert sorted(each[2] for each in deaths) == sorted(job["id"] for job in jobs)
    assert {each[4] for each in deaths} == {f"e{n}" for n in range(100)}
