"""`twistd presque`: its options, and the service that they configure."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, ClassVar, NoReturn

from twisted.python import usage

from presque import __version__
from presque.errors import PresqueError
from presque.service import make_service
from presque.settings import TABLE, SettingError, nearest_flag, setting, settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.application.service import IService

    from presque.settings import Setting


def _help(row: Setting) -> str:
    return f"{row.help} [default: {row.default}]" if row.default else row.help


class Options(usage.Options):
    """The command line of `twistd presque`."""

    synopsis = "[options]"
    longdesc = (
        "A message queue that speaks HTTP and JSON and stores its jobs in Redis. Each option may also be set in an "
        "environment variable, PRESQUE_<NAME>, or in the TOML file that --config names; the command line takes "
        "precedence over variables, and variables over the file."
    )

    optParameters: ClassVar[list[list[str | None]]] = [
        ["config", None, None, "TOML file with options (also PRESQUE_CONFIG)"],
        *([row.name, None, None, _help(row)] for row in TABLE if not (row.is_repeated or row.is_flag)),
    ]
    optFlags: ClassVar[list[list[str | None]]] = [[row.name, None, row.help] for row in TABLE if row.is_flag]

    def __init__(self) -> None:
        self.given: dict[str, str] = {}
        super().__init__()

    def _add(self, name: str, text: str) -> None:
        self.given[name] = f"{self.given.get(name, '')} {text}".strip()

    def opt_listen(self, endpoint: str) -> None:
        """Twisted endpoint to listen on; may be given several times [default: tcp:5000:interface=127.0.0.1]"""
        self._add("listen", endpoint)

    def opt_host(self, name: str) -> None:
        """host name to accept in requests, in addition to IP addresses, names without a dot and *.localhost; * accepts
        any; may be given several times
        """
        self._add("host", name)

    def opt_version(self) -> NoReturn:
        """Display the version and exit."""
        print(f"presque {__version__}")
        sys.exit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """As usage.Options, but an error is reported in one line."""
        try:
            super().parseOptions(options)
        except usage.UsageError as wrong:
            refuse(_explained(str(wrong)))

    def parseArgs(self, *args: str) -> None:
        """Refuse arguments: each was meant to be an option."""
        if args:
            shown = args[0] if "://" not in args[0] else "a URL without --redis"  # it may contain a password
            refuse(f"{shown} is not an option{nearest_flag('--' + args[0].lstrip('-'))}")


def _explained(wrong: str) -> str:
    first, _, _ = wrong.partition(" ")
    if wrong.startswith("option -") and wrong.endswith("not recognized"):
        flag = wrong.split()[1]
        return f"{flag} is not an option{nearest_flag(flag)}"
    return wrong or first


def refuse(why: str) -> NoReturn:
    """Exit before anything has started: one line on standard error, status 2."""
    print(f"presque: {why}", file=sys.stderr)
    sys.exit(2)


def makeService(options: Options) -> IService:
    """The service that `options` describe."""
    switches = [row.name for row in TABLE if row.is_flag]
    valued = {name: value for name, value in options.items() if name not in switches and value is not None}
    flags = options.given | valued | {name: "on" for name in switches if options[name]}
    try:
        service = make_service(settings(flags))
        service.hear_signals()
        service.open_log(getattr(options, "parent", None))
        service.on_reload(lambda: service.set_log_level(setting("log-level", flags)))
        return service
    except (SettingError, PresqueError) as wrong:
        refuse(str(wrong))
