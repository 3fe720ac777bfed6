"""What became of a settlement or an extension, in the words of the contract.

The scripts reply these words, the methods of `presque.jobs.leases` fire with them, and the answers of `/v1` say them;
nothing translates in between. Only what the store keeps of a release has a word of its own: see `acked_by` in
`presque.redis.keys`.
"""

from __future__ import annotations

from typing import Literal

# Nothing was done: another receipt is the job's, there is no such job, the request is wrong, or the store is away.
# Of `unknown` it is not known whether it was done.
Refused = Literal["lease-lost", "not-found", "bad-request", "unavailable", "unknown"]

Done = Literal["acked", "released", "delayed", "dead"]  # delayed and dead: it was a nack

SettlementOutcome = Literal[Done, Refused]
ExtensionOutcome = Literal["extended", Refused]
