"""What is counted of a queue, in the scripts that move its jobs: fields of the hash `q`, and the buckets of times."""

from __future__ import annotations

from presque.redis.units import milliseconds

# Upper bounds (seconds) of the buckets into which waits and runs are counted; a last one has those above.
BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
BUCKETS = range(1, len(BOUNDS) + 2)  # their numbers

# Besides what the contract names: failures by reason (those that are left were nacks), and refused insertions.
COUNTED = (
    ("delivered", "acked", "failed", "died", "expired", "deleted", "released", "failed_lease", "failed_worker")
    + ("refused_full", "refused_closed", "refused_duplicate")
    + tuple(f"{time}{bucket}" for time in ("wait", "run") for bucket in ("", *BUCKETS))
)


def lua_parts() -> dict[str, str]:
    """Parts of scripts: the fields, in this order, and the number of a time's bucket."""
    names = ", ".join(f"'{name}'" for name in COUNTED)
    steps = " or ".join(f"time <= {milliseconds(bound):g} and {n}" for n, bound in enumerate(BOUNDS, 1))
    return {
        "counted": f"local counted = {{ {names} }}\n",
        "time_bucket": f"local function time_bucket(time)\n  return {steps} or {BUCKETS[-1]}\nend\n",
    }
