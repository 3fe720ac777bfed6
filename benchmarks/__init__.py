"""How fast presque is, and beside what: `python -m benchmarks.speed --list`."""

if not __debug__:
    raise SystemExit("the benchmarks check by assertions, which python -O removes: run them without it")
