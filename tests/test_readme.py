"""What the README shows is what happens: its examples are run as written, in their order."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred as awaiting
from servers import eventually, port_of
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


def program(language):
    """The one program in this language that the page about /v1 shows."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", V1, re.DOTALL)
    return found


@awaiting
async def test_the_worker_in_python_works(daemon, client, tmp_path):
    (tmp_path / "worker.py").write_text(program("python"))
    await client.post("/v1/queues/mail/jobs", b'{"payload":{"to":"ann"}}')
    url = f"http://127.0.0.1:{port_of(daemon)}"
    process = subprocess.Popen(
        [sys.executable, "-u", tmp_path / "worker.py", url, "mail"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert await deferToThread(process.stdout.readline) == "{'to': 'ann'}\n"

        async def acknowledged():
            return (await client.get("/v1/queues/mail")).json["leased"] == 0

        await eventually(acknowledged, "the ack")
        assert (await client.get("/v1/jobs/mail:1")).status == 404
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize(("command", "word"), [("cat", None), ("echo broken >&2; false", "broken")])
@awaiting
async def test_the_worker_in_shell_works(daemon, client, tmp_path, command, word):
    """Where there is no jq, its programs are run by a stand-in that knows just these."""
    (tmp_path / "worker.sh").write_text(program("bash"))
    path = os.environ["PATH"]
    if shutil.which("jq") is None:
        stand_in = tmp_path / "jq"
        stand_in.write_text(f"#!{sys.executable}\n{JQ}")
        stand_in.chmod(0o755)
        path = f"{tmp_path}:{path}"
    await client.post("/v1/queues/mail/jobs", b'{"payload":{"to":"ann"}}')
    url = f"http://127.0.0.1:{port_of(daemon)}"
    process = subprocess.Popen(
        ["bash", tmp_path / "worker.sh", url, "mail", "bash", "-c", command],
        env={**os.environ, "PATH": path},
        start_new_session=True,
    )
    try:

        async def settled():
            answer = await client.get("/v1/jobs/mail:1")
            return answer.status == 404 if word is None else answer.json.get("last_error") == word

        await eventually(settled, "the settlement")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


JQ = """
import json, sys
words = sys.argv[1:]
if "-cn" in words:
    print(json.dumps({"receipt": json.loads(words[3]), "error": words[6]}))
else:
    value = json.load(sys.stdin)
    found = (value["jobs"] or [None])[0] if "jobs" in value else value[words[-1].lstrip(".")]
    if found is not None:
        print(found if "-r" in words else json.dumps(found))
"""


def test_every_file_that_it_names_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "<" not in target and "://" not in target:
            assert (ROOT / target).exists(), target


def test_it_has_one_command_to_run_and_one_to_test():
    for name in ("run", "test"):
        assert len(re.findall(rf"<!-- {name} -->\n```sh\n[^\n]+\n```\n", README)) == 1
