"""The routes of 2010, which existing producers and workers speak: `/q /qb /status /j /control /w`.

What each answers, to the byte, is in the README. Here requests are parsed, called and answered; what a queue is and
does is in `presque.queues`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from presque.web import models, params
from presque.web.answers import answer, error, json
from presque.web.params import BadRequest

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from presque.queues import Counts, Queues, Taken
    from presque.waiting import Waiting
    from presque.web.handoff import Handoff
    from presque.web.routing import Routes
    from presque.web.site import Request
    from presque.workers import Worker, Workers


Job = dict[str, Any]  # any JSON object
WORKER = "X-presque-workerid"


def add(routes: Routes, queues: Queues, workers: Workers, waiting: Waiting, handoff: Handoff) -> None:
    """Declare the routes of 2010."""
    _add_queue(routes, queues, waiting, handoff)
    _add_batches(routes, queues, waiting, handoff)
    _add_knowledge(routes, queues)
    _add_control(routes, queues)
    _add_workers(routes, workers)
    _add_nameless(routes)


def _add_queue(routes: Routes, queues: Queues, waiting: Waiting, handoff: Handoff) -> None:
    @routes.at("POST", "/q/<queue>", summary="Insert a job.", body=Job, answers={201: None}, query=("delayed", "uniq"))
    def push(request: Request, queue: str) -> Deferred[bytes]:
        job, due = params.job(request), params.delayed(request)
        pushed = queues.push(queue, [job], due, params.uniq(request))
        return pushed.addCallback(lambda ids: answer(request, 201, b""))

    @routes.at(
        "PUT",
        "/q/<queue>",
        summary="Insert a job that a worker failed at, and count the failure.",
        body=Job,
        answers={201: None},
        query=("delayed", "uniq", "worker_id"),
        headers=(WORKER,),
    )
    def fail(request: Request, queue: str) -> Deferred[bytes]:
        job, due = params.job(request), params.delayed(request)
        failed = queues.fail(queue, job, due, params.uniq(request), params.worker(request))
        return failed.addCallback(lambda ids: answer(request, 201, b""))

    @routes.at(
        "GET",
        "/q/<queue>",
        summary="Take a job for good.",
        takes=True,
        answers={200: Job},
        query=("wait", "worker_id"),
        headers=(WORKER,),
    )
    def take(request: Request, queue: str) -> Deferred[bytes]:

        def compose(taken: Taken) -> bytes:
            return answer(request, 200, taken.payloads[0]) if taken.payloads else error(request, 404, "no job")

        wait, worker = params.wait(request), params.worker(request)
        taking = waiting.take([queue], lambda name: queues.take(name, 1, worker), wait)
        return handoff.deliver(request, taking, wait > 0, compose)

    @routes.at("DELETE", "/q/<queue>", summary="Delete a queue with everything in it.", answers={204: None})
    def delete(request: Request, queue: str) -> Deferred[bytes]:
        return queues.delete(queue).addCallback(lambda _: answer(request, 204, b""))


def _add_batches(routes: Routes, queues: Queues, waiting: Waiting, handoff: Handoff) -> None:
    @routes.at(
        "POST",
        "/qb/<queue>",
        summary="Insert jobs, all or none.",
        body=models.Batch2010,
        answers={201: None},
        query=("delayed",),
    )
    def push(request: Request, queue: str) -> Deferred[bytes]:
        jobs, due = params.jobs(request), params.delayed(request)
        return queues.push(queue, jobs, due).addCallback(lambda ids: answer(request, 201, b""))

    @routes.at(
        "GET",
        "/qb/<queue>",
        summary="Take several jobs for good; each comes as the text that it was.",
        takes=True,
        answers={200: list[str]},
        query=("batch_size", "wait", "worker_id"),
        headers=(WORKER,),
    )
    def take(request: Request, queue: str) -> Deferred[bytes]:

        def compose(taken: Taken) -> bytes:
            texts = [payload.decode() for payload in taken.payloads]
            return json(request, texts) if texts else error(request, 404, "no job")

        wait, worker, most = params.wait(request), params.worker(request), params.batch_size(request)
        taking = waiting.take([queue], lambda name: queues.take(name, most, worker), wait)
        return handoff.deliver(request, taking, wait > 0, compose)

    @routes.at("PUT", "/qb/<queue>", "/qb", "/qb/", summary="Not supported.")
    def fail(request: Request, queue: str = "") -> bytes:
        return error(request, 400, "PUT is not supported in batch mode")

    @routes.at("DELETE", "/qb/<queue>", "/qb", "/qb/", summary="Not supported.")
    def delete(request: Request, queue: str = "") -> bytes:
        return error(request, 400, "DELETE is not supported in batch mode")


def _add_knowledge(routes: Routes, queues: Queues) -> None:
    @routes.at("GET", "/status", "/status/", summary="The names of all queues.", answers={200: Job})
    def names(request: Request) -> Deferred[bytes]:
        return queues.names().addCallback(lambda names: json(request, {"queues": names, "size": len(names)}))

    @routes.at(
        "GET",
        "/status/<queue>",
        summary="How many jobs are ready, and the policy.",
        answers={200: Job},
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

    @routes.at("GET", "/j/<queue>", summary="How many jobs are ready, were fetched, and failed.", answers={200: Job})
    def jobs(request: Request, queue: str) -> Deferred[bytes]:

        def compose(counts: Counts) -> bytes:
            figures = {"job_count": counts.ready, "job_failed": counts.failed, "job_processed": counts.processed}
            return json(request, {"queue_name": queue, **figures})

        return queues.counts(queue).addCallback(compose)


def _add_control(routes: Routes, queues: Queues) -> None:
    @routes.at("GET", "/control/<queue>", summary='The policy: "1" open, "0" stopped.', answers={200: Job})
    def policy(request: Request, queue: str) -> Deferred[bytes]:

        def compose(counts: Counts) -> bytes:
            return json(request, {"queue": queue, "status": "0" if counts.paused else "1"})

        return queues.counts(queue).addCallback(compose)

    @routes.at(
        "POST", "/control/<queue>", summary="Stop or start a queue.", body=models.Control2010, answers={200: Job}
    )
    def control(request: Request, queue: str) -> Deferred[bytes]:
        change = {"stop": queues.pause, "start": queues.resume}[params.status(request)]
        return change(queue).addCallback(lambda _: json(request, {"response": "updated", "queue": queue}))


def _add_workers(routes: Routes, workers: Workers) -> None:
    named: dict[str, Any] = {"query": ("worker_id",), "headers": (WORKER,)}

    @routes.at("POST", "/w/<queue>", summary="Register a worker.", body=models.Worker2010, answers={201: None}, **named)
    def register(request: Request, queue: str) -> Deferred[bytes]:
        registered = workers.register(queue, _named(params.worker_or_body(request)))
        return registered.addCallback(lambda _: answer(request, 201, b""))

    @routes.at("DELETE", "/w/<queue>", summary="Take a worker off a queue.", answers={204: None}, **named)
    def unregister(request: Request, queue: str) -> Deferred[bytes]:
        unregistered = workers.unregister(queue, _named(params.worker_or_body(request)))
        return unregistered.addCallback(lambda _: answer(request, 204, b""))

    @routes.at(
        "GET",
        "/w",
        "/w/",
        summary="Workers: all, one, or those of a queue.",
        answers={200: Job},
        query=("worker_id", "queue_name"),
    )
    async def look(request: Request) -> bytes:
        if worker_id := params.text(request, b"worker_id"):
            return json(request, _description(await workers.one(worker_id)))
        if queue := params.text(request, b"queue_name"):
            ids, processed, failed = await workers.on_queue(queue)
            value = {"queue_name": queue, "workers_list": ids, "processed": processed, "failed": failed}
            return json(request, value)
        totals = await workers.all()
        ids = [worker.worker_id for worker in totals.workers]
        descriptions = [_description(worker) for worker in totals.workers]
        sums = {"processed": totals.processed, "failed": totals.failed}
        return json(request, {"workers_list": ids, "workers": descriptions, **sums})


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
