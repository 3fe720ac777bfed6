"""The tests, and what they share with `benchmarks`."""
