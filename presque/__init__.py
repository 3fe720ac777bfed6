"""presque: a message queue that speaks HTTP and JSON and keeps its jobs in Redis."""

__version__ = "0.1.0"
