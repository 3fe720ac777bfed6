"""What a request says: its parameters and its body, checked. What is wrong with them is a BadRequest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from presque.errors import PresqueError, UnknownJob
from presque.web.surrogates import Marked
from presque.workers import check_worker

if TYPE_CHECKING:
    from presque.web.site import Request

T = TypeVar("T")

LONGEST_KEY = 255  # bytes of an idempotency key
LATEST = 253402300800  # epoch seconds: the year 10000; a client that sends milliseconds learns it here
LONGEST_WAIT = 60.0  # seconds
DEFAULT_BATCH = 10  # jobs
LARGEST_BATCH = 1000  # jobs fetched by one request
MOST_INSERTED = 10_000  # jobs inserted by one request, so that no script holds Redis up for long

TEXTS = frozenset(["error"])  # fields of `/v1` in which a lone surrogate becomes U+FFFD; in others it is refused

_NUMBER = re.compile(rb"[+-]?(\d{1,20}(\.\d{0,20})?|\.\d{1,20})")
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])


class BadRequest(PresqueError):
    """A request that says something wrong; the text says what."""


def query(request: Request, name: bytes) -> bytes:
    """The last parameter of this name, or nothing."""
    values = request.args.get(name)
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
        raise BadRequest("batch_size must be a whole number above 0")
    return LARGEST_BATCH if len(value) > 20 else min(int(value), LARGEST_BATCH)


def worker(request: Request, in_body: str | None = None) -> str:
    """The worker that the header, the query or else the body names, or nothing. Raises InvalidWorker."""
    named = request.getHeader(b"X-presque-workerid") or query(request, b"worker_id")
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
        found = _LIST.decode(listed) if listed is not None else None
        parts = None if found is None else [bytes(each) for each in found]
    except msgspec.DecodeError:
        parts = _slices(bytes(listed or b""))
    if parts is None:
        raise BadRequest("jobs should be an array of job")
    if len(parts) > MOST_INSERTED:
        raise BadRequest(f"jobs should be at most {MOST_INSERTED}")
    for each in parts:
        _check_object(each)
    return parts


def _slices(listed: bytes) -> list[bytes] | None:
    """The parts of a list that msgspec does not read; None when it is no list."""
    marked = Marked(listed)
    try:
        return [marked.original(each) for each in _LIST.decode(marked.text)] if marked.found else None
    except msgspec.MsgspecError:
        return None


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
    declared = request.getHeader(b"Content-Type") or b""
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
        return _OBJECT.decode(body)
    except msgspec.ValidationError:
        pass
    except msgspec.DecodeError:
        if b"\\u" in body and (marked := Marked(body)).found:
            return _marked_object(marked)
    except (UnicodeDecodeError, RecursionError):
        pass
    raise BadRequest("job must be a valid JSON object")


def _marked_object(marked: Marked) -> dict[str, msgspec.Raw]:
    try:
        parts = _OBJECT.decode(marked.text)
    except (msgspec.MsgspecError, RecursionError):
        raise BadRequest("job must be a valid JSON object") from None
    return {name: msgspec.Raw(marked.original(part)) for name, part in parts.items()}


def body(request: Any) -> bytes:
    """The body, whole."""
    content: bytes = request.content.read()
    return content


def parse(content: bytes, type: type[T]) -> T:
    """A body of `/v1` as a `type` of presque.web.models; what is wrong with it is named."""
    try:
        content.decode()
        return msgspec.json.decode(content, type=type)
    except msgspec.ValidationError as wrong:
        raise BadRequest(str(wrong)) from None
    except msgspec.DecodeError as wrong:
        if b"\\u" in content and (marked := Marked(content)).found:
            return _parse_marked(marked, type)
        raise BadRequest(f"the body is not JSON in UTF-8: {wrong}") from None
    except UnicodeDecodeError as wrong:
        raise BadRequest(f"the body is not JSON in UTF-8: {wrong}") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None


def _parse_marked(marked: Marked, type: type[T]) -> T:
    """As `parse`: a payload comes as it is, in the text of an error U+FFFD stands for a lone surrogate."""
    try:
        value: T = marked.restored(msgspec.json.decode(marked.text, type=type), TEXTS)
    except msgspec.ValidationError as wrong:
        raise BadRequest(str(wrong)) from None
    except msgspec.DecodeError as wrong:
        raise BadRequest(f"the body is not JSON in UTF-8: {wrong}") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
    except ValueError as field:
        raise BadRequest(f"{field} has a surrogate that is not one of a pair") from None
    return value


def job_id(text: str) -> tuple[str, bytes]:
    """The queue and the number of a job's id. Raises UnknownJob."""
    queue, _, number = text.rpartition(":")
    if not (queue and number.isascii() and number.isdigit() and len(number) < 16):
        raise UnknownJob
    return queue, b"%d" % int(number)


def idempotency_key(request: Request) -> bytes:
    """The header of that name, or nothing when there is none."""
    key: bytes | None = request.getHeader(b"Idempotency-Key")
    if key is None:
        return b""
    if not key:
        raise BadRequest("Idempotency-Key must not be empty")
    if len(key) > LONGEST_KEY:
        raise BadRequest(f"Idempotency-Key must be at most {LONGEST_KEY} bytes long")
    return key


def limit(request: Request) -> int:
    """`?limit=`: how many on a page."""
    value = query(request, b"limit") or b"100"
    if not value.isdigit() or len(value) > 4 or not 1 <= int(value) <= LARGEST_BATCH:
        raise BadRequest(f"limit must be a whole number from 1 to {LARGEST_BATCH}")
    return int(value)


def _number(value: bytes) -> float | None:
    return float(value) if _NUMBER.fullmatch(value) else None
