"""What a request says: its parameters and its body, checked. What is wrong with them is a BadRequest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

from presque.errors import PresqueError, UnknownJob
from presque.jobs.workers import check_worker
from presque.web import limits, surrogates
from presque.web.parameters import WORKER

if TYPE_CHECKING:
    from presque.http.request import Request

T = TypeVar("T")

LATEST = 253402300800  # epoch seconds: the year 10000; a client that sends milliseconds learns it here
LONGEST_WAIT = 55.0  # seconds; proxies with a limit of 60 do not cut it
DEFAULT_BATCH = 10  # jobs
LARGEST_BATCH = 1000  # jobs fetched by one request
MOST_INSERTED = 10_000  # jobs inserted by one request, so that no script holds Redis up for long

_WORKER = WORKER.lower().encode()
_NUMBER = re.compile(rb"[+-]?(\d{1,20}(\.\d{0,20})?|\.\d{1,20})")
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])


class BadRequest(PresqueError):
    """A request that says something wrong; the text says what."""


def query(request: Request, name: bytes) -> bytes:
    """The last parameter of this name, or nothing."""
    values = request.query.get(name)
    return values[-1] if values else b""


def text(request: Request, name: bytes) -> str:
    """A parameter as text; what is not UTF-8 becomes characters that no name accepts."""
    return query(request, name).decode(errors="surrogateescape")


def flag(request: Request, name: bytes) -> bool:
    """Whether a parameter is there and not 0."""
    return query(request, name) not in (b"", b"0")


def delayed(request: Request) -> float | None:
    """`?delayed=`: epoch seconds; empty is none."""
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
    """`?wait=`: seconds, more than LONGEST_WAIT counts as that."""
    value = query(request, b"wait")
    if not value:
        return 0.0
    seconds = _number(value)
    if seconds is None or seconds < 0:
        raise BadRequest("wait must be a number of seconds")
    return min(seconds, LONGEST_WAIT)


def batch_size(request: Request) -> int:
    """`?batch_size=`: jobs, more than LARGEST_BATCH counts as that, and 0 as DEFAULT_BATCH."""
    value = query(request, b"batch_size")
    if not value.strip(b"0"):
        return DEFAULT_BATCH
    if not value.isdigit():
        raise BadRequest("batch_size must be a whole number")
    return LARGEST_BATCH if len(value) > 20 else min(int(value), LARGEST_BATCH)


def worker(request: Request, in_body: str | None = None) -> str:
    """The worker that the header, the query or else the body names, or nothing. Raises InvalidWorker."""
    named = request.headers.get(_WORKER) or query(request, b"worker_id")
    if not named:
        if in_body is not None:
            check_worker(in_body)
        return in_body or ""
    name = named.decode(errors="surrogateescape")  # which no printable character is
    check_worker(name)
    return name


def worker_or_body(request: Request) -> str:
    """As `worker`, else the one that the JSON body names, whatever its content type."""
    if named := worker(request):
        return named
    try:
        found = msgspec.json.decode(body(request), type=dict[str, Any]).get("worker_id")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    named = str(found) if isinstance(found, (str, int)) and not isinstance(found, bool) else ""
    if named:
        check_worker(named)
    return named


def job(request: Request) -> bytes:
    """The body: one job."""
    content = _json_body(request)
    _check_object(content)
    return content


def jobs(request: Request) -> list[bytes]:
    """The body: `{"jobs":[…]}`; each job is the slice of the body that it was."""
    listed = _check_object(_json_body(request)).get("jobs")
    try:
        found = [bytes(each) for each in _decoded(bytes(listed), _LIST)] if listed is not None else None
    except msgspec.MsgspecError:
        found = None
    if found is None:
        raise BadRequest("jobs should be an array of job")
    if len(found) > MOST_INSERTED:
        raise BadRequest(f"jobs should be at most {MOST_INSERTED}")
    for each in found:
        _check_object(each)
    return found


def status(request: Request) -> str:
    """The body `{"status":"stop"}` or `{"status":"start"}`: `stop` or `start`."""
    content = body(request)
    if not content:
        raise BadRequest("content is missing")
    try:
        given = msgspec.json.decode(content, type=dict[str, msgspec.Raw]).get("status", msgspec.Raw(b""))
        said = bytes(given)
        if said[:1] == b'"':
            said = msgspec.json.decode(said, type=str).encode()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        said = content
    if said not in (b"stop", b"start"):
        raise BadRequest(f"invalid status {said[:100].decode(errors='replace')}")
    return said.decode()


def _json_body(request: Request) -> bytes:
    declared = request.headers.get(b"content-type") or b""
    if declared.partition(b";")[0].strip().lower() != b"application/json":
        raise BadRequest("content-type must be set to application/json")
    content = body(request)
    if not content:
        raise BadRequest("job is missing")
    return content


def _check_object(body: bytes) -> dict[str, msgspec.Raw]:
    """The parts of a JSON object. msgspec refuses what RFC 8259 does not allow, but skips over text without looking at
    its encoding. Nesting is limited by the interpreter's stack, at some hundreds of levels.
    """
    try:
        body.decode()
        found: dict[str, msgspec.Raw] = _decoded(body, _OBJECT)
        return found
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise BadRequest("job must be a valid JSON object") from None


def _decoded(content: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    """What a decoder reads; lone surrogates, which it refuses, are looked for only then."""
    try:
        return decoder.decode(content)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if not surrogates.has_lone(content):
            raise
        return surrogates.decode(content, decoder.type)


def body(request: Request) -> bytes:
    """The body, whole."""
    return request.body


def parse(content: bytes, type: type[T]) -> T:
    """A body of `/v1` as a `type` of presque.web.v1; what is wrong with it is named. Lone surrogates in text
    become U+FFFD.
    """
    try:
        content.decode()
        found: T = surrogates.decode(content, type)
        return found
    except msgspec.ValidationError as wrong:
        raise BadRequest(str(wrong)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise BadRequest(f"the body is not JSON in UTF-8: {wrong}") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None


def job_id(text: str) -> tuple[str, bytes]:
    """The queue and the number of a job's id. Raises UnknownJob."""
    queue, _, number = text.rpartition(":")
    if not (queue and number.isascii() and number.isdigit() and len(number) < 16):
        raise UnknownJob
    return queue, b"%d" % int(number)


def idempotency_key(request: Request) -> bytes:
    """The header of that name, or nothing when there is none. An empty one is a mistake, and so are two."""
    said = request.values(b"idempotency-key")
    if not said:
        return b""
    if len(said) > 1:
        raise BadRequest("Idempotency-Key must be given once")
    key = said[0]
    if not 1 <= len(key) <= limits.KEY:
        raise BadRequest(f"Idempotency-Key must be 1 to {limits.KEY} bytes long")
    return key


def refuse_unknown(request: Request, known: tuple[str, ...]) -> None:
    """Refuse parameters in the query that are not `known`, or that are there twice."""
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
    """`?limit=`: how many on a page."""
    value = query(request, b"limit") or b"100"
    if not value.isdigit() or len(value) > 4 or not 1 <= int(value) <= limits.JOBS:
        raise BadRequest(f"limit must be a whole number from 1 to {limits.JOBS}")
    return int(value)


def _number(value: bytes) -> float | None:
    return float(value) if _NUMBER.fullmatch(value) else None
