"""Bytes to requests and back: connections, the table of routes, and the delivery of jobs to clients."""
