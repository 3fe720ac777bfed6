"""Nothing is lost while daemons and their Redis are killed at random: the accounting of a total queue, of producers of
2010, who cannot repeat an insertion that was not answered. Those of `/v1` can: rows 2 and 3 in test_acceptance.py.

Every insertion is acknowledged (201), refused (another answer) or unknown (no answer). After draining, lost is what was
acknowledged and never delivered, unexpected what was delivered and never tried.
"""

import random
import time

import pytest
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, eventually
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

pytestmark = pytest.mark.rows


class Account:
    """What was tried, acknowledged and delivered."""

    def __init__(self):
        self.tried = set()
        self.acknowledged = set()
        self.delivered = []
        self.stopping = False

    async def produce(self, names, clients, chance):
        for name in names:
            self.tried.add(name)
            while True:
                try:
                    answer = await chance.choice(clients()).post("/q/foo", b'{"n":%d}' % name)
                except Exception:  # the daemon was killed: unknown, and not tried again, for that may insert it twice
                    break
                if answer.status == 201:
                    self.acknowledged.add(name)
                    break
                if b"may or may not" in answer.body:
                    break
                await deferLater(reactor, 0.02)

    async def consume(self, clients, chance):
        while not self.stopping:
            try:
                answer = await chance.choice(clients()).get("/qb/foo?batch_size=10")
            except Exception:
                answer = None
            if answer is not None and answer.status == 200:
                self.delivered += [int(text[5:-1]) for text in answer.json]
            else:
                await deferLater(reactor, 0.01)

    def check(self, seed):
        assert self.acknowledged, "nothing was inserted"
        assert self.acknowledged - set(self.delivered) == set(), f"lost, seed {seed}"
        assert set(self.delivered) - self.tried == set(), f"unexpected, seed {seed}"
        return len(self.delivered) - len(set(self.delivered))


@pytest.mark.parametrize("fsync", ["everysec", "always"])
@awaiting
async def test_two_daemons_and_redis_killed_at_random_lose_nothing(processes, redises, fsync):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    redis = redises("--appendfsync", fsync)
    daemons = [processes("--redis", redis.url) for _ in range(2)]
    clients = [Client(await daemon.listening) for daemon in daemons]
    account = Account()
    names = [range(n * 300, (n + 1) * 300) for n in range(6)]
    producing = [Deferred.fromCoroutine(account.produce(each, lambda: clients, chance)) for each in names]
    consuming = [Deferred.fromCoroutine(account.consume(lambda: clients, chance)) for _ in range(4)]
    for kill in range(6):
        await deferLater(reactor, chance.uniform(0.05, 0.3))
        if kill % 3 == 2:
            redis.kill()
            redis.start()
        else:
            victim = kill % 2
            port = clients[victim].port
            await daemons[victim].kill()
            daemons[victim] = processes("--redis", redis.url, listen=f"tcp:{port}:interface=127.0.0.1")
            await daemons[victim].listening
    await gatherResults(producing)

    async def drained():
        return redis.command("HLEN", "presque:{0}:foo:jobs") == 0

    began = time.monotonic()
    await eventually(drained, "the end of all jobs")
    account.stopping = True
    await gatherResults(consuming)
    duplicates, seconds = account.check(seed), time.monotonic() - began
    print(f"{len(account.acknowledged)} acknowledged, {duplicates} delivered twice, drained in {seconds:.1f} s")
    assert duplicates <= 6 * 4 * 10, f"more than were out at the kills, seed {seed}"
    await gatherResults([client.close() for client in clients])
