"""The description of the interface: valid, complete, true, and such that generators make clients from it."""

import json
import re
from functools import reduce
from operator import getitem

import jsonschema
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pytest_twisted import ensureDeferred as awaiting
from v1 import insert, reserve

from presque.web.openapi import describe
from presque.web.parameters import PARAMETERS
from presque.web.problems import Problem
from presque.web.v1.insertion import NewJob

# Words that are not names in Python, JavaScript, Java, Go, C#, Ruby, Rust, Swift, Kotlin or PHP.
RESERVED = re.findall(
    r"\w+",
    """
    abstract and any as assert async await base begin bool boolean break byte case catch chan char class clone
    const constructor continue crate debugger decimal declare def default defer delegate delete do double echo
    elif else empty end ensure enum event except explicit export extends extern fallthrough false final finally
    fixed float fn for foreach from func function global go goto if impl implements implicit import in include
    init instanceof int interface internal is lambda let lock long loop map match mod module move mut namespace
    native new nil none nonlocal not null object operator or out override package params pass print private
    protected protocol pub public raise range readonly record redo ref require rescue retry return sealed select
    self short sizeof static str strict string struct super switch synchronized template this throw throws trait
    transient true try type typealias typeof undef unsafe until unset use using val var virtual void volatile
    when where while with xor yield
    """,
)
WITHOUT_BODY = {"reserve", "registerWorker", "purge"}  # whose bodies may be left out


@pytest.fixture
def document(daemon):
    return json.loads(msgspec.json.encode(describe(daemon.routes.listed)))


def walk(value, at=""):
    """Every object within `value`, and where it is."""
    if isinstance(value, dict):
        yield at, value
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield from walk(child, f"{at}/{name}")


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def resolved(document, value):
    while "$ref" in value:
        value = reduce(getitem, value["$ref"].removeprefix("#/").split("/"), document)
    return value


def judge(document, schema, value):
    """Raise unless `value` is as `schema`, a part of the document, says."""
    jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(value)


