"""`/metrics`: the figures of the store, its queues and its processes, as Prometheus reads them."""
