"""The rules of queues, leases and workers: no HTTP, and Redis only through the scripts of the store."""
