"""dramatiq: an actor with its defaults."""

import dramatiq
import noting
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=noting.REDIS))


@dramatiq.actor
def note(argument: str) -> None:
    noting.note(argument)


def put(batch: list[str]) -> None:
    note.send(batch[0])
