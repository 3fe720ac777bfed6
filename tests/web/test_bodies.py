"""The decoder of JSON bodies: what it takes, what it refuses, and what it says then."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Raw, Struct

from presque.web.bad_request import BadRequest
from presque.web.bodies import Object, decode

DEEP = b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"
MALFORMED = [
    b"",
    b" ",
    b"{",
    b'{"a"}',
    b'{"a":1',
    b'{"a":1,}',
    b"{'a':1}",
    b"{a:1}",
    b"{1:1}",
    b'{"a":NaN}',
    b'{"a":Infinity}',
    b'{"a":-Infinity}',
    b'{"a":007}',
    b'{"a":+1}',
    b'{"a":.5}',
    b'{"a":1.}',
    b'{"a":tru}',
    b'{"a":True}',
    b'{"a":"\n"}',
    b'{"a":"\x00"}',
    b'{"a":"\\x41"}',
    b'{"a":"\\u12"}',
    b'{"a":1}}',
    b'{"a":1} x',
    b'{"a":1}{"b":2}',
    b'{"a":1}\x00',
    b"\xef\xbb\xbf{}",
    '{"a":1}'.encode("utf-16"),
]
NOT_UTF8 = [
    b'{"a":"\xff"}',
    b'{"a":"caf\xe9"}',
    b'{"\xff":1}',
    b'{"a":"\xed\xb3\xa9"}',
    b'{"a":"\xc0\xaf"}',
    b'{"a":1}\xff',
]
TYPES = pytest.mark.parametrize("kind", [Object, dict[str, Any], dict[str, Raw]], ids=["Object", "Any", "Raw"])


class Note(Struct, forbid_unknown_fields=True):
    text: str
    payload: Raw = Raw(b"null")


def refusal(content, kind, *args, **more):
    with pytest.raises(BadRequest) as refused:
        decode(content, kind, *args, **more)
    return str(refused.value)


def test_a_body_becomes_the_type_that_is_asked_for():
    assert decode(b'{"text":"caf\xc3\xa9"}', Note).text == "caf\u00e9"
    assert decode(b' {"a": [1, null, "x"]}\n', dict[str, Any]) == {"a": [1, None, "x"]}
    assert isinstance(decode(b'{"any":{"thing":1e999}}', Object), Object)
    assert decode(b'"stop"', str) == "stop"


def test_what_is_raw_is_the_slice_of_the_body_that_it_was():
    payload = b'{"n":1.50, "a":"\xc3\xa9" , "b":123456789012345678901234567890}'
    assert bytes(decode(b'{"payload":%b,"text":""}' % payload, Note).payload) == payload
    assert [bytes(each) for each in decode(b"[ 1.0 ,{ } ]", list[Raw])] == [b"1.0", b"{ }"]


@TYPES
@pytest.mark.parametrize("content", MALFORMED)
def test_what_is_not_json_is_refused(kind, content):
    assert refusal(content, kind).startswith("the body is not JSON in UTF-8: ")


@TYPES
@pytest.mark.parametrize("content", NOT_UTF8)
def test_what_is_not_utf8_is_refused_in_text_that_is_passed_over_too(kind, content):
    assert refusal(content, kind).startswith("the body is not JSON in UTF-8: 'utf-8' codec can't decode byte")


@TYPES
@pytest.mark.parametrize("content", [DEEP, DEEP.replace(b"{", b'{"s":"\\udce9",')], ids=["plain", "lone"])
def test_what_is_nested_too_deeply_is_refused(kind, content):
    assert refusal(content, kind) == "the body is nested too deeply"


def test_a_few_hundred_levels_are_not_too_deep():
    decode(b'{"a":' + b"[" * 500 + b"]" * 500 + b"}", Object)


@pytest.mark.parametrize("content", [b"[]", b"1", b'"x"', b"null", b"true"])
def test_what_is_json_and_no_object_is_refused(content):
    assert refusal(content, Object).startswith("Expected `object`, got ")


def test_a_wrong_field_is_named():
    assert refusal(b'{"text":1}', Note) == "Expected `str`, got `int` - at `$.text`"
    assert refusal(b"{}", Note) == "Object missing required field `text`"
    assert refusal(b'{"text":"","colour":2}', Note) == "Object contains unknown field `colour`"
    assert refusal(b'{"colour":2,"text":"\\udce9"}', Note) == "Object contains unknown field `colour`"
    assert refusal(b'{"text":"\\udce9","colour":2}', Note) == "Object contains unknown field `colour`"


def test_of_a_key_that_is_there_twice_the_last_value_counts():
    assert decode(b'{"a":1,"a":2}', dict[str, Any]) == {"a": 2}
    assert decode(b'{"text":"first","text":"last"}', Note).text == "last"


def test_lone_surrogates_in_text_become_replacement_characters():
    assert decode(rb'{"text":"caf\udce9"}', Note).text == "caf\ufffd"
    assert decode(rb'{"text":"\ude00\ud83d"}', Note).text == "\ufffd\ufffd"
    assert decode(rb'{"\udce9":"\uDCE9"}', dict[str, Any]) == {"\ufffd": "\ufffd"}
    decode(rb'{"\udce9":"\udce9"}', Object)


def test_pairs_of_surrogates_and_escaped_backslashes_are_left_alone():
    assert decode(rb'{"text":"\ud83d\ude00 \\udce9"}', Note).text == "\U0001f600 \\udce9"
    assert decode(rb'{"text":"\ud83d\ude00 \\udce9 \udce9"}', Note).text == "\U0001f600 \\udce9 \ufffd"


def test_lone_surrogates_in_what_is_raw_come_back_as_they_were():
    payload = rb'{"name":"caf\udce9","\uD800":"\\udce9"}'
    note = decode(rb'{"text":"\udce9","payload":%b}' % payload, Note)
    assert (note.text, bytes(note.payload)) == ("\ufffd", payload)


@pytest.mark.parametrize("content", [*MALFORMED, *NOT_UTF8, DEEP, b"[]"])
def test_a_caller_may_say_what_is_wrong(content):
    assert refusal(content, Object, "not an object") == "not an object"


def test_msgspec_alone_refuses_lone_surrogates_and_passes_over_what_is_not_utf8():
    for content in (rb'{"a":"\udce9"}', rb'{"\udce9":1}', b"{", b"[]", DEEP):
        refusal(content, dict[str, Raw], by_msgspec=True)
    assert bytes(decode(b'{"a":"\xff"}', dict[str, Raw], by_msgspec=True)["a"]) == b'"\xff"'
    assert "'utf-8' codec" in refusal(b'{"a":"\xff"}', dict[str, Any], by_msgspec=True)


def by_python(content):
    """Whether Python's decoder, at its strictest, finds a JSON object in UTF-8."""

    def refuse(name):
        raise ValueError(name)

    try:
        return isinstance(json.loads(content.decode(), parse_constant=refuse), dict)
    except ValueError:
        return False


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=10,
)
bodies = values.map(lambda value: json.dumps(value).encode())
damaged = st.tuples(bodies, st.integers(0), st.binary(max_size=3)).map(
    lambda each: each[0][: each[1] % (len(each[0]) + 1)] + each[2] + each[0][each[1] % (len(each[0]) + 1) + 1 :]
)


@settings(max_examples=500, deadline=None, print_blob=True)
@given(bodies | damaged | st.binary(max_size=50))
@example(rb'{"a":"\udce9"}')
@example(b'{"a":1}x')
def test_it_takes_the_objects_that_another_decoder_takes(content):
    try:
        decode(content, Object)
    except BadRequest:
        assert not by_python(content)
    else:
        assert by_python(content)
