r"""Every Redis key: the data model.

All keys begin with `presque:{<partition>}`. The braces are a hash tag, so that all keys that one script touches are in
one slot of a Redis Cluster. A queue belongs to partition `crc16(queue) % partitions`; the number of partitions is
recorded when a store is first used and checked at each start. A job's number is unique in its queue and never used
again; its public id is `<queue>:<number>`.

A queue's own keys, `presque:{<partition>}:<queue>:<name>`. No <name> contains a colon, so the last colon ends the
queue's name and two queues can never share a key.

    q          HASH  the facts of the queue. Its fields are read together, by one HMGET, so it must stay a listpack: the
                     fields that each request reads come first, and no value is long.
                         n          number of the last job
                         base       what `n` began with; so n - base jobs were inserted
                         out        jobs handed out, those given back not counted
                         at         score of the queue in `due`
                         off        why it hands nothing out: paused
                         classes    1 once a job had another priority than the default
                         gone       holes in `ready`
                         delivered, acked, failed, died, expired, deleted, released
                                    how many jobs, or attempts in the case of `failed`, ended this way
                         failed_lease, failed_worker
                                    how many of `failed` were leases that ran out, and what a worker said of itself on
                                    a 2010 route; the others are nacks
                         refused_full, refused_closed, refused_duplicate
                                    how many insertions were refused, batches counted once
                         wait, run  sum of times (ms) that jobs were ready before they were handed out, and from then
                                    until they were acknowledged; wait1, …, run1, … how many there were, by bucket: see
                                    `presque.jobs.counters`. They were not counted before there were these fields
                         asked      when somebody asked for jobs (epoch ms); it is noted once a minute
                         run_outs   leases that ran out: "<time> <count> <count> …", in that time (ten minutes, counted
                                    since the epoch) and in each of the five before
                         and each setting that was set; `presque.jobs.policy` defines names, units, bounds and defaults
    ready      LIST  numbers, ascending, of jobs of the default priority that were never taken. A number whose record is
                     gone, or has the mark of a job that stands elsewhere, is a hole
    front      ZSET  number (16 digits) -> rank; handed out before `ready`, lowest rank first: see parts/rank.lua
    behind     ZSET  as `front`, for priorities below the default; handed out after `ready`
    delayed    ZSET  number (16 digits) -> due time (epoch ms)
    leased     ZSET  number -> deadline (epoch ms) of its lease
    dead       ZSET  number -> time of death (epoch ms)
    held       ZSET  one member for each take -> deadline (epoch ms). The member is
                     "<h or k><mark><receipt> <number> <number> …", in the case of k followed by a newline and the
                     worker's name. h: it is not known yet whether the jobs arrived; k: they are kept for a worker. The
                     mark is - if the end of these jobs touches nothing but `jobs`, else x
    jobs       HASH  number -> the record: 13 digits of creation time (epoch ms), a mark, the rest. After the marks -
                     and d the payload follows, after x and X two bytes with the length (big endian) of a MessagePack
                     map, that map, and the payload. The map has `unique` (the uniq key), `limit` (own max_attempts),
                     `priority` (unless the default), `expires` (epoch ms), `headers` (a map); unknown names are kept.
                     Jobs with - and x stand in `ready` or were taken from there; with d and X they do not belong
                     there, and if their number is there, it is a hole
    live       HASH  number -> mark (x if the record has options, else -), receipt of the lease (which ends with a dot
                     and 13 digits, when it was given (epoch ms); of an earlier release without), and, if there is one,
                     a space and a MessagePack map: `attempts` (failed ones), `failures` (the last ones:
                     [[attempt, time (epoch ms), error], …]), `run_outs` (of its lease), `worker` (that holds it). Only
                     jobs that are leased, or have failed or expired before, have it; the latter without a receipt.
                     `deaths` -> who died since the mover last came, a line each: "number attempts reason"
    uniq       HASH  uniq key -> number, while that job waits (ready or delayed)
    expiring   ZSET  number -> when it expires (epoch ms), while it waits
    acked      HASH  settlements, so that each can be repeated. number -> the receipt that acknowledged it;
                     "number receipt" -> "word due-at due-in" (epoch ms, ms), where word is delayed or dead, as
                     answered, or release. Renamed to `acked_before` after 10,000 settlements or an hour, so that each
                     is remembered for at least 10,000 later ones or an hour
    acked_before HASH as `acked`
    kept       HASH  worker -> members of `held`, each followed by a NUL: jobs kept for the worker, if `redeliver_after`
                     is set
    waiting    ZSET  id of a daemon whose consumers wait here and found nothing -> when it said so (epoch ms);
                     expires after an hour
    history    HASH  what has happened: of each of the last 60 minutes and 144 times of ten minutes in which the queue
                     changed, a row (a MessagePack list). Minutes and times are counted since the epoch:
                         0 to 59    place of a minute (modulo 60): [minute, inserted, ended (delivered or acked),
                                    failed, died; and at its end: ready, delayed, leased, dead, age of the oldest (s)]
                         60 to 203  60 + place of a time (modulo 144): [time, …], the same of ten minutes
                         last       [minute of the last row, the four since the queue was created, ready, delayed,
                                    leased, dead], to which the next sample is compared
                     It stays a listpack: no value is longer than 64 bytes

A job of a waiting state stands in one of `ready`, `front`, `behind` and `delayed`; a taken one is in `leased` or in a
member of `held`, a dead one in `dead`. So the number of held jobs is the rest of HLEN jobs.

A partition's own keys, `presque:{<partition>}/<name>`:

    queues     ZSET   names of the existing queues -> 0, so sorted by name
    due        ZSET   queue -> when its next delayed job comes due, its next lease or hold runs out, its next job
                      expires or its next dead job is forgotten (epoch ms), or earlier. `at` in `q` is the same
    floor      STRING the highest number of all deleted queues: new queues start there, so numbers are never used again
    timings    HASH   `wait`, `wait1`, …, `run`, `run1`, … of queues that were deleted, summed up
    last_seen  ZSET   registered worker -> when it was last seen here (epoch ms)
    queues_of  ZSET   "<worker>\0<queue>" -> 0 for each registration, so sorted; no id contains a NUL
    workers_of ZSET   "<queue>\0<worker>" -> 0, the same in the other order; it outlives the queue's deletion
    worker_started                    HASH  worker -> epoch ms
    worker_processed, worker_failed   HASH  worker -> count
    schedules    HASH "<queue>/<name>" -> the schedule: a line "<length of definition> <length of options> <delay>",
                     its definition (a MessagePack map, `Definition` in presque.jobs.times), the options of its job,
                     as in `jobs`, with `expires_in` (ms) in the place of `expires`, and the payload of its job. The
                     delay of its job is "+<ms>" or empty
    schedule_state HASH "<queue>/<name>" -> what the schedule has done (a MessagePack map, `State` in schedules.py)
    schedule_due ZSET "<queue>/<name>" -> when it fires next (epoch ms); a schedule that is paused is not in it
    schedule_names ZSET "<queue>/<name>" -> 0, so sorted as texts. They outlive the deletion of the queue

    processes  ZSET   process of a daemon -> when it last said how it is (epoch ms); this one and the next are in
                      partition 0 alone, and expire a minute after the last process
    process_figures HASH process -> what it said (a MessagePack map, see presque.metrics)
    sampling   HASH  how far the histories are: `minute` that was sampled last; `after`, the queue after which to go on,
                     and `sums` so far (a MessagePack list), while more queues are to be sampled; `has_all` if each
                     queue without a history is a new one
    all_history HASH as `history`, of all queues together; in `last` only what was at the end is counted

    idempotency/<queue>/<key>  STRING "fingerprint first-number letters" of an insertion; expires after a day
    reservation/<key>          HASH   queue -> "receipt number number …" of a reservation, prefixed with + once the
                               reservation was repeated; expires after a day

One key belongs to the whole store, `presque:store`: HASH, partitions -> their number, model -> MODEL, id -> a random
id, workers -> 2 once workers are stored as above, converting -> 2 or "fenced" while the store is converted.

The channel on which a daemon is told that a queue may have a job now is named after the queue's `ready` key and the
daemon's id: `<ready>/<id>`.

INVARIANTS. The model test asserts them after each step.

1. `at` in `q` is the score of the queue in `due`, and no deadline of the queue is earlier.
2. `ready` holds ascending numbers of jobs that were never taken. So a job from it has nothing in `live`, a job with
   mark - or x stands in it exactly if its number is not below the first, and how many are before a job is a binary
   search.
3. LLEN ready - gone is the number of records that stand in it.
4. The mark of a record says whether it has options, and whether its number, if it is in `ready`, is the job or a hole.

A store of data model 2 is converted when it is first connected to: see presque.redis.conversion. In it, a queue had the
hashes receipts, uniq_of, attempts, limits, history, run_outs and holders by number, and settings; all taken jobs were
in `leased`; a put-back job's rank was number - 2^53, one's that had come due its time; the mark u, else -, said that
there was a uniq key; settlements were in acked_by. A partition had last_id, paused, processed and failed. Until a queue
has `q`, its HASH `conversion` says how far it is. Workers had another form too: presque.background.conversion.
"""

