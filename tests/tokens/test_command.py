"""`presque-token`: what it prints is what the daemon reads."""

import subprocess
import sys

import pytest
from programs import ROOT

from presque.tokens.command import main
from presque.tokens.file import read
from presque.tokens.text import is_token


@pytest.fixture
def new(capsys):
    """Runs `presque-token new`, `new(*words)`; the token and the line."""

    def run(*words):
        assert main(["new", *words]) == 0
        text, line = capsys.readouterr().out.splitlines()
        return text, line

    return run


def test_a_new_token_is_the_one_of_its_line(new, tmp_path):
    text, line = new("mail-app", "produce:mail.*", "read:*", "expires=2027-01-01", "from=10.0.0.0/8")
    assert is_token(text.encode())
    assert text not in line
    path = tmp_path / "tokens"
    path.touch(0o600)
    path.write_text(f"# ours\n{line}\n")
    found = read(path).find(text.encode())
    assert (found.name, found.expires_at) == ("mail-app", 1798761600)
    assert read(path).find(new("other", "read:*")[0].encode()) is None


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["a", "reed:*"], "a scope begins with"),
        (["a b", "read:*"], "an argument must be one word"),
        (["a", "read:*\nb"], "an argument must be one word"),
        (["", "read:*"], "a name is"),
        (["#a", "read:*"], "a name is"),
        (["a", "expires=2027-01-01"], "there is no scope"),
        (["a", "read:*", "expires=soon"], "expires= must be"),
    ],
)
def test_what_no_line_may_say_makes_no_token(capsys, words, why):
    assert main(["new", *words]) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith(f"presque-token: {why}")


@pytest.mark.parametrize("words", [[], ["new"], ["new", "a"], ["check"], ["check", "a", "b"], ["delete", "a"]])
def test_other_arguments_show_how_it_is_used(capsys, words):
    assert main(words) == 2
    assert "usage: presque-token new" in capsys.readouterr().err


def test_a_good_file_is_told_without_its_digests(capsys, new, tmp_path):
    path = tmp_path / "tokens"
    path.touch(0o600)
    lines = [
        new("a", "read:*", "expires=2001-02-03")[1],
        new("b", "consume:x", "produce:y.*", "from=::1", "expires=2400-01-01")[1],
    ]
    path.write_text("\n".join(lines))
    assert main(["check", str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "a read:* expired=2001-02-03T00:00:00Z",
        "b consume:x produce:y.* from=::1/128 expires=2400-01-01T00:00:00Z",
    ]


def test_a_wrong_file_is_told_by_its_line(capsys, tmp_path):
    path = tmp_path / "tokens"
    path.touch(0o600)
    path.write_text("# a\nb\n")
    assert main(["check", str(path)]) == 1
    assert f"presque-token: {path}: line 2: " in capsys.readouterr().err


def test_it_starts_without_what_only_the_daemon_needs():
    """Nobody waits half a second for a token; nothing is imported but the standard library."""
    code = (
        "import sys; from presque.tokens.command import main; main(['new', 'a', 'read:*'])\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('twisted', 'klein', 'msgspec', 'werkzeug')])"
    )
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
