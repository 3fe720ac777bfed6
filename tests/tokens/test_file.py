"""The file of the tokens: what a line may say, and how a wrong one is refused without a word of it."""

import os
import re

import pytest
from token_files import TokenFile

from presque.errors import InvalidTokenFile
from presque.tokens.file import parse, read
from presque.tokens.scopes import SCOPES
from presque.tokens.text import check_of, digest_of

TEXT = "presque_" + "Canary" * 7 + "x"
TEXT += check_of(TEXT)
HASH = f"sha256:{digest_of(TEXT.encode())}"


@pytest.fixture
def file(tmp_path):
    return TokenFile(tmp_path / "tokens")


def only(line):
    """The token of a file of this line."""
    (token,), wrong = parse(line)
    assert wrong == []
    return token


def test_a_line_has_a_name_a_digest_and_scopes():
    token = only(f"mail-app {HASH} produce:mail.* read:*")
    assert (token.name, [str(scope) for scope in token.scopes]) == ("mail-app", ["produce:mail.*", "read:*"])
    assert (token.expires_at, token.networks) == (None, ())
    assert token.digest not in repr(token)


def test_comments_empty_lines_and_spaces_are_ignored(file):
    file.add("a", "read:*")
    file.write(f"\n# a comment\n   \n\t#{TEXT}\n  b\t{HASH.upper().replace('SHA', 'sha')}   read:*  \r\n")
    assert list(read(file.path).by_name) == ["a", "b"]
    assert read(file.path).find(TEXT.encode()).name == "b"


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*", "mail a _x 0", ""),
        ("mail", "mail", "mail2 amail Mail mai"),
        ("mail.*", "mail. mail.a mail.a.b", "mail maila xmail.a"),
        ("*.dead", ".dead a.dead", "dead a.deadx"),
        ("a?c", "abc a.c a-c", "ac abbc"),
        ("a**b", "ab axb axxb", "a b"),
        ("a.b", "a.b", "axb"),
        ("?", "a", "ab"),
    ],
)
def test_a_pattern_means_names_of_queues(pattern, yes, no):
    token = only(f"a {HASH} read:{pattern}")
    assert all(token.may("read", queue) for queue in yes.split())
    assert not any(token.may("read", queue) for queue in no.split())
    for verb in set(SCOPES) - {"read"}:
        assert not token.may(verb, yes.split()[0])
        assert not token.may_some(verb)
    assert token.may_some("read")
    assert token.may_all("read") == (pattern == "*")


def test_several_patterns_of_a_scope_add_up():
    token = only(f"a {HASH} read:a read:b.* consume:b.c")
    assert [token.may("read", queue) for queue in ("a", "b.c", "c")] == [True, True, False]
    assert [token.may("consume", queue) for queue in ("a", "b.c", "b.d")] == [False, True, False]


def test_a_pattern_with_many_stars_is_matched_at_once():
    token = only(f"a {HASH} read:{'*a' * 60}*b")
    assert not token.may("read", "a" * 128)
    assert not token.may("read", "a" * 100_000)


def test_what_is_too_long_for_a_name_may_be_asked_for_with_the_scope_of_all_queues_alone():
    """It is refused as an invalid name then."""
    assert only(f"a {HASH} read:*").may("read", "a" * 129)
    assert not only(f"a {HASH} read:a*").may("read", "a" * 129)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2027-01-01", 1798761600),
        ("2027-01-01T12:00", 1798804800),
        ("2027-01-01T12:00:30Z", 1798804830),
        ("2027-01-01T12:00:00+02:00", 1798797600),
        ("1970-01-01", 0),
    ],
)
def test_an_end_is_a_date_or_a_time_in_utc_unless_it_says_otherwise(text, seconds):
    assert only(f"a {HASH} read:* expires={text}").expires_at == seconds


@pytest.mark.parametrize(
    ("networks", "yes", "no"),
    [
        ("10.0.0.0/8", "10.0.0.1 10.255.255.255 ::ffff:10.1.1.1", "11.0.0.1 ::1 127.0.0.1"),
        ("192.0.2.7,::1", "192.0.2.7 ::1", "192.0.2.8 ::2"),
        ("fe80::/10", "fe80::1 fe80::1%eth0", "10.0.0.1"),
    ],
)
def test_a_token_may_be_bound_to_networks(networks, yes, no):
    token = only(f"a {HASH} read:* from={networks}")
    assert all(token.is_for(address) for address in yes.split())
    assert not any(token.is_for(address) for address in [*no.split(), "", "x"])
    assert only(f"a {HASH} read:*").is_for("")


