"""huey: a task with its defaults."""

import noting
from huey import RedisHuey

huey = RedisHuey("bench", url=noting.REDIS)


@huey.task(name="note")
def note(argument: str) -> None:
    noting.note(argument)


def put(batch: list[str]) -> None:
    note(batch[0])
