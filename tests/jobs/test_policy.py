"""A queue's setting is one row: the page, the scripts and the routes say what the rows say."""

import json
import re

import pytest
from programs import ROOT
from pytest_twisted import ensureDeferred as awaiting
from servers import eventually
from v1 import insert, is_problem, look, reserve, send, settle

from presque.jobs.policy import GROUPS, SETTINGS, defaults, grouped, lua_parts

NAMES = [row.name for row in SETTINGS]


def cell(value):
    """A value as the page writes it."""
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool | str) else f"{value:,}"


def line(row):
    """A setting as the page has it."""
    bounds = "" if row.kind is bool else f"{cell(row.minimum)} to {cell(row.maximum)}"
    bounds = ", ".join(f"`{choice}`" for choice in row.choices) or bounds
    return f"| `{row.name}` | {row.unit} | {cell(row.default)} | {bounds} | {row.meaning} |".replace("|  |", "| |")


def nested(name, value):
    """The body of a PATCH that sets one setting."""
    return grouped([(name, value)])


async def patch(client, body):
    return await client.request("PATCH", "/v1/queues/foo", json.dumps(body).encode())


def test_the_page_has_the_rows():
    page = (ROOT / "docs" / "v1.md").read_text()
    (table,) = re.findall(r"^\| setting \|.*\n\|[-| ]+\n((?:\|.*\n)+)", page, re.MULTILINE)
    assert table.splitlines() == [line(row) for row in SETTINGS]


def test_names_are_unique_and_every_group_is_described():
    assert len({row.stored for row in SETTINGS}) == len(set(NAMES)) == len(SETTINGS)
    assert {name.partition(".")[0] for name in NAMES if "." in name} == set(GROUPS)


@pytest.mark.parametrize("row", SETTINGS, ids=NAMES)
def test_a_default_and_the_bounds_are_such_as_the_store_gives_back(row):
    values = [True, False] if row.kind is bool else row.choices
    for value in (row.default, *(values or (row.minimum, row.maximum, row.kind(row.maximum / 7)))):
        text = row.to_store(value)
        assert row.from_store(text) == pytest.approx(value)
        assert (text == b"") == (value is None or (row.kind in (bool, str) and value == row.default))


def test_the_scripts_fall_back_on_the_defaults_of_the_rows(redis):
    parts = lua_parts()
    tell = "for i, name in ipairs(setting_names) do told[i] = tostring(setting_defaults[name] or '') end"
    program = "\n".join([parts["setting_defaults"], parts["setting_names"], "local told = {}", tell, "return told"])
    told = redis.command("EVAL", program, "0")
    assert [row.from_store(text) for row, text in zip(SETTINGS, told, strict=True)] == list(defaults().values())


@awaiting
async def test_a_queue_tells_the_defaults_of_the_rows(client):
    await insert(client, 1)
    assert (await client.get("/v1/queues/foo")).json["settings"] == grouped(defaults().items())


OTHER = {float: 1.5, int: 3, bool: False, str: "dead"}  # values that are no default


@pytest.mark.parametrize("row", SETTINGS, ids=NAMES)
@awaiting
async def test_a_patch_of_each_setting_comes_back_and_null_takes_it_back(client, row):
    expected = {**defaults(), row.name: OTHER[row.kind]}
    answer = await patch(client, nested(row.name, OTHER[row.kind]))
    assert (answer.status, answer.json["settings"]) == (200, grouped(expected.items()))
    assert (await client.get("/v1/queues/foo")).json["settings"] == grouped(expected.items())
    answer = await patch(client, nested(row.name, None))
    assert (answer.status, answer.json["settings"]) == (200, grouped(defaults().items()))


@pytest.mark.parametrize("row", [row for row in SETTINGS if row.kind in (int, float)], ids=lambda row: row.name)
@awaiting
async def test_a_setting_lies_within_its_bounds(client, row):
    name = row.name.rpartition(".")[2]
    for value in (row.minimum, row.maximum):
        assert (await patch(client, nested(row.name, row.kind(value)))).status == 200
    for value in (row.minimum - 1, row.maximum + 1):
        answer = await patch(client, nested(row.name, value))
        assert name in is_problem(answer, 400, "bad-request")


