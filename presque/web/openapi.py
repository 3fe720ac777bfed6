"""`/openapi.json`: both interfaces, described from the routes and the types of their bodies and answers."""

from __future__ import annotations

import re
from http import HTTPStatus
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from presque import __version__
from presque.web.answers import answer, encode, is_modern
from presque.web.examples import ANSWERS, REQUESTS
from presque.web.parameters import PARAMETERS
from presque.web.problems import Error, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from presque.http.request import Request
    from presque.http.routes import Route, Routes

SCHEMAS = "#/components/schemas/{name}"
EVERYWHERE = (400, 403, 408, 421, 503)  # statuses of errors that any request may get
LARGEST = 2**31 - 1  # some generators keep bounds in 32 bits
SIZES = {"number": "double", "integer": "int64"}
BUSY = (429, 503)  # statuses with Retry-After
TAGS = {
    "v1": "At least once: jobs are leased, and come back unless they are acknowledged.",
    "y2010": "The 2010 interface: a job is handed out for good.",
    "service": "About the service itself.",
}
SERVICE = ("/", "/health/live", "/health/ready", "/openapi.json", "/problems/{slug}")  # paths of neither interface
REFUSALS = {
    400: "The request is invalid; the message says why.",
    403: "A browser made this request for another site's page.",
    404: "Not found, or no job is available.",
    408: "The request took too long to arrive.",
    409: "The state of the job or queue does not allow this.",
    413: "The request body is too large.",
    421: "The request is for a host that is not allowed here.",
    422: "The idempotency key belongs to another request.",
    429: "The queue is full.",
    503: "The store refuses, is unavailable, or did not answer; the message says whether anything may have been done.",
}
HEADERS = {
    "Cache-Control": ("Always no-store: no answer may be cached.", {"type": "string"}),
    "Location": ("URL of the inserted job; absent after an insertion of several.", {"type": "string"}),
    "Retry-After": ("Seconds to wait before trying again.", {"type": "integer", "format": "int64"}),
    "Allow": ("With 405: the allowed methods.", {"type": "string"}),
}


def add(routes: Routes) -> None:
    """Declare the route. It describes all routes declared before it, and itself."""

    @routes.at(
        "GET", "/openapi.json", summary="This description.", name="getDescription", answers={200: dict[str, Any]}
    )
    def openapi(request: Request) -> bytes:
        return answer(request, 200, document)

    document = encode(describe(routes.listed))


