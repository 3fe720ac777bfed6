"""Bytes to requests and back: connections, the table of routes, and what becomes of jobs on their way to a client."""
