"""RQ: a queue with its defaults."""

from noting import REDIS, note
from redis import Redis
from rq import Queue

queue = Queue("bench", connection=Redis.from_url(REDIS))


def put(batch: list[str]) -> None:
    queue.enqueue(note, batch[0])
