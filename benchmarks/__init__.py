"""What presque must show, in its long form: `python -m benchmarks.acceptance --list`."""
