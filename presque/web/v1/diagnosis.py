"""Diagnosis under `/v1`: why the jobs of a queue do not run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from presque.jobs.diagnosis import CODES, Diagnosis
from presque.web.answers import json

if TYPE_CHECKING:
    from presque.http.request import Request
    from presque.http.routes import Routes

Code: Any = Literal[CODES]


class Reason(Struct):
    """Why the jobs of a queue do not run, or that all is well: a code, and a sentence."""

    code: Code
    text: str


def add(routes: Routes, diagnosis: Diagnosis) -> None:
    """Declare the route."""

    @routes.at(
        "GET",
        "/v1/queues/<queue>/diagnosis",
        summary="Say why the jobs of a queue do not run, or that all is well.",
        name="diagnose",
        answers={200: list[Reason]},
        refuses=(404,),
        scope="read",
    )
    async def diagnose(request: Request, queue: str) -> bytes:
        return json(request, [Reason(each.code, each.text) for each in await diagnosis.of(queue)])
