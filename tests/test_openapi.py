"""The description of the interface: valid, complete, and true."""

import re

import msgspec
from openapi_spec_validator import OpenAPIV31SpecValidator
from pytest_twisted import ensureDeferred as awaiting

from presque.web.models import NewJob, Problem


@awaiting
async def test_it_is_valid_openapi(client):
    answer = await client.get("/openapi.json")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    OpenAPIV31SpecValidator(answer.json).validate()


@awaiting
async def test_it_describes_every_route_and_no_other(daemon, client):
    paths = (await client.get("/openapi.json")).json["paths"]
    described = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    rules = daemon.routes.app.url_map.iter_rules()
    there = {(method, re.sub(r"<(\w+)>", r"{\1}", rule.rule)) for rule in rules for method in rule.methods - {"HEAD"}}
    assert described == there


@awaiting
async def test_every_operation_says_what_it_does_and_what_it_answers(client):
    paths = (await client.get("/openapi.json")).json["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert operation["summary"].endswith("."), (method, path)
            assert operation["responses"], (method, path)


@awaiting
async def test_its_types_are_those_by_which_requests_are_judged(client):
    schemas = (await client.get("/openapi.json")).json["components"]["schemas"]
    assert set(schemas["NewJob"]["properties"]) == {field.name for field in msgspec.structs.fields(NewJob)}
    assert schemas["NewJob"]["additionalProperties"] is False
    answer = await client.post("/v1/queues/foo/jobs", b'{"payload":1,"priority":2}')
    problem = msgspec.json.decode(answer.body, type=Problem)
    assert (problem.status, problem.type) == (400, "/problems/bad-request")
    assert "priority" in problem.detail
