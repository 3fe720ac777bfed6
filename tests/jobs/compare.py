"""Whether Redis holds what the model says: see test_model.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from model import now
from stored import CLASS, ENDS, REASONS, TIMES, USUAL, Live

if TYPE_CHECKING:
    from model import Job, Model
    from stored import StoredQueue

FIRST = (0, 2**47, 2**48)  # rank of what was put back, came due, waits with a priority: after it the number or time
STORED_NAME = {"expired": "on_expiry", "dead_keep.count": "dead_count"}  # a setting -> its field of `q`
STORED_VALUE = {600: "600000", False: "0"}  # a setting's value -> what is stored of it; the others as they are


def compare(stored: StoredQueue, model: Model) -> None:
    """The queue is what the model says. The model learns times that only Redis' clock knew."""
    assert set(stored.jobs) == set(model.jobs)
    for job in model.jobs.values():
        _compare_record(stored, job)
        _compare_place(stored, job)
        _compare_live(stored, job)
    _compare_uniq(stored, model)
    _compare_facts(stored, model)
    said = {b"%d" % number: receipt for number, receipt in model.acked.items()}
    for (number, receipt), (word, due_at, due_in) in model.settled.items():
        said[b"%d %b" % (number, receipt)] = b"%b %d %d" % (word.encode(), due_at, due_in)
    assert stored.acked == said


def _compare_record(stored: StoredQueue, job: Job) -> None:
    record = stored.jobs[job.number]
    assert record.payload == job.payload
    job.created = _learned(job.created, record.created, (0, 0))
    options: dict[str, Any] = {"unique": job.uniq.decode()} if job.uniq else {}
    options |= {"limit": job.limit} if job.limit else {}
    options |= {"priority": job.priority} if job.priority != USUAL else {}
    options |= {"headers": job.headers} if job.headers else {}
    if job.expires is not None:
        found = record.options.get("expires")
        assert found == job.expires or (job.is_about and abs(found - job.expires) < 2000)
        job.expires, job.is_about = found, False
        options["expires"] = found
    assert record.options == options


def _compare_place(stored: StoredQueue, job: Job) -> None:
    """It stands where it should, with the right rank or time."""
    number, at = job.number, job.at
    if job.state == "ready" and job.place[0] == 1 and stored.delayed.get(number) == job.place[1]:
        return  # it has come due, and nobody has moved it yet
    if job.state == "ready" and number in stored.standing:
        assert (job.priority, job.place[0]) == (USUAL, 2)
    elif job.state == "ready":
        kind, *rest = job.place
        rank = (9 - job.priority) * CLASS + FIRST[int(kind)] + rest[0]
        assert (stored.front if job.priority >= USUAL else stored.behind).get(number) == rank
    elif job.state == "delayed":
        job.at = _learned(at, stored.delayed[number], job.wait)
    elif job.state == "dead":
        job.at = _learned(at, stored.dead[number], (0, 0))
    elif job.kind == "lease":
        job.at = stored.leased[number]
    else:
        hold = stored.in_hold[number]
        assert (hold.kind, hold.receipt) == (job.kind[0], job.receipt)
        assert hold.worker.decode() == (job.worker if hold.kind == "k" else "")


def _compare_live(stored: StoredQueue, job: Job) -> None:
    live = stored.live.get(job.number, Live("", b"", {}))
    is_leased = job.kind == "lease"
    assert live.receipt == (job.receipt if is_leased else b"")
    assert live.facts.get("worker", "") == (job.worker if is_leased else "")
    assert (live.facts.get("attempts", 0), live.facts.get("run_outs", 0)) == (job.attempts, job.run_outs)
    assert [(attempt, error) for attempt, _, error in live.facts.get("failures", [])] == job.failures


def _compare_uniq(stored: StoredQueue, model: Model) -> None:
    """Of several jobs that ran out together anyone may have the key; the model learns which one had."""
    for key, numbers in model.contested.items():
        if stored.uniq.get(key, next(iter(numbers))) in numbers:
            model.uniq.pop(key, None)
            model.uniq |= {key: stored.uniq[key]} if key in stored.uniq else {}
    model.contested = {}
    assert stored.uniq == model.uniq


def _compare_facts(stored: StoredQueue, model: Model) -> None:
    counted = {name: stored.fact(name) for name in ("n", "base", "out", *ENDS, *REASONS)}
    counted |= {name: stored.times(name) for name in TIMES}
    told = {name: model.counts[name] for name in (*ENDS, *REASONS, *TIMES)}
    assert counted == {"n": model.last, "base": model.base, "out": model.processed, **told}
    assert ("asked" in stored.q) == model.was_asked
    assert sum(map(int, stored.q.get("run_outs", "").split()[1:])) == model.counts["run_outs"]
    assert stored.q.get("off", "") == ("paused" if model.paused else "")
    assert stored.settings() == {
        STORED_NAME.get(name, name): STORED_VALUE.get(value, f"{value}") for name, value in model.settings.items()
    }
    assert (stored.queue.encode() in stored.stored.get("", "queues")) == model.exists


def _learned(known: float | None, found: float, wait: tuple[float, float]) -> float:
    """A time: as `known`; or, if it is not, as found, which is `wait` (the least and the most, ms) from now."""
    assert found == known or (known is None and wait[0] - 2000 < found - now() < wait[1] + 2000)
    return found
