r"""Every Redis key: the data model.

All keys begin with `presque:{<partition>}`. The braces are a hash tag, so that everything that one script touches lies
in one slot of a Redis Cluster. A queue belongs to partition `crc16(queue) % partitions`; the number of partitions is
recorded when a store is first used and checked at each start. A job's number is unique in its partition and never used
again; its public id is `<queue>:<number>`.

A queue's own keys, `presque:{<partition>}:<queue>:<name>`. No <name> has a colon in it, so the last colon ends the
queue's name and two queues can never share a key.

    ready      LIST   numbers of the jobs that wait, oldest first
    front      ZSET   number (16 digits) -> rank; handed out before `ready`, lowest rank first. A job that has come due
                      ranks by its due time (epoch ms); one that was put back by number - 2^53, so before those
    delayed    ZSET   number (16 digits) -> due time (epoch ms)
    leased     ZSET   number -> deadline (epoch ms); taken and not yet settled
    receipts   HASH   number -> receipt of the take that holds the job now; a stale receipt never matches. Its first
                      letter: h, a hold until it is known whether the job arrived; k, kept in a worker's name; l, leased
    dead       ZSET   number -> when it died (epoch ms)
    jobs       HASH   number -> 13 digits of creation time (epoch ms), one mark ("u": has a uniq key, "-": has none),
                      payload
    uniq       HASH   uniq key -> number, while that job waits (ready or delayed)
    uniq_of    HASH   number -> uniq key, for as long as the job exists
    attempts   HASH   number -> attempts that failed, once there are any
    limits     HASH   number -> its own max_attempts, where it has one
    history    HASH   number -> its last failures, MessagePack: [[attempt, when (epoch ms), why], …]
    run_outs   HASH   number -> how often its lease ran out, once it did
    holders    HASH   number -> "receipt worker" of the last reservation whose worker has a name, or of what is kept;
                      true only while that receipt is the job's
    settings   HASH   name -> value (times in ms, "0" and "1" for flags) of each setting that was set;
                      `presque.jobs.policy` has their names, units, bounds and defaults
    acked      ZSET   settlement -> when it was made (epoch ms); the last 10,000 or the last hour. An acknowledgement is
                      noted as "number", a nack or a release as "number receipt"
    acked_by   HASH   number -> the receipt that acknowledged it; "number receipt" -> "word due-at due-in" (epoch ms,
                      ms), the word delayed or dead as it was answered, or release. So each can be repeated
    kept       HASH   worker -> "number receipt …" of what it was given last, where `redeliver_after` is set
    waiting    ZSET   id of a daemon that has consumers who wait here and found nothing -> when it said so (epoch ms);
                      expires after an hour

A partition's own keys, `presque:{<partition>}/<name>`:

    last_id    STRING the number last given to a job
    queues     ZSET   names of the queues that there are -> 0, so in their order
    paused     SET    names of the queues that are stopped
    processed  HASH   queue -> jobs fetched
    failed     HASH   queue -> failures counted
    due        ZSET   queue -> when its next delayed job comes due or its next lease runs out (epoch ms), or earlier
    last_seen  ZSET   registered worker -> when it was seen last here (epoch ms)
    queues_of  ZSET   "<worker>\0<queue>" -> 0 for each registration, so in their order; no id has a NUL in it
    workers_of ZSET   "<queue>\0<worker>" -> 0, the same the other way round; it outlives the queue's deletion
    worker_started                    HASH  worker -> epoch ms
    worker_processed, worker_failed   HASH  worker -> count

    idempotency/<queue>/<key>  STRING "fingerprint first-number letters" of an insertion; expires after a day
    reserved/<queue>/<key>     STRING "receipt number number …" of a reservation, with a + before it once it was asked
                               for again; expires after a day

And one of the whole store, `presque:store`: HASH, partitions -> their number, model -> MODEL, id -> its own, random,
workers -> 2 once they are kept as above.

Of a queue's `ready` key and a daemon's id the name of the channel is made on which that daemon is told that "a job may
wait here now": `<ready>/<id>`.

A store that was written before workers were kept like this is converted when a daemon begins
(presque.background.conversion); MODEL stays 2 until the next release. What was there: a queue's `workers`, SET of ids,
a partition's `worker_queues`, HASH worker -> its queues' names separated by spaces, and `worker_seen`,
HASH worker -> epoch ms.
"""