@awaiting
async def test_it_is_valid_openapi_and_what_the_daemon_answers(client, document):
    answer = await client.get("/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json == document
    OpenAPIV31SpecValidator(answer.json).validate()


def test_it_describes_every_route_that_does_something_and_no_other(daemon, document):
    described = {(method, path) for method, path, _ in operations(document)}
    there, nothing, second = set(), set(), set()
    for route in daemon.routes.listed:
        one = (route.method, re.sub(r"<(\w+)>", r"{\1}", route.path))
        (second if route.is_alias else there if route.answers else nothing).add(one)
        assert bool(route.answers) == bool(route.name), f"{one}: a route has both answers and a name, or neither"
    assert described == there
    assert all(path.strip("/").split("/")[0] in ("q", "qb", "j", "control", "w") for _, path in nothing)
    assert {path for _, path in second if path.rstrip("/") not in ("/q", "/qb", "/j", "/control", "/w")} == {"/status/"}


def test_the_list_of_routes_is_the_applications(daemon):
    rules = daemon.routes.app.url_map.iter_rules()
    there = {(method, rule.rule) for rule in rules for method in rule.methods - {"HEAD"}}
    assert there == {(route.method, route.path) for route in daemon.routes.listed}


def test_names_are_words_of_their_own_in_every_language(document):
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len({name.lower() for name in names}) == len(names) > 30
    for name in names:
        assert re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", name), name
        assert name.lower() not in RESERVED, name
    assert {"insert", "reserve", "ack", "nack", "release", "extend", "pushJob", "takeJob"} <= set(names)
    tags = {tag for _, _, operation in operations(document) for tag in operation["tags"]}
    assert tags == {tag["name"] for tag in document["tags"]}
    assert all(re.fullmatch(r"[a-z][a-z0-9]+", tag) for tag in tags)


def test_every_operation_says_what_it_does_and_with_what_it_refuses(document):
    for method, path, operation in operations(document):
        assert operation["summary"].endswith("."), (method, path)
        responses = operation["responses"]
        assert {"400", "403", "503", "default"} <= set(responses), (method, path)
        assert ("413" in responses) == ("requestBody" in operation), (method, path)
        kind = ("Problem", "application/problem+json") if path.startswith("/v1") else ("Error", "application/json")
        for status, response in responses.items():
            whole = resolved(document, response)
            assert "Cache-Control" in whole["headers"], (method, path, status)
            if status == "default" or status >= "4":
                assert whole["content"][kind[1]]["schema"] == {"$ref": f"#/components/schemas/{kind[0]}"}
            assert ("Retry-After" in whole["headers"]) == (status in ("429", "503", "default")), (method, path, status)
            assert ("Allow" in whole["headers"]) == (status == "default"), (method, path, status)


def test_numbers_have_a_size_and_nothing_has_a_default(document):
    numbers = 0
    for at, part in walk(document):
        if at.endswith("/properties") or "/example" in at:
            continue
        assert "default" not in part or at.endswith("/responses"), at
        kinds = part.get("type", [])
        for name, size in (("number", "double"), ("integer", "int64")):
            if name == kinds or name in kinds:
                assert part["format"] == size, at
                numbers += 1
        assert part.get("maximum", 0) < 2**31, at
        assert "nullable" not in part, at
        assert "null" not in [each.get("type") for each in part.get("anyOf", ()) if "$ref" not in part["anyOf"][0]], at
    assert numbers > 30


def test_parameters_have_types_meanings_and_examples(document):
    used = set()
    for method, path, operation in operations(document):
        in_path = [each["name"] for each in operation["parameters"] if each["in"] == "path"]
        assert in_path == re.findall(r"\{(\w+)\}", path)
        for parameter in operation["parameters"]:
            used.add(parameter["name"])
            assert parameter["required"] == (parameter["in"] == "path"), (method, path)
            assert parameter["description"].endswith("."), (method, path)
            judge(document, parameter["schema"], parameter["example"])
    schemas = {
        each["name"]: each["schema"] for _, _, operation in operations(document) for each in operation["parameters"]
    }
    assert used == set(schemas) <= set(PARAMETERS)
    for name in ("delayed", "batch_size", "with_desc", "limit"):
        assert schemas[name]["type"] == "integer", name
    assert schemas["wait"]["type"] == "number"
    assert schemas["state"]["enum"] == ["dead", "delayed", "leased", "ready"]


def test_bodies_are_required_and_every_body_and_answer_has_an_example_that_is_right(document):
    optional = set()
    for _, _, operation in operations(document):
        name, contents = (
            operation["operationId"],
            [resolved(document, each) for each in operation["responses"].values()],
        )
        if "requestBody" in operation:
            contents.append(operation["requestBody"])
            optional |= set() if operation["requestBody"]["required"] else {name}
        for media in (media for each in contents for media in each.get("content", {}).values()):
            assert "example" in media, name
            judge(document, media["schema"], media["example"])
    assert optional <= WITHOUT_BODY


def test_a_payload_is_any_json(document):
    for value in (None, 1, "text", [1], {"a": {}}, 12345678901234567890):
        judge(document, {"$ref": "#/components/schemas/NewJob"}, {"payload": value})
    for wrong in ({}, {"payload": 1, "delay": "soon"}, {"payload": 1, "x": 1}):
        with pytest.raises(jsonschema.ValidationError):
            judge(document, {"$ref": "#/components/schemas/NewJob"}, wrong)


@awaiting
async def test_its_types_are_those_by_which_requests_are_judged(client, document):
    schemas = document["components"]["schemas"]
    assert set(schemas["NewJob"]["properties"]) == {field.name for field in msgspec.structs.fields(NewJob)}
    assert schemas["NewJob"]["additionalProperties"] is False
    answer = await client.post("/v1/queues/foo/jobs", b'{"payload":1,"colour":2}')
    problem = msgspec.json.decode(answer.body, type=Problem)
    assert (problem.status, problem.type) == (400, "/problems/bad-request")
    assert "colour" in problem.detail


class Described:
    """Makes requests by the names of operations, and judges each answer by the document."""

    def __init__(self, client, document):
        self.client, self.document, self.seen = client, document, set()
        self.by_name = {each["operationId"]: (method, path, each) for method, path, each in operations(document)}

    async def ask(self, name, status, /, body=..., query="", **values):
        method, path, operation = self.by_name[name]
        values = {"queue": "mail", "queues": "mail", "name": "report", **values}
        path = re.sub(r"\{(\w+)\}", lambda found: values[found[1]], path)
        if "requestBody" in operation:
            media = operation["requestBody"]["content"]["application/json"]
            body = media["example"] if body is ... else body
            judge(self.document, media["schema"], body)
        else:
            assert body is ..., name
        content = None if body is ... else json.dumps(body).encode()
        headers = {} if content is None else {"Content_Type": "application/json"}
        answer = await self.client.request(method, f"{path}{query}", content, **headers)
        assert answer.status == status, (name, answer.status, answer.body)
        response = resolved(self.document, operation["responses"][str(status)])
        if "content" in response:
            ((media_type, media),) = response["content"].items()
            assert answer.headers["content-type"].partition(";")[0] == media_type, name
            said = answer.body.decode() if media_type.startswith("text/") else answer.json
            judge(self.document, media["schema"], said)
        else:
            assert answer.body == b"", name
            said = None
        promised = set(response["headers"]) - {"Cache-Control"}  # which every answer has, errors of the parser too
        if status < 300 and isinstance(said, dict) and "id" in said:
            assert {name.lower() for name in promised} <= set(answer.headers), name
        self.seen.add((name, status))
        return said


@pytest.fixture
def described(client, document):
    return Described(client, document)


async def the_old_routes(ask):
    await ask("pushJob", 201, query="?delayed=1&uniq=k")
    await ask("pushJob", 400, query="?delayed=4102444800&uniq=k")
    await ask("pushJobs", 201)
    await ask("failJob", 201, query="?worker_id=w1")
    await ask("registerWorker", 201)
    await ask("showStatus", 200, query="?with_desc=1")
    await ask("showStatus", 200)
    await ask("takeJob", 200, query="?worker_id=w1&wait=1")
    await ask("takeJobs", 200, query="?batch_size=10&worker_id=w1")
    await ask("takeJob", 404)
    await ask("takeJobs", 404, query="?batch_size=1000")
    await ask("listQueueNames", 200)
    await ask("countJobs", 200)
    await ask("setPolicy", 200)
    await ask("showPolicy", 200)
    await ask("listWorkers", 200)
    await ask("listWorkers", 200, query="?worker_id=w1")
    await ask("listWorkers", 200, query="?queue_name=mail")
    await ask("listWorkers", 404, query="?worker_id=nobody")
    await ask("listQueueWorkers", 200)
    await ask("unregisterWorker", 204, query="?worker_id=w1")
    await ask("dropQueue", 204)


async def the_life_of_jobs(ask, client):
    one = await ask("insert", 201, {"payload": {"n": 1}, "unique": "k"})
    await ask("insert", 409, {"payload": 1, "unique": "k"})
    several = await ask("insert", 201, {"jobs": [{"payload": None}, {"payload": "2", "delay": 30}]})
    delayed = several["jobs"][1]["id"]
    for change in ({"run_at": 4102444800, "priority": 9, "expires_at": 4102448400}, {"expires_at": None}):
        await ask("change", 200, change, job_id=delayed)
    await ask("lookUp", 200, job_id=delayed)
    await ask("change", 400, {}, job_id=delayed)
    (job,) = (await ask("reserve", 200))["jobs"]
    said = {"receipt": job["receipt"]}
    assert job["id"] == one["id"]
    await ask("extend", 200, {**said, "lease": 30}, job_id=job["id"])
    await ask("runNow", 409, job_id=job["id"])
    await ask("change", 409, {"priority": 1}, job_id=job["id"])
    await ask("release", 204, said, job_id=job["id"])
    await ask("extend", 409, said, job_id=job["id"])
    for state in ("delayed", "dead"):
        await insert(client, 1, queue=state, max_attempts=1 if state == "dead" else 2)
        (job,) = (await ask("reserve", 200, {"lease": 30}, queues=state))["jobs"]
        assert (await ask("nack", 200, {"receipt": job["receipt"], "error": "no"}, job_id=job["id"]))["state"] == state
        await ask("lookUp", 200, job_id=job["id"])
        await ask("listJobs", 200, queue=state, query=f"?state={state}&limit=1&error=n&older_than=0")
        await ask("runNow", 200, job_id=job["id"])
    await ask("listJobs", 400, queue="dead", query="?older_than=x")
    await ask("retryDead", 200, queue="dead")
    first, second = await reserve(client, "mail", max=2)
    await ask("lookUp", 200, job_id=first["id"])
    await ask("ack", 204, {"receipt": first["receipt"]}, job_id=first["id"])
    await ask("ack", 409, {"receipt": "other"}, job_id=second["id"])
    both = [{"id": each["id"], "receipt": each["receipt"], "outcome": "ack"} for each in (first, second)]
    extended = [{"id": each["id"], "receipt": each["receipt"]} for each in (first, second)]
    await ask("extendSeveral", 200, {"jobs": extended, "lease": 60})
    await ask("settle", 200, {"settlements": both})
    for status in (204, 404):
        await ask("cancel", status, job_id=delayed)
    await ask("runNow", 404, job_id=delayed)
    await ask("change", 404, {"priority": 1}, job_id=delayed)
    await ask("lookUp", 404, job_id=first["id"])


async def what_concerns_queues(ask):
    await ask("configureQueue", 200, {"max_length": 1, "backoff": {"first": 0.5}, "dead_keep": None})
    await ask("insert", 201, {"payload": 1})
    await ask("insert", 429, {"payload": 1})
    await ask("describeQueue", 200)
    await ask("describeQueue", 404, queue="none")
    await ask("scaleQueue", 200, query="?target=60")
    await ask("scaleQueue", 200, queue="none")
    await ask("scaleQueue", 400, query="?target=0")
    await ask("listQueues", 200, query="?limit=1")
    await ask("listQueues", 400, query="?limit=0")
    await ask("pause", 204)
    await ask("resume", 204)
    await ask("deleteQueue", 204)
    await ask("showPage", 200)
    await ask("getMetrics", 200)
    await ask("getDescription", 200)


async def what_concerns_schedules(ask):
    await ask("putSchedule", 201)
    await ask("putSchedule", 200)
    await ask("putSchedule", 201, {"every": 60, "job": {"payload": 1, "unique": "k"}}, name="often")
    await ask("getSchedule", 200)
    await ask("getSchedule", 404, name="none")
    await ask("listSchedules", 200)
    await ask("nextTimes", 200, query="?count=2")
    await ask("nextTimes", 404, name="none")
    await ask("runSchedule", 201, name="often")
    await ask("runSchedule", 409, name="often")
    await ask("runSchedule", 404, name="none")
    await ask("deleteSchedule", 204)
    await ask("deleteSchedule", 404)


@awaiting
async def test_every_operation_answers_as_described(client, described):
    """An operation that is described is asked for here, with its own example where that needs no receipt."""
    await the_old_routes(described.ask)
    await the_life_of_jobs(described.ask, client)
    await described.ask("purge", 200)
    await described.ask("about", 200)
    await described.ask("explainProblem", 200, slug="lease-lost")
    await described.ask("explainProblem", 404, slug="nonsense")
    await what_concerns_queues(described.ask)
    await what_concerns_schedules(described.ask)
    succeeded = {name for name, status in described.seen if status < 300}
    assert succeeded == set(described.by_name)
