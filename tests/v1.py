"""The routes of /v1 as the tests speak them: a request and its answer, in Python values."""

import json


def is_problem(answer, status, slug):
    """Assert that this is that problem; its detail."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json["type"], answer.json["status"]) == (f"/problems/{slug}", status)
    return answer.json["detail"]


async def send(client, path, value=None):
    return await client.post(f"/v1/{path}", b"" if value is None else json.dumps(value).encode())


async def insert(client, *payloads, queue="foo", **options):
    answer = await send(client, f"queues/{queue}/jobs", {"jobs": [{"payload": each, **options} for each in payloads]})
    assert answer.status == 201, answer.body
    return [job["id"] for job in answer.json["jobs"]]


async def reserve(client, queues="foo", **asked):
    answer = await send(client, f"queues/{queues}/reservations", asked)
    assert answer.status == 200, answer.body
    return answer.json["jobs"]


async def settle(client, verb, job, **said):
    return await send(client, f"jobs/{job['id']}/{verb}", {"receipt": job["receipt"], **said})


async def look(client, job_id):
    return (await client.get(f"/v1/jobs/{job_id}")).json
