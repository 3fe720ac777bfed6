"""The mover: due jobs reach their live queues without anybody asking, over many queues and with several daemons."""

import signal
import time

from logs import exception, logged
from pytest_twisted import ensureDeferred as awaiting
from servers import daemon_on, eventually
from twisted.internet.defer import gatherResults
from twisted.internet.task import Clock

from presque.background.loop import Loop


def jobs(count):
    return b'{"jobs":[' + b",".join(b'{"n":%d}' % n for n in range(count)) + b"]}"


async def moved(redis, queue, count):
    """Wait until `count` jobs are in the queue's front, where the mover puts them."""

    async def there():
        return redis.command("ZCARD", f"presque:{{0}}:{queue}:front") == count

    await eventually(there, f"{count} jobs in {queue}")


@awaiting
async def test_due_jobs_are_moved_without_a_fetch(client, redis):
    await client.post(f"/qb/foo?delayed={time.time() + 0.2}", jobs(5))
    assert redis.command("ZCARD", "presque:{0}:foo:delayed") == 5
    await moved(redis, "foo", 5)
    assert redis.command("ZCARD", "presque:{0}:foo:delayed") == 0
    assert redis.command("ZCARD", "presque:{0}/due") == 0


@awaiting
async def test_many_jobs_due_at_once_are_moved_in_batches(client, redis):
    await client.post(f"/qb/foo?delayed={time.time() + 0.3}", jobs(7000))
    await moved(redis, "foo", 7000)
    seen = []
    while (answer := await client.get("/qb/foo?batch_size=1000")).status == 200:
        seen += [int(text[5:-1]) for text in answer.json]
    assert seen == list(range(7000))


@awaiting
async def test_many_queues_are_served(client, redis):
    due = time.time() + 0.3
    for n in range(100):
        await client.post(f"/qb/q{n}?delayed={due}", jobs(3))
    for n in range(100):
        await moved(redis, f"q{n}", 3)


@awaiting
async def test_several_daemons_move_each_job_once(client, redis):
    others = [daemon_on(redis.url, tick="0.01") for _ in range(2)]
    for other in others:
        other.startService()
    await gatherResults([other.started for other in others])
    now = time.time()
    for n in range(50):
        await client.post(f"/q/foo?delayed={now + n / 100}", b'{"n":%d}' % n)
    await moved(redis, "foo", 50)
    seen = []
    while (answer := await client.get("/q/foo")).status == 200:
        seen.append(answer.json["n"])
    assert seen == list(range(50))
    await gatherResults([other.stopService() for other in others])


@awaiting
async def test_the_mover_outlives_an_outage(daemon, client, redis):
    await client.post(f"/qb/foo?delayed={time.time() + 0.5}", jobs(5))
    redis.kill()

    async def noticed():
        return not daemon.store.is_up

    await eventually(noticed, "the loss")
    redis.start()
    await moved(redis, "foo", 5)


@awaiting
async def test_a_delayed_job_survives_a_purge_of_the_due_index_as_soon_as_its_queue_is_asked(client, redis):
    """The index only makes the mover quick to find work: what is due is handed out all the same."""
    await client.post(f"/q/foo?delayed={time.time() + 0.2}", b'{"n":1}')
    redis.command("DEL", "presque:{0}/due")

    async def fetched():
        answer = await client.get("/q/foo")
        return answer.json if answer.status == 200 else None

    assert await eventually(fetched, "the job") == {"n": 1}


@awaiting
async def test_a_job_is_never_early(client, redis):
    redis.signal(signal.SIGCONT)
    due = {}
    for n in range(30):
        due[n] = time.time() + 0.2 + n / 50
        await client.post(f"/q/foo?delayed={due[n]:.6f}", b'{"n":%d}' % n)
    seen = []

    async def all_seen():
        answer = await client.get("/q/foo")
        if answer.status == 200:
            n = answer.json["n"]
            assert time.time() >= due[n] - 0.001
            seen.append(n)
        return len(seen) == 30

    await eventually(all_seen, "all jobs")
    assert seen == sorted(seen)


def test_the_loop_repeats_at_once_while_there_is_more_and_survives_errors():
    clock = Clock()
    results = [10, 10, 3, RuntimeError("broken"), 0, 0]
    turns = []

    async def work():
        turns.append(clock.seconds())
        result = results[len(turns) - 1]
        if isinstance(result, Exception):
            raise result
        return result

    loop = Loop("test", work, tick=1, full=10, clock=clock)
    with logged(exception) as failures:
        loop.start()
        clock.pump([1, 1, 1])
    assert [str(failure) for failure in failures] == ["broken"]
    assert turns == [0, 0, 0, 1, 2, 3]
    loop.stop()
    clock.advance(10)
    assert len(turns) == 6
