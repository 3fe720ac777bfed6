r"""Every Redis key: the data model.

All keys begin with `presque:{<partition>}`. The braces are a hash tag, so that all keys that one script touches are in
one slot of a Redis Cluster. A queue belongs to partition `crc16(queue) % partitions`; the number of partitions is
recorded when a store is first used and checked at each start. A job's number is unique in its partition and never used
again; its public id is `<queue>:<number>`.

A queue's own keys, `presque:{<partition>}:<queue>:<name>`. No <name> contains a colon, so the last colon ends the
queue's name and two queues can never share a key.

    ready      LIST   numbers of the waiting jobs, oldest first
    front      ZSET   number (16 digits) -> rank; handed out before `ready`, lowest rank first. The rank of a job that
                      has come due is its due time (epoch ms); that of a job put back is number - 2^53, so it is first
    delayed    ZSET   number (16 digits) -> due time (epoch ms)
    leased     ZSET   number -> deadline (epoch ms); jobs taken and not yet settled
    receipts   HASH   number -> receipt of the take that holds the job now; a stale receipt never matches. Its first
                      letter: h, held until it is known whether the job arrived; k, kept for a worker; l, leased
    dead       ZSET   number -> time of death (epoch ms)
    jobs       HASH   number -> 13 digits of creation time (epoch ms), one mark ("u": has a uniq key, "-": has none),
                      payload
    uniq       HASH   uniq key -> number, while that job waits (ready or delayed)
    uniq_of    HASH   number -> uniq key, for as long as the job exists
    attempts   HASH   number -> failed attempts, if there are any
    limits     HASH   number -> its own max_attempts, if it has one
    history    HASH   number -> its last failures, MessagePack: [[attempt, time (epoch ms), error], …]
    run_outs   HASH   number -> how often its lease ran out, if it did
    holders    HASH   number -> "receipt worker" of the last reservation by a named worker, or of a kept job; valid
                      only while that receipt is the job's
    settings   HASH   name -> value (times in ms, "0" and "1" for flags) of each setting that was set;
                      `presque.jobs.policy` defines their names, units, bounds and defaults
    acked      ZSET   settlement -> its time (epoch ms); the last 10,000 or the last hour. An acknowledgement is
                      recorded as "number", a nack or a release as "number receipt"
    acked_by   HASH   number -> the receipt that acknowledged it; "number receipt" -> "word due-at due-in" (epoch ms,
                      ms), where word is delayed or dead, as answered, or release. So each can be repeated
    kept       HASH   worker -> "number receipt …" of the jobs it was given last, if `redeliver_after` is set
    waiting    ZSET   id of a daemon whose consumers wait here and found nothing -> when it said so (epoch ms);
                      expires after an hour

A partition's own keys, `presque:{<partition>}/<name>`:

    last_id    STRING the last job number
    queues     ZSET   names of the existing queues -> 0, so sorted by name
    paused     SET    names of the stopped queues
    processed  HASH   queue -> jobs handed out
    failed     HASH   queue -> failures
    due        ZSET   queue -> when its next delayed job comes due or its next lease runs out (epoch ms), or earlier
    last_seen  ZSET   registered worker -> when it was last seen here (epoch ms)
    queues_of  ZSET   "<worker>\0<queue>" -> 0 for each registration, so sorted; no id contains a NUL
    workers_of ZSET   "<queue>\0<worker>" -> 0, the same in the other order; it outlives the queue's deletion
    worker_started                    HASH  worker -> epoch ms
    worker_processed, worker_failed   HASH  worker -> count

    idempotency/<queue>/<key>  STRING "fingerprint first-number letters" of an insertion; expires after a day
    reservation/<key>          HASH   queue -> "receipt number number …" of a reservation, prefixed with + once the
                               reservation was repeated; expires after a day

One key belongs to the whole store, `presque:store`: HASH, partitions -> their number, model -> MODEL, id -> a random
id, workers -> 2 once workers are stored as above.

The channel on which a daemon is told that a queue may have a job now is named after the queue's `ready` key and the
daemon's id: `<ready>/<id>`.

A store with the previous form of worker data is converted when a daemon starts (presque.background.conversion); MODEL
stays 2 until the next release. The previous form: a queue's `workers`, SET of ids, a partition's `worker_queues`,
HASH worker -> names of its queues separated by spaces, and `worker_seen`, HASH worker -> epoch ms.
"""

from __future__ import annotations

import re
from binascii import crc_hqx

from presque.errors import InvalidName

STORE = b"presque:store"
MODEL = 2  # this data model; in the first one the names of the queues were a SET

QUEUE_KEYS = frozenset(
    ("ready", "front", "delayed", "leased", "dead", "receipts", "jobs", "uniq", "uniq_of", "attempts", "limits")
    + ("history", "run_outs", "holders", "settings", "acked", "acked_by", "kept", "waiting")
)
PARTITION_KEYS = frozenset(
    ("last_id", "queues", "paused", "processed", "failed", "due", "last_seen", "queues_of", "workers_of")
    + ("worker_started", "worker_processed", "worker_failed", "old_queues", "old_seen")
)
OLD_NAMES = {"old_queues": "worker_queues", "old_seen": "worker_seen"}  # of the form that is converted
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
    """The Redis key `name`, from either list above, for `queue`. Raises KeyError for an unknown name."""
    partition = partition_of(queue, partitions)
    if name in QUEUE_KEYS:
        return b"presque:{%d}:%b:%b" % (partition, queue.encode(), name.encode())
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
