"""What `python -O` and `-OO` take away, assertions and docstrings, changes nothing that a client sees."""

import ast

from programs import ROOT
from pytest_twisted import ensureDeferred as awaiting
from servers import Client

LONG = "x" * 200
# (method, path, body) of requests that are refused, each in its own way, after those that make them refusable.
REFUSED = (
    ("POST", "/q/foo", b"{"),
    ("POST", "/q/foo", b""),
    ("POST", f"/q/{LONG}", b"{}"),
    ("POST", "/q/foo?uniq=u", b"{}"),
    ("POST", "/q/foo?uniq=u", b"{}"),
    ("POST", "/q/foo?delayed=soon", b"{}"),
    ("POST", "/qb/foo", b'{"jobs":1}'),
    ("GET", "/q/foo?worker_id=%20", None),
    ("GET", "/j/nothing", None),
    ("DELETE", "/w/nobody", None),
    ("POST", "/control/foo", b'{"status":"dance"}'),
    ("GET", "/nope", None),
    ("PATCH", "/q/foo", b"{}"),
    ("POST", "/v1/queues/foo/jobs", b"{"),
    ("POST", f"/v1/queues/{LONG}/jobs", b'{"payload":1}'),
    ("PATCH", "/v1/queues/full", b'{"max_length":1}'),
    ("POST", "/v1/queues/full/jobs", b'{"payload":1}'),
    ("POST", "/v1/queues/full/jobs", b'{"payload":1}'),
    ("POST", "/v1/queues/foo/pause", b""),
    ("POST", "/v1/queues/foo/reservations", b"{}"),
    ("GET", "/v1/queues/nothing", None),
    ("GET", "/v1/jobs/nothing:1", None),
    ("GET", "/v1/queues/foo/jobs?state=odd", None),
    ("POST", "/v1/jobs/full:1/ack", b'{"receipt":"x"}'),
    ("POST", "/v1/queues/same/jobs", b'{"payload":1}'),
    ("POST", "/v1/queues/same/jobs", b'{"payload":2}'),
    ("PUT", "/v1/queues", b"{}"),
    ("GET", "/v1/nope", None),
    ("GET", "/openapi.json", None),
)


def without_descriptions(document):
    """The description of the interface without what it says of its types, which comes from their docstrings."""
    for schema in document["components"]["schemas"].values():
        schema.pop("description", None)
    return document


async def answers_of(port):
    """The status, type and body of the answer to each of these requests."""
    client, found = Client(port), []
    for method, path, body in REFUSED:
        answer = await client.request(
            method,
            path,
            body,
            Content_Type="application/json",
            X_Request_Id="same",
            Idempotency_Key=path if "same" in path else f"k{len(found)}",
        )
        said = without_descriptions(answer.json) if path == "/openapi.json" else answer.body
        found.append((method, path, answer.status, answer.headers.get("content-type"), said))
    await client.close()
    return found


@awaiting
async def test_errors_and_the_description_read_the_same_under_oo(redises, processes):
    said = []
    for level in ("", "2"):  # none, and -OO
        process = processes("--redis", redises().url, environ={"PYTHONOPTIMIZE": level})
        said.append(await answers_of(await process.listening))
        await process.stop()
        assert "Traceback" not in process.log
    plain, optimized = said
    assert len({status for _, _, status, _, _ in plain if status >= 400}) >= 4
    assert optimized == plain


def modules():
    return [(path.relative_to(ROOT), ast.parse(path.read_text())) for path in sorted(ROOT.glob("presque/**/*.py"))]


def test_no_module_relies_on_what_optimization_removes():
    found = []
    for path, tree in modules():
        for node in ast.walk(tree):
            is_doc = isinstance(node, ast.Attribute) and node.attr == "__doc__"
            is_asked = isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("getdoc", "get_docstring"))
            if (
                isinstance(node, ast.Assert)
                or is_doc
                or is_asked
                or (isinstance(node, ast.Name) and node.id == "__debug__")
            ):
                found.append(f"{path}:{node.lineno}: {ast.unparse(node)}")
    assert len(modules()) > 20
    assert not found, found
