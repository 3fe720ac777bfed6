"""The limits of requests of `/v1`, each defined once, for the types that validate bodies and for `GET /v1`."""

from presque.jobs.policy import LONGEST_LEASE

JOBS = 1000  # inserted, settled, extended, retried or listed by one request
RESERVATION = 100  # jobs leased by one request
QUEUES = 20  # in one reservation
LEASE = LONGEST_LEASE  # seconds
HEADERS = 0  # of a job: not supported yet
KEY = 255  # bytes of an idempotency key
