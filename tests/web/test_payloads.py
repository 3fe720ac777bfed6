"""Whatever is accepted comes back unchanged, and no two names ever meet."""

import json

import pytest_twisted
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pytest_twisted import ensureDeferred as awaiting
from servers import daemon_on, port_of
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.web.client import Agent, HTTPConnectionPool

from presque.errors import InvalidName
from presque.redis import keys

HEADERS = {"Content-Type": "application/json"}
quick = settings(max_examples=300, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])


@pytest_twisted.async_yield_fixture(scope="module")
async def exchange(redis):
    """Posts a body and fetches one: (status of the first, body of the second, or None)."""
    daemon = daemon_on(redis.url)
    daemon.startService()
    await daemon.started
    pool = HTTPConnectionPool(reactor)
    pool.retryAutomatically = False
    client = HTTPClient(Agent(reactor, pool=pool))
    url = f"http://127.0.0.1:{port_of(daemon)}/q/payloads"

    async def once(body):
        posted = await client.post(url, data=body, headers=HEADERS)
        await posted.content()
        fetched = await client.get(url)
        content = await fetched.content()
        return posted.code, content if fetched.code == 200 else None

    yield once
    await pool.closeCachedConnections()
    await daemon.stopService()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)
spaces = st.text(" \t\r\n", max_size=3)


@st.composite
def objects(draw):
    """JSON objects as clients write them: spaces, escapes, and any order and repetition of keys."""
    separators = (draw(spaces) + "," + draw(spaces), draw(spaces) + ":" + draw(spaces))
    value = draw(st.dictionaries(st.text(), values, max_size=5))
    text = json.dumps(value, ensure_ascii=draw(st.booleans()), separators=separators)
    return (draw(spaces) + text + draw(spaces)).encode("utf-8", "surrogatepass")


@quick
@given(objects())
@example(b'{"n":1.50, "a":"\xc3\xa9"}')
@example(b'{"x":123456789012345678901234567890}')
@example(b'{"a":1,"a":2}')
@awaiting
async def test_an_object_comes_back_byte_for_byte(exchange, body):
    try:
        text = body.decode()
        valid = "\\ud" not in text.lower()
    except UnicodeDecodeError:
        valid = False
    status, came_back = await exchange(body)
    if valid:
        assert (status, came_back) == (201, body)
    else:  # a lone surrogate, or perhaps only a text that looks like one
        assert (status, came_back) in [(400, None), (201, body)]


@quick
@given(
    st.binary(max_size=200)
    | objects().flatmap(lambda body: st.tuples(st.just(body), st.integers(0), st.binary(max_size=3)))
)
@example(b'{"n":007}')
@example(b'{"n":NaN}')
@example(b'{"a":"\xff"}')
@example(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}")
@awaiting
async def test_any_bytes_come_back_unchanged_or_are_refused(exchange, body):
    if isinstance(body, tuple):
        whole, at, junk = body
        at %= len(whole) + 1
        body = whole[:at] + junk + whole[at + 1 :]
    status, came_back = await exchange(body)
    if status == 201:
        assert came_back == body
        assert isinstance(json.loads(body.decode()), dict)
    else:
        assert (status, came_back) == (400, None)


names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._:@-]{0,127}", fullmatch=True)
look_alikes = st.sampled_from(sorted(keys.QUEUE_KEYS | keys.PARTITION_KEYS)).flatmap(
    lambda suffix: names.map(lambda name: f"{name}:{suffix}"[-128:].lstrip(".:@-") or "q")
)


def all_keys(queue):
    return {keys.queue_key(name, queue, 1) for name in keys.QUEUE_KEYS}


@settings(max_examples=500, deadline=None, print_blob=True)
@given(names | look_alikes, names | look_alikes)
@example("a", "a:ready")
@example("a:ready", "a:ready:ready")
@example("{0}"[1:2], "0:jobs")
def test_no_two_names_share_a_key(one, other):
    if one != other:
        assert not all_keys(one) & all_keys(other)
    shared = {keys.partition_key(name, 0) for name in keys.PARTITION_KEYS} | {keys.STORE}
    assert not all_keys(one) & shared


@settings(max_examples=1000, deadline=None, print_blob=True)
@given(st.text(max_size=130))
@example("a\n")
@example("\u0661")
def test_a_name_is_what_the_contract_says(name):
    allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:@-"
    fine = 1 <= len(name) <= 128 and all(c in allowed for c in name) and name[0] not in ".:@-"
    try:
        keys.check_name(name)
    except InvalidName:
        assert not fine
    else:
        assert fine