def describe(routes: Iterable[Route]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of all routes with answers, each under the first of its paths."""
    described = [route for route in routes if route.answers and not route.is_alias]
    known, components = _schemas(described)
    paths: dict[str, dict[str, Any]] = {}
    for route in described:
        path = _path(route)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, path, known)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "presque",
            "version": __version__,
            "description": "A message queue that speaks HTTP and JSON and stores its jobs in Redis.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [],
        "tags": [{"name": name, "description": meaning} for name, meaning in TAGS.items()],
        "paths": paths,
        "components": {"schemas": components, "responses": _refusals(paths, known), "headers": _headers()},
    }


def _schemas(routes: list[Route]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """The schema of each type that these routes use, and the named schemas to which those refer. Sorted by name, with
    the answers of the 2010 routes last.
    """
    wholes = [whole for route in routes for whole in (route.body, *route.answers.values())]
    types = {kind for whole in wholes for kind in _kinds(whole)} | {each.type for each in PARAMETERS.values()}
    old = {
        kind
        for route in routes
        if _tag(_path(route)) == "y2010"
        for each in route.answers.values()
        for kind in _kinds(each)
    }
    ordered = sorted(types | {Problem, Error}, key=lambda kind: (kind in old, getattr(kind, "__name__", ""), str(kind)))
    schemas, components = msgspec.json.schema_components(ordered, ref_template=SCHEMAS, schema_hook=_raw)
    known = dict(zip(ordered, map(_tidy, schemas), strict=True))
    components = {name: _tidy(schema) for name, schema in components.items()}
    for whole in wholes:
        kinds = _kinds(whole)
        if len(kinds) > 1:  # a named schema, so that generated clients have a name for the type
            name = "Or".join(kind.__name__ for kind in kinds)
            components[name] = {"anyOf": [known[kind] for kind in kinds]}
            known[whole] = {"$ref": SCHEMAS.format(name=name)}
    return known, components


def _raw(kind: Any) -> dict[str, Any]:
    """The schema of any JSON."""
    if kind is msgspec.Raw:
        return {"description": "Any JSON; it comes back byte for byte."}
    raise NotImplementedError(kind)


def _kinds(whole: Any) -> tuple[Any, ...]:
    if whole is None:
        return ()
    return get_args(whole) if isinstance(whole, UnionType) else (whole,)


def _tidy(schema: Any) -> Any:
    """A schema of msgspec, adapted to client generators: numbers with a size and with bounds that fit into 32 bits,
    null as one of the types, and no default, because some generators then always send the field.
    """
    if isinstance(schema, list):
        return [_tidy(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if isinstance(schema.get("properties"), dict):  # its keys are names, not keywords of JSON Schema
        named = {name: _tidy(each) for name, each in schema["properties"].items()}
        return {**schema, "properties": named}
    tidy = {name: _tidy(value) for name, value in schema.items() if name != "default"}
    if schema.get("default") not in (None, "", []):
        tidy["description"] = f"Default: {schema['default']}."
    if tidy.get("type") == "object":
        tidy.setdefault("additionalProperties", True)
    if tidy.get("maximum", 0) > LARGEST:
        del tidy["maximum"]
    if "enum" in tidy and "type" not in tidy:
        tidy = {"type": "integer" if isinstance(tidy["enum"][0], int) else "string", **tidy}
    if (size := SIZES.get(str(tidy.get("type")))) is not None:
        tidy["format"] = size
    return _nullable(tidy)


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of one plain type or null, as a list of types, which more generators support than `anyOf`."""
    kinds = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(kinds) != 1 or len(schema["anyOf"]) != 2 or not isinstance(kinds[0].get("type"), str):
        return schema
    if "enum" in kinds[0]:
        kinds[0]["enum"] = [*kinds[0]["enum"], None]
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    return {**kinds[0], "type": [kinds[0]["type"], "null"], **rest}


def _operation(route: Route, path: str, known: dict[Any, Any]) -> dict[str, Any]:
    tag = _tag(path)
    named = [(name, "path") for name in re.findall(r"\{(\w+)\}", path)]
    named += [(name, "query") for name in route.query] + [(name, "header") for name in route.headers]
    operation: dict[str, Any] = {"operationId": route.name, "summary": route.summary, "tags": [tag]}
    operation["parameters"] = [_parameter(name, place, known) for name, place in named]
    if route.body is not None:
        content = {"application/json": _media(known[route.body], REQUESTS.get(route.name))}
        operation["requestBody"] = {"required": route.needs_body, "content": content}
    refused = {*EVERYWHERE, *route.refuses} - route.answers.keys() | ({413} if route.body is not None else set())
    kind = "Problem" if tag == "v1" else "Error"
    operation["responses"] = {str(status): _answered(route, whole, known) for status, whole in route.answers.items()}
    for status in sorted(refused):
        operation["responses"][str(status)] = {"$ref": f"#/components/responses/{kind}{status}"}
    operation["responses"]["default"] = {"$ref": f"#/components/responses/{kind}"}
    return operation


def _path(route: Route) -> str:
    return re.sub(r"<(\w+)>", r"{\1}", route.path)


def _tag(path: str) -> str:
    if is_modern(path.encode()):
        return "v1"
    return "service" if path in SERVICE else "y2010"


def _parameter(name: str, place: str, known: dict[Any, Any]) -> dict[str, Any]:
    parameter = PARAMETERS[name]
    said = {"description": parameter.meaning, "schema": known[parameter.type], "example": parameter.example}
    return {"name": name, "in": place, "required": place == "path", **said}


def _answered(route: Route, whole: Any, known: dict[Any, Any]) -> dict[str, Any]:
    response: dict[str, Any] = {"description": "Done.", "headers": _header_refs("Cache-Control", *route.tells)}
    if whole is not None:
        kind = "text/html" if whole is str else "application/json"
        response["content"] = {kind: _media(known[whole], ANSWERS.get(route.name))}
    return response


def _media(schema: dict[str, Any], example: Any) -> dict[str, Any]:
    return {"schema": schema} if example is None else {"schema": schema, "example": example}


def _headers() -> dict[str, Any]:
    return {name: {"description": meaning, "schema": schema} for name, (meaning, schema) in HEADERS.items()}


def _header_refs(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _refusals(paths: dict[str, dict[str, Any]], known: dict[Any, Any]) -> dict[str, Any]:
    """The error responses to which `paths` refer: `Error404`, and `Error` for other statuses, for example."""
    operations = [operation for methods in paths.values() for operation in methods.values()]
    named = {response["$ref"] for each in operations for response in each["responses"].values() if "$ref" in response}
    return {name: _refusal(name, known) for name in sorted(ref.rpartition("/")[2] for ref in named)}


def _refusal(name: str, known: dict[Any, Any]) -> dict[str, Any]:
    modern, status = name.startswith("Problem"), int(name[-3:]) if name[-3:].isdigit() else 0
    shown = HTTPStatus(status or 405)
    if modern:
        media, schema = "application/problem+json", known[Problem]
        example = {"type": "about:blank", "title": shown.phrase, "status": shown.value, "detail": shown.phrase.lower()}
    else:
        media, schema, example = "application/json", known[Error], {"error": shown.phrase.lower()}
    headers = ["Retry-After", "Allow"] if not status else ["Retry-After"] if status in BUSY else []
    return {
        "description": REFUSALS.get(status, "Any other error."),
        "headers": _header_refs("Cache-Control", *headers),
        "content": {media: {"schema": schema, "example": example}},
    }
