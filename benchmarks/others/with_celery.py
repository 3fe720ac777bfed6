"""Celery: a task with its defaults, whose result nobody wants."""

import noting
from celery import Celery

app = Celery("bench", broker=noting.REDIS.replace("unix://", "redis+socket://"))
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True


@app.task(name="note")
def note(argument: str) -> None:
    noting.note(argument)


def put(batch: list[str]) -> None:
    note.delay(batch[0])
