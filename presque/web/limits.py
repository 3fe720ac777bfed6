"""The limits of requests of `/v1`, each defined once, for the types that validate bodies and for `GET /v1`."""

from presque.jobs.leases import LONGEST_NOTED
from presque.jobs.policy import LONGEST_LEASE

JOBS = 1000  # inserted, settled, extended, retried or listed by one request
RESERVATION = 100  # jobs leased by one request
QUEUES = 20  # in one reservation
LEASE = LONGEST_LEASE  # seconds
HEADERS = 16  # of a job
HEADER_BYTES = 1024  # of the headers of a job, names and values together, in UTF-8
ERROR = LONGEST_NOTED  # characters of an error to look for: no longer one is kept
CURSOR = 256  # characters
SHORTEST_TARGET = 0.1  # seconds in which the jobs of a queue are to be done
TIMES = 100  # of a schedule told by one request
KEY = 255  # bytes of an idempotency key
ANSWER = 8 * 1024 * 1024  # bytes of jobs after which a take adds no more: see parts/pop.lua
