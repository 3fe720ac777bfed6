"""What the README shows is what happens: its examples are run as written, in their order."""

import re
import subprocess
from pathlib import Path

import msgspec
import pytest
from pytest_twisted import ensureDeferred as awaiting
from servers import port_of
from twisted.internet.threads import deferToThread

from presque.settings import TABLE
from presque.web.v1.insertion import NewJob

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
V1 = (ROOT / "docs" / "v1.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
OLD = (ROOT / "docs" / "http-2010.md").read_text()
PAGES = ["README.md", "CONTRIBUTING.md", "benchmarks/README.md", "tests/acceptance/README.md"]
PAGES += [f"docs/{name}.md" for name in ("v1", "http-2010", "operations", "performance", "design")]


def examples(text):
    """(command, expected output) of every console block; `…` stands for anything."""
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            yield command, expected.strip()


def shell(command):
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.replace("\r\n", "\n").strip()


@pytest.mark.parametrize(("text", "least"), [(README, 2), (OLD, 25), (V1, 10)], ids=["README", "2010", "v1"])
@awaiting
async def test_the_examples_answer_as_written(daemon, text, least):
    commands = list(examples(text))
    assert len(commands) > least
    receipt = "not this"
    for command, expected in commands:
        here = command.replace("localhost:5000", f"127.0.0.1:{port_of(daemon)}").replace("curl ", "curl -sS ", 1)
        printed = await deferToThread(shell, here.replace("…", receipt))  # in a command it stands for the receipt
        receipt = (re.findall(r'"receipt":"([^"]+)"', printed) or [receipt])[0]
        pattern = re.escape(expected).replace("…", ".*")
        assert re.fullmatch(pattern, printed, re.DOTALL), f"{command}\n{printed}"


def test_every_option_is_in_its_table():
    for row in TABLE:
        assert re.search(rf"^\| `--{f'{row.name} {row.value}'.strip()}` \|", README, re.MULTILINE), row.name
        if row.default:
            assert re.search(rf"^\| `--{row.name}[ `].*\| `?{re.escape(row.default)}`? \|", README, re.MULTILINE), (
                row.name
            )


@pytest.mark.parametrize("page", PAGES)
def test_every_file_and_heading_that_a_page_names_is_there(page):
    for target in re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text()):
        path, _, heading = target.partition("#")
        if "<" in path or "://" in path:
            continue
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if heading:
            assert heading in {anchor(found) for found in re.findall(r"^#+ (.+)", file.read_text(), re.MULTILINE)}, (
                target
            )


def anchor(heading):
    """As GitHub makes it of a heading."""
    return re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")


def rows(text, head):
    """The cells of every row of the table whose first line begins with `head`."""
    (table,) = re.findall(rf"^\| {head} .*\n\|[-| ]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()]


def documented(text):
    """(method, path) of every row of a table of routes: "`GET`, `PATCH /a/<b>`", "`POST /a/b`, `/c`"."""
    for first, *_ in rows(text, "request"):
        methods, path = [], ""
        for token in re.findall(r"`([^`]+)`", first):
            method, _, following = token.rpartition(" ")
            if token.startswith("/"):
                following = path.rpartition("/")[0] + token
            elif not following.startswith("/"):
                methods.append(following)
                continue
            elif method:
                methods.append(method)
            path = following.partition("?")[0]
            yield from ((each, re.sub(r"<[^>]+>", "<>", path).rstrip("/")) for each in methods)


def test_every_route_is_in_a_table(daemon):
    in_tables = {*documented(OLD), *documented(V1), *documented(OPERATIONS)}
    own = ("/openapi.json", "/")
    for route in daemon.routes.listed:
        if route.name and route.path not in own:
            path = re.sub(r"<[^>]+>", "<>", route.path).rstrip("/")
            assert (route.method, path) in in_tables, "a route that no table names"


def test_every_field_of_a_job_is_in_a_table():
    names = {re.sub(r"[ `]", "", first) for first, *_ in rows(V1, "field")}
    assert {field.name for field in msgspec.structs.fields(NewJob)} <= names


def test_it_has_one_command_to_run_and_one_to_test():
    for name in ("run", "test"):
        assert len(re.findall(rf"<!-- {name} -->\n```sh\n[^\n]+\n```\n", README)) == 1