from __future__ import annotations

import re
from binascii import crc_hqx

from presque.errors import InvalidName

STORE = b"presque:store"
MODEL = 2  # this data model; in the first the names of the queues were a SET

QUEUE_KEYS = frozenset(
    ("ready", "front", "delayed", "leased", "dead", "receipts", "jobs", "uniq", "uniq_of", "attempts", "limits")
    + ("history", "run_outs", "holders", "settings", "acked", "acked_by", "kept", "waiting")
)
PARTITION_KEYS = frozenset(
    ("last_id", "queues", "paused", "processed", "failed", "due", "last_seen", "queues_of", "workers_of")
    + ("worker_started", "worker_processed", "worker_failed", "old_queues", "old_seen")
)
OLD_NAMES = {"old_queues": "worker_queues", "old_seen": "worker_seen"}  # of what is converted
CALL_KEYS = frozenset(["remembered"])  # made for one call: see `idempotency_key` and `reservation_key`

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:@-]{0,127}", re.ASCII)


def check_name(queue: str) -> None:
    """Raise InvalidName unless `queue` can name a queue."""
    if not _NAME.fullmatch(queue):
        raise InvalidName


def partition_of(queue: str, partitions: int) -> int:
    """The partition of `queue`, by the CRC16 (XMODEM) with which Redis Cluster finds slots."""
    return crc_hqx(queue.encode(), 0) % partitions


def queue_key(name: str, queue: str, partitions: int) -> bytes:
    """The Redis key `name`, from either list above, as it is for `queue`."""
    partition = partition_of(queue, partitions)
    if name in QUEUE_KEYS:
        return b"presque:{%d}:%b:%b" % (partition, queue.encode(), name.encode())
    if name in CALL_KEYS:  # of a call that has none: nothing is ever there
        return reservation_key(queue, b"", partitions)
    return partition_key(name, partition)


def idempotency_key(queue: str, key: bytes, partitions: int) -> bytes:
    """Where it is remembered what was answered to an insertion into `queue` with this idempotency key."""
    return b"presque:{%d}/idempotency/%b/%b" % (partition_of(queue, partitions), queue.encode(), key)


def reservation_key(queue: str, key: bytes, partitions: int) -> bytes:
    """Where it is remembered what was leased with this idempotency key from the queues of the partition of `queue`."""
    return b"presque:{%d}/reservation/%b" % (partition_of(queue, partitions), key)


def partition_key(name: str, partition: int) -> bytes:
    """The Redis key `name` of a partition."""
    if name not in PARTITION_KEYS:
        raise KeyError(name)
    return b"presque:{%d}/%b" % (partition, OLD_NAMES.get(name, name).encode())


def old_workers_key(partition: int) -> tuple[bytes, bytes]:
    """What stood before and behind a queue's name in the key of its workers, of what is converted."""
    return b"presque:{%d}:" % partition, b":workers"


def channel(queue: str, daemon: str, partitions: int) -> bytes:
    """The channel on which `daemon` is told that `queue` may have a job."""
    return queue_key("ready", queue, partitions) + b"/" + daemon.encode()


def queue_of_channel(channel: bytes) -> str:
    """The queue that such a channel is of."""
    return channel.partition(b"}:")[2].rpartition(b":")[0].decode()


def queue_keys(names: tuple[str, ...], queue: str, partitions: int) -> bytes:
    """The keys `names` of `queue`, ready to be put into a command: Redis bulk strings, one after another."""
    return b"".join(_bulk(queue_key(name, queue, partitions)) for name in names)


def partition_keys(names: tuple[str, ...], partition: int) -> bytes:
    """As `queue_keys`, for a script that touches no queue's own keys."""
    return b"".join(_bulk(partition_key(name, partition)) for name in names)


def _bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)
