"""What the README shows is what happens: its examples are run as written, in their order."""

import re
import subprocess
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred as awaiting
from servers import port_of
from twisted.internet.threads import deferToThread

from presque.settings import TABLE

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
V1 = (ROOT / "docs" / "v1.md").read_text()


def examples(text):
    """(command, expected output) of every console block; `…` stands for anything."""
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            yield command, expected.strip()


def shell(command):
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.replace("\r\n", "\n").strip()


@pytest.mark.parametrize(("text", "least"), [(README, 25), (V1, 10)], ids=["README", "v1"])
@awaiting
async def test_the_examples_answer_as_written(daemon, text, least):
    commands = list(examples(text))
    assert len(commands) > least
    for command, expected in commands:
        here = command.replace("localhost:5000", f"127.0.0.1:{port_of(daemon)}").replace("curl ", "curl -sS ", 1)
        printed = await deferToThread(shell, here)
        pattern = re.escape(expected).replace("…", ".*")
        assert re.fullmatch(pattern, printed, re.DOTALL), f"{command}\n{printed}"


def test_every_option_is_in_its_table():
    for row in TABLE:
        assert re.search(rf"^\| `--{row.name} {row.value}` \|", README, re.MULTILINE), row.name
        if row.default:
            assert re.search(rf"^\| `--{row.name} .*\| `?{re.escape(row.default)}`? \|", README, re.MULTILINE), row.name


def test_every_file_that_it_names_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "<" not in target and "://" not in target:
            assert (ROOT / target).exists(), target


def test_it_has_one_command_to_run_and_one_to_test():
    for name in ("run", "test"):
        assert len(re.findall(rf"<!-- {name} -->\n```sh\n[^\n]+\n```\n", README)) == 1
