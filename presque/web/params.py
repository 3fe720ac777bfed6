"""Reads and checks the parameters of a request, in path, query and headers. A wrong one raises BadRequest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from presque.errors import InvalidCursor, UnknownJob
from presque.jobs.workers import check_worker
from presque.web import limits
from presque.web.bad_request import BadRequest
from presque.web.parameters import IDEMPOTENCY_KEY, WORKER
from presque.web.types import LONGEST

if TYPE_CHECKING:
    from presque.http.request import Request

QUESTION_MARK = ord("?")  # searching bytes for a number takes an eighth of the time
LATEST = 253402300800  # epoch seconds: the year 10000; refuses milliseconds sent by mistake
LONGEST_WAIT = 55.0  # seconds, below the limit of 60 of many proxies
DEFAULT_BATCH = 10  # jobs
LARGEST_BATCH = 1000  # jobs fetched by one request

_WORKER, _IDEMPOTENCY_KEY = WORKER.lower().encode(), IDEMPOTENCY_KEY.lower().encode()
_NOT_UTF8 = re.compile("[\ud800-\udfff]")  # as which `text` decodes a byte that is not UTF-8
_NUMBER = re.compile(rb"[+-]?(\d{1,20}(\.\d{0,20})?|\.\d{1,20})")


def query(request: Request, name: bytes) -> bytes:
    """The last query parameter of this name, or b""."""
    if QUESTION_MARK not in request.target:
        return b""
    values = request.query.get(name)
    return values[-1] if values else b""


def text(request: Request, name: bytes) -> str:
    """A parameter as text. Bytes that are not UTF-8 become characters that no name may have."""
    return query(request, name).decode(errors="surrogateescape")


def flag(request: Request, name: bytes) -> bool:
    """Whether a parameter is given and is not 0."""
    return query(request, name) not in (b"", b"0")


def delayed(request: Request) -> float | None:
    """`?delayed=`: epoch seconds, None when it is empty or missing."""
    value = query(request, b"delayed")
    if not value:
        return None
    due = _number(value)
    if due is None or due > LATEST:
        raise BadRequest("delayed must be a date in epoch")
    return due


def uniq(request: Request) -> bytes:
    """`?uniq=`: any bytes."""
    return query(request, b"uniq")


def wait(request: Request) -> float:
    """`?wait=`: seconds, up to LONGEST_WAIT; a longer wait counts as that."""
    value = query(request, b"wait")
    if not value:
        return 0.0
    seconds = _number(value)
    if seconds is None or seconds < 0:
        raise BadRequest("wait must be a number of seconds")
    return min(seconds, LONGEST_WAIT)


def batch_size(request: Request) -> int:
    """`?batch_size=`: jobs, up to LARGEST_BATCH; a larger size counts as that, and 0 as DEFAULT_BATCH."""
    value = query(request, b"batch_size")
    if not value.strip(b"0"):
        return DEFAULT_BATCH
    if not value.isdigit():
        raise BadRequest("batch_size must be a whole number")
    return LARGEST_BATCH if len(value) > 20 else min(int(value), LARGEST_BATCH)


def worker(request: Request, in_body: str | None = None) -> str:
    """The worker named in the header, else in the query, else in the body, or "". Raises InvalidWorker."""
    named = request.headers.get(_WORKER) or query(request, b"worker_id")
    if not named:
        if in_body is not None:
            check_worker(in_body)
        return in_body or ""
    name = named.decode(errors="surrogateescape")  # what is not UTF-8 becomes unprintable, and is refused
    check_worker(name)
    return name


def job_id(text: str) -> tuple[str, bytes]:
    """The queue and the number in the id of a job. Raises UnknownJob."""
    queue, _, number = text.rpartition(":")
    if not (queue and number.isascii() and number.isdigit() and len(number) < 16):
        raise UnknownJob
    return queue, b"%d" % int(number)


def idempotency_key(request: Request) -> bytes:
    """The header `Idempotency-Key`, or b"". Refuses an empty key, and two of them."""
    key = request.headers.get(_IDEMPOTENCY_KEY)
    if key is None:
        return b""
    if len(request.values(_IDEMPOTENCY_KEY)) > 1:
        raise BadRequest("Idempotency-Key must be given once")
    if not 1 <= len(key) <= limits.KEY:
        raise BadRequest(f"Idempotency-Key must be 1 to {limits.KEY} bytes long")
    return key


def refuse_unknown(request: Request, known: tuple[str, ...]) -> None:
    """Refuse query parameters that are not `known` or are given twice."""
    query = request.target.partition(b"?")[2]
    if not query:
        return
    seen = set()
    for part in re.split(rb"[&;]", query):
        name = unquote_to_bytes(part.partition(b"=")[0].replace(b"+", b" ")).decode(errors="replace")
        if part and name not in known:
            raise BadRequest(f"unknown query parameter {name[:100]!r}")
        if name in seen:
            raise BadRequest(f"query parameter {name!r} is there twice")
        if part:
            seen.add(name)


def limit(request: Request) -> int:
    """`?limit=`: items per page."""
    value = query(request, b"limit") or b"100"
    if not value.isdigit() or len(value) > 4 or not 1 <= int(value) <= limits.JOBS:
        raise BadRequest(f"limit must be a whole number from 1 to {limits.JOBS}")
    return int(value)


def cursor(request: Request) -> str:
    """`?cursor=`: the `next` of the page before, "" for the first page. Raises InvalidCursor."""
    found = text(request, b"cursor")
    if not found.isascii() or len(found) > limits.CURSOR:
        raise InvalidCursor
    return found


def error(request: Request) -> str:
    """`?error=`: a part of the last error of jobs, "" for any."""
    found = text(request, b"error")
    if _NOT_UTF8.search(found):
        raise BadRequest("error must be text in UTF-8")
    if len(found) > limits.ERROR:
        raise BadRequest(f"error must have at most {limits.ERROR} characters")
    return found


def older_than(request: Request) -> float | None:
    """`?older_than=`: seconds since the insertion of jobs, None for any."""
    value = query(request, b"older_than")
    if not value:
        return None
    seconds = _number(value)
    if seconds is None or not 0 <= seconds <= LONGEST:
        raise BadRequest(f"older_than must be a number of seconds from 0 to {LONGEST}")
    return seconds


def target(request: Request) -> float:
    """`?target=`: seconds in which the jobs of a queue are to be done."""
    value = query(request, b"target") or b"30"
    seconds = _number(value)
    if seconds is None or not limits.SHORTEST_TARGET <= seconds <= LONGEST:
        raise BadRequest(f"target must be a number of seconds from {limits.SHORTEST_TARGET} to {LONGEST}")
    return seconds


def count(request: Request) -> int:
    """`?count=`: times of a schedule."""
    value = query(request, b"count") or b"10"
    if not value.isdigit() or len(value) > 4 or not 1 <= int(value) <= limits.TIMES:
        raise BadRequest(f"count must be a whole number from 1 to {limits.TIMES}")
    return int(value)


def _number(value: bytes) -> float | None:
    return float(value) if _NUMBER.fullmatch(value) else None
