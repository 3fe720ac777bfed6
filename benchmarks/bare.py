"""The yardstick: a plain `twisted.web` resource that does nothing. No Redis, no routing, no promise.

python -m benchmarks.bare [--port N] [--no-log]; it says where it listens on its first line of output.

Twisted's Site composes a line of an access log for each request, which takes a quarter of its time; presque has no such
log. `--no-log` takes it from the Site too, so that there are two yardsticks: Twisted as it comes, and like for like.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Site

if TYPE_CHECKING:
    from twisted.web.http import Request

BODY = b'{"to":"ann@example.org","subject":"A job of 62 bytes","n":123}'
BACKLOG = 1024  # connections that may wait to be accepted, as presque has it


class Unlogged(Site):
    """A Site that, as presque's, composes no access log."""

    def log(self, request: Request) -> None:
        pass


class Bare(Resource):
    """Answers any path: POST with an empty 201, GET with a body of 62 bytes."""

    isLeaf = True

    def render_POST(self, request: Request) -> bytes:
        request.setResponseCode(201)
        request.setHeader(b"Content-Type", b"application/json")
        return b""

    def render_GET(self, request: Request) -> bytes:
        request.setHeader(b"Content-Type", b"application/json")
        return BODY


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--no-log", action="store_true", help="compose no access log")
    asked = parser.parse_args()
    kind = Unlogged if asked.no_log else Site
    # `parsePOSTFormSubmission=False`: bodies are JSON, and presque does not have them parsed as forms either.
    site: Any = kind(Bare(), parsePOSTFormSubmission=False)
    port: Any = reactor.listenTCP(asked.port, site, BACKLOG, interface="127.0.0.1")
    print(f"bare listens on port={port.getHost().port}", flush=True)
    reactor.run()


if __name__ == "__main__":
    main()
