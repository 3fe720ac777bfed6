"""The outcomes of settlements and extensions, in the words of the contract.

The scripts reply with these words, the methods of `presque.jobs.leases` fire with them, and the answers of `/v1`
contain them, without translation. Only the record of a release in the store has a word of its own: see `acked` in
`presque.redis.keys`.
"""

from __future__ import annotations

from typing import Literal

# Nothing was done: the receipt is not the job's, the job does not exist, the request is wrong, or the store is away.
# With `unknown` it may or may not have been done.
Refused = Literal["lease-lost", "not-found", "bad-request", "unavailable", "unknown"]

Done = Literal["acked", "released", "delayed", "dead"]  # delayed and dead follow a nack

SettlementOutcome = Literal[Done, Refused]
ExtensionOutcome = Literal["extended", Refused]
