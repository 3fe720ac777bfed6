"""Examples of requests and answers by the name of the operation, for `/openapi.json`."""

from __future__ import annotations

from typing import Any

from presque.jobs import policy
from presque.web.v1 import settings

_JOB: dict[str, Any] = {"to": "ann@example.org"}
_TEXT = '{"to":"ann@example.org"}'
_RECEIPT = "b3f1c29ad04e4f2f8a5d0c6e7b1a9d42"
_QUEUE: dict[str, Any] = {
    "name": "mail",
    "policy": "open",
    "ready": 3,
    "delayed": 0,
    "leased": 1,
    "dead": 0,
    "inserted": 130,
    "delivered": 0,
    "acked": 124,
    "processed": 127,
    "failed": 2,
    "died": 0,
    "expired": 1,
    "deleted": 1,
    "oldest_ready_age": 0.25,
    "settings": settings.view(policy.defaults()),
}
_VIEW: dict[str, Any] = {
    "id": "mail:17",
    "queue": "mail",
    "state": "ready",
    "payload": _JOB,
    "headers": {"tenant": "acme"},
    "priority": 7,
    "attempts": 0,
    "max_attempts": 5,
    "created_at": 1794562800.25,
    "expires_at": 1794566400.25,
}
_LOOKED_UP: dict[str, Any] = {
    **_VIEW,
    "why": {"code": "waiting-turn", "text": "2 jobs before it", "before": 2},
}
_RESERVED: dict[str, Any] = {
    "id": "mail:17",
    "queue": "mail",
    "payload": _JOB,
    "headers": {"tenant": "acme"},
    "receipt": _RECEIPT,
    "attempt": 1,
    "max_attempts": 5,
    "created_at": 1794562800.25,
    "lease": 60,
    "lease_expires_at": 1794562860.5,
}
_SCHEDULE: dict[str, Any] = {
    "cron": "0 7 * * 1-5",
    "timezone": "Europe/Berlin",
    "job": {"payload": {"report": "daily"}, "expires_in": 3600},
}
_SCHEDULE_VIEW: dict[str, Any] = {
    **_SCHEDULE,
    "queue": "mail",
    "name": "report",
    "misfire": "once",
    "overlap": "allow",
    "paused": False,
    "created_at": 1794562800.25,
    "next_at": 1794636000,
    "fired": 0,
    "skipped": 0,
}

REQUESTS: dict[str, Any] = {
    "pushJob": _JOB,
    "failJob": _JOB,
    "pushJobs": {"jobs": [_JOB, {"to": "bob@example.org"}]},
    "setPolicy": {"status": "stop"},
    "registerWorker": {"worker_id": "w1"},
    "insert": {
        "payload": _JOB,
        "delay": 1.5,
        "max_attempts": 3,
        "priority": 7,
        "expires_in": 3600,
        "headers": {"tenant": "acme"},
    },
    "change": {"run_at": 1794562800.25, "priority": 9, "expires_at": None},
    "reserve": {"max": 1, "lease": 60, "wait": 20},
    "ack": {"receipt": _RECEIPT},
    "nack": {"receipt": _RECEIPT, "error": "mailbox is full"},
    "release": {"receipt": _RECEIPT},
    "extend": {"receipt": _RECEIPT, "lease": 60},
    "settle": {"settlements": [{"id": "mail:17", "receipt": _RECEIPT, "outcome": "ack"}]},
    "extendSeveral": {"jobs": [{"id": "mail:17", "receipt": _RECEIPT}], "lease": 60},
    "configureQueue": {"lease": 60, "max_attempts": 5},
    "purge": {"state": "dead", "match": {"older_than": 86400}},
    "retryDead": {"limit": 100, "match": {"error": "mailbox is full"}},
    "putSchedule": _SCHEDULE,
}

ANSWERS: dict[str, Any] = {
    "takeJob": _JOB,
    "takeJobs": [_TEXT],
    "listQueueNames": {"queues": ["bar", "foo"], "size": 2},
    "showStatus": {"queue": "mail", "size": 1, "policy": "open", "jobs": [_TEXT]},
    "countJobs": {"queue_name": "mail", "job_count": 3, "job_failed": 0, "job_processed": 127},
    "showPolicy": {"queue": "mail", "status": "1"},
    "setPolicy": {"response": "updated", "queue": "mail"},
    "listWorkers": {"queue_name": "mail", "workers_list": ["w1"], "processed": 7, "failed": 1},
    "listQueueWorkers": {"queue_name": "mail", "workers_list": ["w1"], "processed": 7, "failed": 1},
    "insert": {"id": "mail:17", "state": "delayed"},
    "reserve": {"jobs": [_RESERVED]},
    "nack": {"state": "delayed", "due_at": 1794562865.5, "due_in": 5},
    "extend": {"lease": 60, "lease_expires_at": 1794562920.5},
    "extendSeveral": {
        "results": [{"id": "mail:17", "result": "extended", "lease": 60, "lease_expires_at": 1794562920.5}]
    },
    "purge": {"purged": 12},
    "getLiveness": {"live": True},
    "getReadiness": {
        "ready": True,
        "checks": dict.fromkeys(("store", "writable", "memory", "disk", "scripts", "mover", "draining"), "ok"),
    },
    "about": {
        "version": "0.1.0",
        "now": 1794562860.5,
        "limits": {
            "body": 1048576,
            "jobs": 1000,
            "reservation": 100,
            "queues": 20,
            "wait": 55,
            "lease": 604800,
            "headers": 16,
        },
        "features": ["results-per-item"],
    },
    "explainProblem": {
        "type": "/problems/lease-lost",
        "title": "Lease lost",
        "status": 409,
        "detail": "The lease has run out or the job was settled: take the next job.",
    },
    "settle": {"results": [{"id": "mail:17", "result": "acked"}]},
    "lookUp": _LOOKED_UP,
    "runNow": _LOOKED_UP,
    "change": _LOOKED_UP,
    "listQueues": {"queues": [_QUEUE], "next": None},
    "describeQueue": _QUEUE,
    "configureQueue": _QUEUE,
    "listJobs": {"jobs": [_VIEW], "next": None},
    "retryDead": {"moved": 3, "not_found": []},
    "putSchedule": _SCHEDULE_VIEW,
    "getSchedule": _SCHEDULE_VIEW,
    "listSchedules": {"schedules": [_SCHEDULE_VIEW], "next": None},
    "nextTimes": {"times": [1794636000, 1794722400]},
    "runSchedule": {"id": "mail:17", "state": "ready"},
    "showPage": "<!doctype html><title>presque</title>",
    "getDescription": {"openapi": "3.1.0"},
}
