"""Row 30: schedules fire once each, while the daemons and Redis are killed."""

from __future__ import annotations

import json
import time
from collections import Counter
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from presque.jobs.records import payload_of
from tests.load import Client, insist, together, until

if TYPE_CHECKING:
    from tests.acceptance.bench import Bench
    from tests.programs import Daemon, Redis

DAEMONS, QUEUES = 3, 10
CAUGHT_UP = 60.0  # seconds after the last kill in which all that was missed has fired
DUE = "presque:{0}/schedule_due"


def definition(number: int, every: int) -> dict[str, Any]:
    """Of a schedule whose job says which one it is. Of those of a minute half are due at the same moment."""
    cron = every == 60 and number % 2
    when: dict[str, Any] = {"cron": "* * * * *"} if cron else {"every": every}
    return {**when, "misfire": "all", "job": {"payload": number}}


def name_of(number: int) -> str:
    return f"q{number % QUEUES}/s{number}"


def make(port: int, every: int, numbers: range) -> dict[str, float]:
    """Make these schedules; when each is to fire first."""
    client, first = Client(port), {}
    for number in numbers:
        queue, _, name = name_of(number).partition("/")
        body = json.dumps(definition(number, every)).encode()
        path = f"/v1/queues/{queue}/schedules/{name}"
        first[name_of(number)] = insist(partial(client.ask, "PUT", path, body), (200, 201))[0].json["next_at"]
    return first


def kill_often(program: Daemon | Redis, times: int, down: float, up: float, chance: Random) -> None:
    """Kill a program so often, for up to `down` seconds each time, and let it be up for up to `up` in between."""
    for _ in range(times):
        time.sleep(chance.random() * up)
        program.kill()
        time.sleep(chance.random() * down)
        program.start()


def times_due(redis: Redis) -> tuple[float, dict[str, float]]:
    """Now, and when each schedule fires next, by Redis' clock."""
    ask = redis.session()
    seconds, microseconds = ask("TIME")
    pairs = ask("ZRANGE", DUE, 0, -1, "WITHSCORES")
    due = {name.decode(): float(at) / 1000 for name, at in zip(pairs[::2], pairs[1::2], strict=True)}
    return int(seconds) + int(microseconds) / 1e6, due


def jobs_of(redis: Redis) -> Counter[str]:
    """How many jobs each schedule has inserted."""
    ask = redis.session()
    numbers: Counter[str] = Counter()
    for queue in range(QUEUES):
        records = ask("HVALS", f"presque:{{0}}:q{queue}:jobs")
        numbers.update(name_of(int(payload_of(record))) for record in records)
    return numbers


def caught_up(redis: Redis) -> bool:
    now, due = times_due(redis)
    return all(at > now for at in due.values())


def fires_once(bench: Bench, figures: dict[str, Any]) -> bool:
    """schedules: 3 daemons, 1,000 of a minute, each daemon killed 50 times, Redis 10 times; each time fires once."""
    every, count = bench.size(60, 1), bench.size(1000, 60)
    redis = bench.redis()
    daemons: list[Daemon] = [bench.daemon(redis.url) for _ in range(DAEMONS)]
    parts = [range(part, count, DAEMONS) for part in range(DAEMONS)]
    found = together([partial(make, each.port, every, part) for each, part in zip(daemons, parts, strict=True)])
    first = {name: at for part in found for name, at in part.items()}
    kills, redis_kills = bench.size(50, 2), bench.size(10, 1)
    chances = [Random(bench.chance.randrange(2**32)) for _ in range(DAEMONS + 1)]
    tasks = [partial(kill_often, daemons[n], kills, 2.0, 4.0, chances[n]) for n in range(DAEMONS)]
    tasks.append(partial(kill_often, redis, redis_kills, 0.5, bench.size(30, 3), chances[-1]))
    began = time.monotonic()
    together(tasks)
    figures["seconds_of_kills"] = round(time.monotonic() - began, 1)
    last = max(first.values()) + 3 * every
    until(lambda: min(times_due(redis)[1].values()) > last, 5 * every + CAUGHT_UP, "the third time of each")
    figures["caught_up_s"] = round(until(partial(caught_up, redis), CAUGHT_UP, "what was missed"), 2)
    for daemon in daemons:
        daemon.kill()
    _, due = times_due(redis)
    expected = Counter({name: round((due[name] - at) / every) for name, at in first.items()})
    fired = jobs_of(redis)
    figures.update(schedules=len(due), kills=DAEMONS * kills, redis_kills=redis_kills, times=expected.total())
    figures.update(lost=(expected - fired).total(), twice=(fired - expected).total())
    return len(due) == count and fired == expected and min(expected.values()) >= 3


ROWS = {30: fires_once}
