"""What presque must show, in its long form: `python -m tests.acceptance --list`."""

if not __debug__:
    raise SystemExit("the rows check by assertions, which python -O removes: run them without it")
