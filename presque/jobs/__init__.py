"""The rules of queues, leases and workers: no HTTP, and Redis only by the store's scripts."""
