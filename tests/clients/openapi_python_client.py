"""Inserts, reserves and acknowledges with a client that openapi-python-client made."""

import sys
import time

from presque_client import Client
from presque_client.api.v1 import ack, delete_queue, insert, look_up, reserve
from presque_client.api.y2010 import push_job, take_job
from presque_client.models import Ack, JobRef, NewJob, Problem, PushJobBody, Reserve

client = Client(base_url=sys.argv[1])
inserted = insert.sync("generated", client=client, body=NewJob(payload={"n": 1}))
assert isinstance(inserted, JobRef)
(job,) = reserve.sync("none,generated", client=client, body=Reserve(lease=30.5)).jobs
assert (job.id, job.payload) == (inserted.id, {"n": 1})
assert ack.sync_detailed(job.id, client=client, body=Ack(receipt=job.receipt)).status_code == 204
gone = look_up.sync(job.id, client=client)
assert isinstance(gone, Problem)
assert gone.type_ == "/problems/not-found"
said = push_job.sync_detailed(
    "generated", client=client, body=PushJobBody.from_dict({"n": 2}), delayed=int(time.time()) - 1
)
assert said.status_code == 201
assert take_job.sync("generated", client=client).to_dict() == {"n": 2}
delete_queue.sync_detailed("generated", client=client)