from __future__ import annotations

import re
from binascii import crc_hqx

from presque.errors import InvalidName

STORE = b"presque:store"
PROBE = b"presque:{0}/probe"  # never exists: writing nothing to it shows whether Redis accepts writes
MODEL = 3

QUEUE_KEYS = frozenset(
    ("q", "ready", "front", "behind", "delayed", "leased", "dead", "held", "jobs", "live", "uniq", "expiring")
    + ("acked", "acked_before", "kept", "waiting", "history")
)
PARTITION_KEYS = frozenset(
    ("queues", "due", "floor", "timings", "processes", "process_figures", "last_seen", "queues_of", "workers_of")
    + ("worker_started", "worker_processed")
    + ("worker_failed", "schedules", "schedule_due", "schedule_names", "schedule_state", "old_queues", "old_seen")
    + ("sampling", "all_history")
)
OLD_NAMES = {"old_queues": "worker_queues", "old_seen": "worker_seen"}  # of the form that is converted
# Of data model 2: a queue's keys that are gone, those put aside while it is converted, and how far that is.
OLD_QUEUE_KEYS = frozenset(
    ("old_receipts", "old_uniq_of", "old_attempts", "old_limits", "old_history", "old_run_outs", "old_holders")
    + ("old_settings", "old_acked_by", "old_front", "old_delayed", "old_leased", "old_dead", "old_kept", "conversion")
)
OLD_PARTITION_KEYS = frozenset(("old_last_id", "old_paused", "old_processed", "old_failed"))
PUT_ASIDE = frozenset(("old_front", "old_delayed", "old_leased", "old_dead", "old_kept"))
CALL_KEYS = frozenset(["remembered"])  # made for a single call: see `idempotency_key` and `reservation_key`

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:@-]{0,127}", re.ASCII)


