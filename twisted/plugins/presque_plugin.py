"""Tells twistd of `twistd presque`."""

from twisted.application.service import ServiceMaker

presque = ServiceMaker("presque", "presque.tap", "A message queue over HTTP and JSON, kept in Redis.", "presque")