@pytest.mark.parametrize("row", [row for row in SETTINGS if row.kind is str], ids=lambda row: row.name)
@awaiting
async def test_a_setting_is_one_of_its_choices(client, row):
    assert row.default in row.choices
    for value in row.choices:
        answer = await patch(client, nested(row.name, value))
        assert (answer.status, answer.json["settings"][row.name]) == (200, value)
    for value in ("", row.choices[0].upper(), f"{row.choices[0]} ", 1, True, list(row.choices)):
        assert row.name in is_problem(await patch(client, nested(row.name, value)), 400, "bad-request")
    assert (await client.get("/v1/queues/foo")).json["settings"][row.name] == row.choices[-1]


async def set_to(client, name, value):
    assert (await patch(client, nested(name, value))).status == 200


async def fail(client):
    """Reserve the job and say that it failed; what became of it."""
    (job,) = await reserve(client, wait=5)
    return (await settle(client, "nack", job)).json


async def obeys_lease(client):
    await set_to(client, "lease", 1.5)
    await insert(client, 1)
    assert (await reserve(client))[0]["lease"] == 1.5


async def obeys_max_attempts(client):
    await set_to(client, "max_attempts", 1)
    await insert(client, 1)
    assert await fail(client) == {"state": "dead"}


async def obeys_backoff_first(client):
    await set_to(client, "backoff.first", 100)
    await insert(client, 1)
    assert 80 <= (await fail(client))["due_in"] <= 120


async def obeys_backoff_factor(client):
    await set_to(client, "backoff.first", 0.05)
    await set_to(client, "backoff.factor", 100)
    await insert(client, 1)
    assert 0.04 <= (await fail(client))["due_in"] <= 0.06
    assert 4 <= (await fail(client))["due_in"] <= 6


async def obeys_backoff_max(client):
    await set_to(client, "backoff.max", 1)
    await insert(client, 1)
    assert 0.8 <= (await fail(client))["due_in"] <= 1.2


async def obeys_max_length(client):
    await set_to(client, "max_length", 1)
    await insert(client, 1)
    is_problem(await send(client, "queues/foo/jobs", {"payload": 2}), 429, "queue-full")


async def obeys_max_bytes(client):
    await set_to(client, "max_bytes", 1)
    await insert(client, 1)
    is_problem(await send(client, "queues/foo/jobs", {"payload": 2}), 429, "queue-full")


async def dead(client):
    return (await client.get("/v1/queues/foo")).json["dead"]


async def obeys_dead_keep_count(client):
    await set_to(client, "dead_keep.count", 1)
    for n in range(2):
        await insert(client, n, max_attempts=1)
        await fail(client)
    assert await dead(client) == 1


async def obeys_dead_keep_age(client):
    await set_to(client, "dead_keep.age", 0.05)
    await insert(client, 1, max_attempts=1)
    await fail(client)

    async def gone():
        return await dead(client) == 0

    await eventually(gone, "the dead job's end")


async def obeys_redeliver_after(client):
    await set_to(client, "redeliver_after", 60)
    await insert(client, 1)
    assert (await client.get("/q/foo?worker_id=w1")).status == 200

    async def kept():
        return (await look(client, "foo:1")).get("worker") == "w1"

    await eventually(kept, "the job kept in the worker's name")


async def obeys_accepting(client):
    await set_to(client, "accepting", False)
    is_problem(await send(client, "queues/foo/jobs", {"payload": 1}), 409, "wrong-state")


async def obeys_expired(client):
    await set_to(client, "expired", "dead")
    await insert(client, 1, expires_in=0.05)

    async def is_dead():
        return await dead(client) == 1

    await eventually(is_dead, "the death of what expired")


OBEYS = {name.removeprefix("obeys_"): check for name, check in list(globals().items()) if name.startswith("obeys_")}


def test_each_setting_has_a_test_that_it_is_obeyed():
    assert set(OBEYS) == {name.replace(".", "_") for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
@awaiting
async def test_a_queue_obeys(client, name):
    await OBEYS[name.replace(".", "_")](client)
