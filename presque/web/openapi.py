"""`/openapi.json`: both parts of the contract, made from the routes and from the types of their bodies and answers."""

from __future__ import annotations

import re
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from presque import __version__
from presque.web.answers import MODERN, answer, encode
from presque.web.models import Error, Problem

if TYPE_CHECKING:
    from presque.web.routing import Route, Routes
    from presque.web.site import Request

REFS = "#/components/schemas/{name}"
PAGE = "text/html"


def add(routes: Routes) -> None:
    """Declare the route; it describes all that were declared before it, and itself."""

    @routes.at("GET", "/openapi.json", summary="This description.", answers={200: dict[str, Any]})
    def openapi(request: Request) -> bytes:
        return answer(request, 200, document)

    document = encode(describe(routes.listed))


def describe(routes: list[Route]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these routes."""
    types = {kind for route in routes for whole in (route.body, *route.answers.values()) for kind in _kinds(whole)}
    ordered = sorted(types | {Problem, Error}, key=str)
    schemas, components = msgspec.json.schema_components(ordered, ref_template=REFS, schema_hook=_raw)
    for component in components.values():
        component.pop("description", None)  # a docstring, which is gone under `python -OO`
    known = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = re.sub(r"<(\w+)>", r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, path, known)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "presque",
            "version": __version__,
            "description": "A message queue over HTTP and JSON, kept in Redis.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
        "components": {"schemas": components},
    }


def _raw(kind: Any) -> dict[str, Any]:
    """Any JSON, which comes back byte for byte."""
    if kind is msgspec.Raw:
        return {}
    raise NotImplementedError(kind)


def _kinds(whole: Any) -> tuple[Any, ...]:
    if whole is None:
        return ()
    return get_args(whole) if isinstance(whole, UnionType) else (whole,)


def _operation(route: Route, path: str, known: dict[Any, Any]) -> dict[str, Any]:
    named = [(name, "path", True) for name in re.findall(r"\{(\w+)\}", path)]
    named += [(name, "query", False) for name in route.query] + [(name, "header", False) for name in route.headers]
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": f"{route.method.lower()} {path}",
        "tags": ["v1" if path.startswith(MODERN.decode()) else "2010"],
        "parameters": [
            {"name": name, "in": place, "required": required, "schema": {"type": "string"}}
            for name, place, required in named
        ],
        "responses": {str(status): _answered(whole, known) for status, whole in route.answers.items()},
    }
    if route.body is not None:
        operation["requestBody"] = {"content": {"application/json": {"schema": _schema(route.body, known)}}}
    error, kind = (Problem, "application/problem+json") if "v1" in operation["tags"] else (Error, "application/json")
    operation["responses"]["default"] = {
        "description": "A refusal.",
        "content": {kind: {"schema": known[error]}},
    }
    return operation


def _schema(whole: Any, known: dict[Any, Any]) -> Any:
    schemas = [known[kind] for kind in _kinds(whole)]
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _answered(whole: Any, known: dict[Any, Any]) -> dict[str, Any]:
    if whole is None:
        return {"description": "Done."}
    if whole is str:
        return {"description": "A page.", "content": {PAGE: {"schema": known[whole]}}}
    return {"description": "Done.", "content": {"application/json": {"schema": _schema(whole, known)}}}
