"""Inserts, reserves and acknowledges with a client that openapi-generator made for Python."""

import sys
import time

from presque_client import Ack, ApiClient, Configuration, Nack, NewJob, NewJobOrNewJobs, Reserve, V1Api, Y2010Api
from presque_client.exceptions import ConflictException, NotFoundException


def refusal(kind, function, *arguments):
    """The problem with which the daemon refuses the call."""
    try:
        function(*arguments)
    except kind as refused:
        return refused.data
    raise SystemExit("it was not refused")


with ApiClient(Configuration(host=sys.argv[1])) as connection:
    v1, y2010 = V1Api(connection), Y2010Api(connection)
    inserted = v1.insert("generated", NewJobOrNewJobs(NewJob(payload={"n": 1})), idempotency_key=str(time.time()))
    (job,) = v1.reserve("none,generated", Reserve(lease=30.5)).jobs
    assert (job.id, job.payload) == (inserted.actual_instance.id, {"n": 1})
    assert v1.nack(job.id, Nack(receipt=job.receipt, error="not yet", delay=0)).state in ("delayed", "dead")
    (job,) = v1.reserve("generated", Reserve(wait=5)).jobs
    v1.ack(job.id, Ack(receipt=job.receipt))
    assert refusal(NotFoundException, v1.look_up, job.id).type == "/problems/not-found"
    unique = NewJobOrNewJobs(NewJob(payload=None, unique="k"))
    first = v1.insert("generated", unique).actual_instance.id
    assert refusal(ConflictException, v1.insert, "generated", unique).existing == first
    y2010.drop_queue("generated")
    y2010.push_job("generated", {"n": 2}, delayed=int(time.time()) - 1)
    assert y2010.take_job("generated", x_presque_workerid="w1") == {"n": 2}
    assert y2010.show_status("generated", with_desc=1).jobs == []
    assert y2010.list_queue_names().size >= 1
    assert v1.describe_queue("generated").ready == 0
    v1.delete_queue("generated")