def check_name(queue: str) -> None:
    """Raise InvalidName unless `queue` can name a queue."""
    if not _NAME.fullmatch(queue):
        raise InvalidName


def partition_of(queue: str, partitions: int) -> int:
    """The partition of `queue`, by the CRC16 (XMODEM) that Redis Cluster uses for slots."""
    return crc_hqx(queue.encode(), 0) % partitions


def queue_key(name: str, queue: str, partitions: int) -> bytes:
    """The Redis key `name`, from any list above, for `queue`. Raises KeyError for an unknown name."""
    partition = partition_of(queue, partitions)
    if name in QUEUE_KEYS:
        return b"presque:{%d}:%b:%b" % (partition, queue.encode(), name.encode())
    if name in OLD_QUEUE_KEYS:
        own = name if name in PUT_ASIDE else name.removeprefix("old_")
        return b"presque:{%d}:%b:%b" % (partition, queue.encode(), own.encode())
    if name in CALL_KEYS:  # the call has no such key: nothing is ever stored at this one
        return reservation_key(queue, b"", partitions)
    return partition_key(name, partition)


def idempotency_key(queue: str, key: bytes, partitions: int) -> bytes:
    """The Redis key of the answer to an insertion into `queue` with this idempotency key."""
    return b"presque:{%d}/idempotency/%b/%b" % (partition_of(queue, partitions), queue.encode(), key)


def reservation_key(queue: str, key: bytes, partitions: int) -> bytes:
    """The Redis key of the jobs leased with this idempotency key from queues in the partition of `queue`."""
    return b"presque:{%d}/reservation/%b" % (partition_of(queue, partitions), key)


def partition_key(name: str, partition: int) -> bytes:
    """The Redis key `name` of a partition. Raises KeyError for an unknown name."""
    if name == "store_record":
        return STORE
    if name in OLD_PARTITION_KEYS:
        return b"presque:{%d}/%b" % (partition, name.removeprefix("old_").encode())
    if name not in PARTITION_KEYS:
        raise KeyError(name)
    return b"presque:{%d}/%b" % (partition, OLD_NAMES.get(name, name).encode())


def old_workers_key(partition: int) -> tuple[bytes, bytes]:
    """What precedes and follows a queue's name in the key of its workers, in the form that is converted."""
    return b"presque:{%d}:" % partition, b":workers"


def channel(queue: str, daemon: str, partitions: int) -> bytes:
    """The channel on which `daemon` is told that `queue` may have a job."""
    return queue_key("ready", queue, partitions) + b"/" + daemon.encode()


def queue_of_channel(channel: bytes) -> str:
    """The queue of such a channel."""
    return channel.partition(b"}:")[2].rpartition(b":")[0].decode()


def queue_keys(names: tuple[str, ...], queue: str, partitions: int) -> bytes:
    """The keys `names` of `queue`, encoded for a command: concatenated Redis bulk strings."""
    return b"".join(_bulk(queue_key(name, queue, partitions)) for name in names)


def partition_keys(names: tuple[str, ...], partition: int) -> bytes:
    """As `queue_keys`, for a script that touches no queue's own keys."""
    return b"".join(_bulk(partition_key(name, partition)) for name in names)


def _bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)
