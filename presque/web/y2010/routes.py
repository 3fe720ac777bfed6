"""The routes of 2010, which existing producers and workers speak: `/q /qb /status /j /control /w`.

What each answers, to the byte, is in the README. Here requests are parsed, called and answered; what a queue is and
does is in `presque.jobs.queues`.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from presque.jobs.queues import NewJob
from presque.web import params
from presque.web.answers import answer, encode, error, joined, json
from presque.web.parameters import IDEMPOTENCY_KEY, WORKER
from presque.web.params import BadRequest
from presque.web.y2010 import models as models2010

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from presque.http.deliveries import Deliveries
    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.queue_list import QueueList
    from presque.jobs.queues import Counts, Queues, Taken
    from presque.jobs.waiters import Waiters
    from presque.jobs.workers import Worker, Workers


Job = dict[str, Any]  # any JSON object


def add(
    routes: Routes, queues: Queues, queue_list: QueueList, workers: Workers, waiting: Waiters, deliveries: Deliveries
) -> None:
    """Declare the routes of 2010."""
    _add_queue(routes, queues, waiting, deliveries)
    _add_batches(routes, queues, waiting, deliveries)
    _add_knowledge(routes, queues, queue_list)
    _add_control(routes, queues)
    _add_workers(routes, workers)
    _add_nameless(routes)


def _add_queue(routes: Routes, queues: Queues, waiting: Waiters, deliveries: Deliveries) -> None:
    @routes.at(
        "POST",
        "/q/<queue>",
        summary="Insert a job, once for an idempotency key.",
        name="pushJob",
        body=Job,
        answers={201: None},
        refuses=(409, 422, 429),
        query=("delayed", "uniq"),
        headers=(IDEMPOTENCY_KEY,),
    )
    def push(request: Request, queue: str) -> Deferred[bytes]:
        pushed = _insert(request, queues, queue, [params.job(request)], params.uniq(request))
        return pushed.addCallback(lambda ids: answer(request, 201, b""))

    @routes.at(
        "PUT",
        "/q/<queue>",
        summary="Insert a job that a worker failed at, and count the failure, once for an idempotency key.",
        name="failJob",
        body=Job,
        answers={201: None},
        refuses=(409, 422, 429),
        query=("delayed", "uniq", "worker_id"),
        headers=(WORKER, IDEMPOTENCY_KEY),
    )
    def fail(request: Request, queue: str) -> Deferred[bytes]:
        job, due, uniq = params.job(request), params.delayed(request), params.uniq(request)
        key = params.idempotency_key(request)
        fingerprint = _fingerprint(request, [job]) if key else b""
        failed = queues.fail(queue, job, due, uniq, params.worker(request), key, fingerprint)
        return failed.addCallback(lambda ids: answer(request, 201, b""))

    @routes.at(
        "GET",
        "/q/<queue>",
        summary="Take a job for good.",
        name="takeJob",
        takes=True,
        answers={200: Job},
        refuses=(404,),
        query=("wait", "worker_id"),
        headers=(WORKER,),
    )
    def take(request: Request, queue: str) -> Deferred[bytes]:

        def compose(taken: Taken) -> bytes:
            return answer(request, 200, taken.payloads[0]) if taken.payloads else error(request, 404, "no job")

        wait, worker = params.wait(request), params.worker(request)
        taking = waiting.take([queue], lambda name, daemon: queues.take(name, 1, worker, daemon), wait)
        return deliveries.deliver(request, taking, wait > 0, compose)

    @routes.at(
        "DELETE", "/q/<queue>", summary="Delete a queue with everything in it.", name="dropQueue", answers={204: None}
    )
    def delete(request: Request, queue: str) -> Deferred[bytes]:
        return queues.delete(queue).addCallback(lambda _: answer(request, 204, b""))


def _insert(request: Request, queues: Queues, queue: str, jobs: list[bytes], uniq: bytes) -> Deferred[Any]:
    due, key = params.delayed(request), params.idempotency_key(request)
    if not key:
        return queues.push(queue, jobs, due, uniq)
    specs = [NewJob(job, due, uniq=uniq) for job in jobs]
    return queues.insert(queue, specs, key, _fingerprint(request, jobs))


def _fingerprint(request: Request, jobs: list[bytes]) -> bytes:
    """What tells this request from another with its idempotency key: the verb, the parameters and the jobs."""
    said = blake2b(digest_size=16)
    verb = request.method + request.path.partition(b"/")[2].partition(b"/")[0]
    for part in (verb, params.query(request, b"delayed"), params.uniq(request), *jobs):
        said.update(b"%d:%b" % (len(part), part))
    return said.hexdigest().encode()


def _add_batches(routes: Routes, queues: Queues, waiting: Waiters, deliveries: Deliveries) -> None:
    @routes.at(
        "POST",
        "/qb/<queue>",
        summary="Insert jobs, all or none, once for an idempotency key.",
        name="pushJobs",
        body=models2010.Batch2010,
        answers={201: None},
        refuses=(409, 422, 429),
        query=("delayed",),
        headers=(IDEMPOTENCY_KEY,),
    )
    def push(request: Request, queue: str) -> Deferred[bytes]:
        pushed = _insert(request, queues, queue, params.jobs(request), b"")
        return pushed.addCallback(lambda ids: answer(request, 201, b""))

    @routes.at(
        "GET",
        "/qb/<queue>",
        summary="Take several jobs for good; each comes as the text that it was.",
        name="takeJobs",
        takes=True,
        answers={200: list[str]},
        refuses=(404,),
        query=("batch_size", "wait", "worker_id"),
        headers=(WORKER,),
    )
    def take(request: Request, queue: str) -> Deferred[bytes]:

        def compose(taken: Taken) -> bytes:
            texts = [payload.decode() for payload in taken.payloads]
            return json(request, texts) if texts else error(request, 404, "no job")

        wait, worker, most = params.wait(request), params.worker(request), params.batch_size(request)
        taking = waiting.take([queue], lambda name, daemon: queues.take(name, most, worker, daemon), wait)
        return deliveries.deliver(request, taking, wait > 0, compose)

    @routes.at("PUT", "/qb/<queue>", "/qb", "/qb/", summary="Not supported.")
    def fail(request: Request, queue: str = "") -> bytes:
        return error(request, 400, "PUT is not supported in batch mode")

    @routes.at("DELETE", "/qb/<queue>", "/qb", "/qb/", summary="Not supported.")
    def delete(request: Request, queue: str = "") -> bytes:
        return error(request, 400, "DELETE is not supported in batch mode")


def _add_knowledge(routes: Routes, queues: Queues, queue_list: QueueList) -> None:
    @routes.at(
        "GET",
        "/status",
        "/status/",
        summary="The names of all queues.",
        name="listQueueNames",
        answers={200: models2010.QueueNames},
    )
    async def names(request: Request) -> bytes:
        pages, size, missing = [], 0, list[int]()
        async for names in queue_list.all_names(missing):
            pages.append(encode(names)[1:-1])
            size += len(names)
        return answer(request, 200, b'{"queues":[%b],"size":%d%b}' % (joined(pages), size, _missing(missing)))

    @routes.at(
        "GET",
        "/status/<queue>",
        summary="How many jobs are ready, and the policy.",
        name="showStatus",
        answers={200: models2010.QueueStatus},
        query=("with_desc",),
    )
    async def status(request: Request, queue: str) -> bytes:
        if params.flag(request, b"with_desc"):
            counts, payloads = await queues.peek(queue)
            jobs = {"jobs": [payload.decode() for payload in payloads]}
        else:
            counts, jobs = await queues.counts(queue), {}
        policy = "closed" if counts.paused else "open"
        return json(request, {"queue": queue, "size": counts.ready, "policy": policy, **jobs})

    @routes.at(
        "GET",
        "/j/<queue>",
        summary="How many jobs are ready, were fetched, and failed.",
        name="countJobs",
        answers={200: models2010.JobCounts},
    )
    def jobs(request: Request, queue: str) -> Deferred[bytes]:

        def compose(counts: Counts) -> bytes:
            figures = {"job_count": counts.ready, "job_failed": counts.failed, "job_processed": counts.processed}
            return json(request, {"queue_name": queue, **figures})

        return queues.counts(queue).addCallback(compose)


def _add_control(routes: Routes, queues: Queues) -> None:
    @routes.at(
        "GET",
        "/control/<queue>",
        summary='The policy: "1" open, "0" stopped.',
        name="showPolicy",
        answers={200: models2010.Policy},
    )
    def policy(request: Request, queue: str) -> Deferred[bytes]:

        def compose(counts: Counts) -> bytes:
            return json(request, {"queue": queue, "status": "0" if counts.paused else "1"})

        return queues.counts(queue).addCallback(compose)

    @routes.at(
        "POST",
        "/control/<queue>",
        summary="Stop or start a queue.",
        name="setPolicy",
        body=models2010.Control2010,
        answers={200: models2010.PolicyChanged},
    )
    def control(request: Request, queue: str) -> Deferred[bytes]:
        change = {"stop": queues.pause, "start": queues.resume}[params.status(request)]
        return change(queue).addCallback(lambda _: json(request, {"response": "updated", "queue": queue}))


def _add_workers(routes: Routes, workers: Workers) -> None:
    @routes.at(
        "POST",
        "/w/<queue>",
        summary="Register a worker. What the queue kept in its name goes back to the front.",
        name="registerWorker",
        body=models2010.Worker2010,
        needs_body=False,
        answers={201: None},
        query=("worker_id",),
        headers=(WORKER,),
    )
    async def register(request: Request, queue: str) -> bytes:
        await workers.register(queue, _named(params.worker_or_body(request)))
        return answer(request, 201, b"")

    @routes.at(
        "DELETE",
        "/w/<queue>",
        summary="Take a worker off a queue.",
        name="unregisterWorker",
        answers={204: None},
        query=("worker_id",),
        headers=(WORKER,),
    )
    def unregister(request: Request, queue: str) -> Deferred[bytes]:
        unregistered = workers.unregister(queue, _named(params.worker_or_body(request)))
        return unregistered.addCallback(lambda _: answer(request, 204, b""))

    @routes.at(
        "GET",
        "/w/<queue>",
        summary="The workers of a queue.",
        name="listQueueWorkers",
        answers={200: models2010.QueueWorkers},
    )
    async def on_queue(request: Request, queue: str) -> bytes:
        return await _of_queue(request, workers, queue)

    @routes.at(
        "GET",
        "/w",
        "/w/",
        summary="Workers: all, one, or those of a queue.",
        name="listWorkers",
        answers={200: models2010.AllWorkers | models2010.QueueWorkers | models2010.WorkerView},
        refuses=(404,),
        query=("worker_id", "queue_name"),
    )
    async def look(request: Request) -> bytes:
        if worker_id := params.text(request, b"worker_id"):
            worker, missing = await workers.one(worker_id)
            return answer(request, 200, encode(_description(worker))[:-1] + _missing(missing) + b"}")
        if queue := params.text(request, b"queue_name"):
            return await _of_queue(request, workers, queue)
        return await _all(request, workers)


async def _of_queue(request: Request, workers: Workers, queue: str) -> bytes:
    ids, processed, failed = await workers.on_queue(queue)
    return json(request, {"queue_name": queue, "workers_list": ids, "processed": processed, "failed": failed})


async def _all(request: Request, workers: Workers) -> bytes:
    """All workers, one after another, so that others have their turn while they are read."""
    ids, descriptions, missing = [], [], list[int]()
    async for worker in workers.all(missing):
        ids.append(encode(worker.worker_id))
        descriptions.append(encode(_description(worker)))
    processed, failed, more_missing = await workers.sums()
    lists, absent = (joined(ids), joined(descriptions)), _missing(sorted({*missing, *more_missing}))
    body = b'{"workers_list":[%b],"workers":[%b],"processed":%d,"failed":%d%b}' % (*lists, processed, failed, absent)
    return answer(request, 200, body)


def _missing(partitions: list[int]) -> bytes:
    """What a list says of the partitions that gave no answer: nothing when there are none."""
    return b',"missing_partitions":%b' % encode(sorted(partitions)) if partitions else b""


def _named(worker: str) -> str:
    if not worker:
        raise BadRequest("worker_id is missing")
    return worker


def _description(worker: Worker) -> dict[str, Any]:
    return {
        "worker_id": worker.worker_id,
        "started_at": worker.started_at,
        "processed": str(worker.processed),
        "failed": str(worker.failed),
        "queues": list(worker.queues),
        "last_seen": worker.last_seen,
    }


def _add_nameless(routes: Routes) -> None:
    """The same routes without the name of a queue."""
    paths = {
        "/q": ("GET", "POST", "PUT", "DELETE"),
        "/qb": ("GET", "POST"),
        "/j": ("GET",),
        "/control": ("GET", "POST"),
        "/w": ("POST", "DELETE"),
    }
    for path, methods in paths.items():
        for method in methods:

            @routes.at(method, path, path + "/", summary="The name is missing.", takes=path in ("/q", "/qb"))
            def nameless(request: Request) -> bytes:
                return error(request, 404, "queue name is missing")
