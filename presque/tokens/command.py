"""`presque-token`: makes tokens, and checks a file of them.

It prints a new token once and keeps nothing of it: whoever runs it gives the token to the client, and adds the line to
the file.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from presque.errors import InvalidTokenFile
from presque.tokens.file import Token, parse_line, read
from presque.tokens.text import digest_of, new_token

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = """\
usage: presque-token new NAME SCOPE… [expires=DATE] [from=NETWORKS]
       presque-token check FILE

new    prints a new token, and the line for the file that --tokens names; the
       token is shown this once, and the file has only its SHA-256
check  tells what is in such a file, or what is wrong with it

A scope is produce:, consume:, read: or manage: and a pattern of queue names:

  presque-token new mail-app 'produce:mail.*' 'read:mail.*' expires=2027-01-01
"""
GIVE = "The first line is the token, which is not shown again; add the second to the file, and send presque SIGHUP."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit status: 0, 1 if the file is wrong, 2 if the arguments are."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words in (["-h"], ["--help"]):
        print(USAGE, end="")
        return 0
    if words[:1] == ["new"] and len(words) > 2:
        return _new(words[1:])
    if words[:1] == ["check"] and len(words) == 2:
        return _check(Path(words[1]))
    print(USAGE, end="", file=sys.stderr)
    return 2


def _new(words: list[str]) -> int:
    text = new_token()
    line = [words[0], f"sha256:{digest_of(text.encode())}", *words[1:]]
    try:
        if any(word != "".join(word.split()) for word in words):
            raise ValueError("an argument must be one word")
        parse_line(line)
    except ValueError as wrong:
        print(f"presque-token: {wrong}", file=sys.stderr)
        return 2
    print(text)
    print(" ".join(line))
    if sys.stdout.isatty():
        print(GIVE, file=sys.stderr)
    return 0


def _check(path: Path) -> int:
    try:
        tokens = read(path)
    except InvalidTokenFile as wrong:
        print(f"presque-token: {wrong}", file=sys.stderr)
        return 1
    for token in tokens.by_name.values():
        print(_described(token))
    return 0


def _described(token: Token) -> str:
    words = [token.name, *map(str, token.scopes)]
    if token.networks:
        words.append(f"from={','.join(map(str, token.networks))}")
    if token.expires_at is not None:
        verb = "expired" if token.expires_at <= time.time() else "expires"
        words.append(f"{verb}={datetime.fromtimestamp(token.expires_at, UTC):%Y-%m-%dT%H:%M:%SZ}")
    return " ".join(words)


if __name__ == "__main__":
    sys.exit(main())