WRONG = {
    "a": "line 1: after the name comes sha256:",
    f"a {HASH}": "line 1: there is no scope",
    f"{TEXT} {HASH} read:*": "line 1: the first word must be a name, not a token",
    f"-a {HASH} read:*": "line 1: a name is ",
    f"{'a' * 129} {HASH} read:*": "line 1: a name is ",
    f"ä {HASH} read:*": "line 1: a name is ",
    f"a {TEXT} read:*": "line 1: after the name comes sha256:",
    f"a {HASH}0 read:*": "line 1: after the name comes sha256:",
    f"a {HASH[7:]} read:*": "line 1: after the name comes sha256:",
    f"a {HASH} {TEXT}": "line 1: a scope begins with produce:, consume:, read: or manage:",
    f"a {HASH} read": "line 1: after read: comes a pattern",
    f"a {HASH} read:": "line 1: after read: comes a pattern",
    f"a {HASH} read:[a]": "line 1: after read: comes a pattern",
    f"a {HASH} read:é": "line 1: after read: comes a pattern",
    f"a {HASH} reed:*": "line 1: a scope begins with",
    f"a {HASH} *": "line 1: a scope begins with",
    f"a {HASH} read:* expire=2027-01-01": "line 1: what has a = must be expires= or from=",
    f"a {HASH} read:* expires=tomorrow": "line 1: expires= must be a date",
    f"a {HASH} read:* expires=2027-13-01": "line 1: expires= must be a date",
    f"a {HASH} read:* expires=": "line 1: expires= must be a date",
    f"a {HASH} read:* expires=2027-01-01 expires=2028-01-01": "line 1: expires= is there twice",
    f"a {HASH} read:* from=10.0.0.1/8": "line 1: from= must be networks, .* host bits",
    f"a {HASH} read:* from=": "line 1: from= must be networks",
    f"a {HASH} read:* from=localhost": "line 1: from= must be networks",
    f"a {HASH} read:*\na {HASH[:-1]}f read:*": "line 2: the name of line 1 again",
    f"a {HASH} read:*\n\nb {HASH} read:*": "line 3: the token of line 1 again",
}


@pytest.mark.parametrize(("text", "why"), WRONG.items(), ids=range(len(WRONG)))
def test_a_wrong_line_refuses_the_whole_file_and_shows_none_of_it(file, text, why):
    file.add("good", "read:*")
    file.path.write_text(text)
    with pytest.raises(InvalidTokenFile) as refused:
        read(file.path)
    said = str(refused.value)
    assert re.match(re.escape(f"{file.path}: ") + why, said), said
    assert "\n" not in said
    for secret in (TEXT, HASH, HASH[7:], HASH[7:20]):
        assert secret not in said


def test_several_wrong_lines_are_counted(file):
    file.path.write_text("a\nb\nc\n")
    file.path.chmod(0o600)
    with pytest.raises(InvalidTokenFile, match=r"line 1: .* \(and 2 more wrong lines\)$"):
        read(file.path)


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o644, 0o660, 0o666, 0o777])
def test_a_file_that_others_can_read_or_a_group_can_write_is_refused(file, mode):
    file.add("a", "read:*")
    file.path.chmod(mode)
    with pytest.raises(InvalidTokenFile, match=rf"mode {mode:03o} lets others in"):
        read(file.path)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o440])
def test_a_group_may_read_it(file, mode):
    file.add("a", "read:*")
    file.path.chmod(mode)
    assert len(read(file.path)) == 1


def test_what_is_no_file_is_refused(tmp_path, file):
    os.mkfifo(tmp_path / "fifo", 0o600)  # to open it would wait for a writer
    for path, why in ((tmp_path, "regular file"), (tmp_path / "fifo", "regular file"), (tmp_path / "none", "No such")):
        with pytest.raises(InvalidTokenFile, match=why):
            read(path)
    for content, why in ((b"", "no token"), (b"\n# a\n", "no token"), (b"\xff", "UTF-8"), (b" " * 2**23, "longer")):
        file.path.write_bytes(content)
        file.path.chmod(0o600)
        with pytest.raises(InvalidTokenFile, match=why):
            read(file.path)
