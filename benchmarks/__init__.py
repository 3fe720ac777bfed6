"""What presque must show, in its long form: `python -m benchmarks.acceptance --list`."""

if not __debug__:
    raise SystemExit("the benchmarks check by assertions, which python -O removes: run them without it")
