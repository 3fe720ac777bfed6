"""The settings: one table, from which the flags, the environment variables, the file's keys and the help are made.

A value comes from the command line, else from `PRESQUE_<NAME>`, else from the TOML file that `--config` (or
`PRESQUE_CONFIG`) names, else from the default. A name that is not in the table is refused, and the nearest suggested.
"""

from __future__ import annotations

import os
import socket
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.endpoints import serverFromString

from presque.http.hosts import ANY, parse_host
from presque.redis.url import RedisURL, parse_redis_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

SWITCH = {  # values of a flag
    **dict.fromkeys(("on", "yes", "true", "1"), True),
    **dict.fromkeys(("off", "no", "false", "0"), False),
}
FIRST_FD = 3  # of the sockets that systemd passes
LOG_LEVELS = ("debug", "info", "warn", "error", "critical")
LONGEST_PATTERN = 256  # characters
SHARABLE = ("tcp:", "tcp6:", "unix:", "systemd:")  # endpoints that are plain sockets, which processes can share

OVER_TLS = ("tcp:", "tcp6:", "systemd:")  # endpoints that speak TLS when there is a certificate; sockets of the network


class SettingError(Exception):
    """A setting that cannot be used. The message is one line and names the setting."""


@dataclass(frozen=True)
class Settings:
    """All settings of a daemon."""

    listen: tuple[str, ...]  # Twisted server endpoint descriptions
    host: tuple[str, ...]  # lower-case names to accept in requests, besides the local ones; * for any
    redis: RedisURL | None  # None: a private server
    data_dir: Path
    fsync: str  # everysec or always
    redis_server: str  # a path; empty: the one that best fits the folder
    min_free: int  # bytes; 0: no limit
    tick: float  # seconds
    max_body: int  # bytes
    request_timeout: float  # seconds
    partitions: int
    processes: int
    worker_keep: float  # seconds
    tls_certificate: Path | None
    tls_client_ca: Path | None
    tokens: Path | None  # the file of the tokens; None: requests need none
    insecure: bool  # listen beyond loopback without tokens
    log_format: str  # text or json
    log_level: str  # the lowest to be written
    access_log: bool
    metrics_queues: str  # a pattern of names, as in a shell
    max_connections: int
    max_connections_per_address: int  # 0: no limit
    max_buffered: int  # bytes
    max_waiting: int
    max_queues: int
    max_store_memory: float  # percent


@dataclass(frozen=True)
class Setting:
    """A row of the table. `parse` raises ValueError with the predicate of a sentence whose subject is the name; `text`
    turns a value back into what `parse` reads. A setting that `is_repeated` may be given several times, in a file as a
    list.
    """

    name: str
    value: str
    default: str
    help: str
    parse: Callable[[str], Any]
    text: Callable[[Any], str] = str
    is_repeated: bool = False
    is_flag: bool = False  # on the command line it has no value, and is on


def _endpoints(text: str) -> tuple[str, ...]:
    found = tuple(text.split())
    if not found:
        raise ValueError("must be an endpoint such as tcp:5000:interface=127.0.0.1")
    for endpoint in found:
        try:
            serverFromString(None, endpoint)  # only checked here; the wiring creates the endpoints
        except Exception as wrong:  # whatever the endpoint's own parser, or that of a certificate, raises
            why = "systemd passed no such socket" if isinstance(wrong, LookupError) else wrong
            raise ValueError(f"must be a Twisted endpoint such as tcp:5000 ({why})") from None
    return found


def _hosts(text: str) -> tuple[str, ...]:
    return tuple(_host_name(name) for name in text.split())


def _host_name(text: str) -> str:
    host = parse_host(text.encode("utf-8", "surrogateescape"))
    if host is None and text != ANY:
        raise ValueError("must be a host name such as queue.example, or * for any")
    return ANY if host is None else host.name.removesuffix(".")


def _redis(text: str) -> RedisURL | None:
    return parse_redis_url(text) if text else None


def _folder(text: str) -> Path:
    if text:
        return _expanded(text)
    if state := os.environ.get("STATE_DIRECTORY"):  # systemd.exec(5), StateDirectory=; colons separate several
        return Path(state.split(":")[0])
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return _expanded(home) / "presque"


def _program(text: str) -> str:
    named = not text or os.sep not in text  # a bare name, to be found on PATH
    return text if named else str(_expanded(text))


def _file_path(text: str) -> Path | None:
    return _expanded(text) if text else None


def _path_text(path: Path | None) -> str:
    return str(path or "")


def _expanded(text: str) -> Path:
    try:
        if "\0" in text:
            raise ValueError("must be a path without NUL characters")
        return Path(text).expanduser().absolute()
    except RuntimeError:  # no such user, or the user has no home
        raise ValueError("must be a path that exists: there is no such home folder") from None


def _pattern(text: str) -> str:
    if not text or len(text) > LONGEST_PATTERN:
        raise ValueError(f"must be a pattern of 1 to {LONGEST_PATTERN} characters such as mail.*")
    return text


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be {' or '.join(choices)}{_nearest(text, choices)}")
        return text

    return parse


def _switch(text: str) -> bool:
    if text not in SWITCH:
        raise ValueError(f"must be on or off{_nearest(text, SWITCH)}")
    return SWITCH[text]


def _number(kind: type[int] | type[float], minimum: float, maximum: float, unit: str) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = kind(minimum - 1)
        if not minimum <= value <= maximum:
            noun = "a whole number" if kind is int else "a number"
            raise ValueError(f"must be {noun} from {minimum} to {maximum}{unit}")
        return value

    return parse


TABLE = (
    Setting(
        "listen",
        "ENDPOINT",
        "tcp:5000:interface=127.0.0.1",
        "Twisted endpoint to listen on; may be given several times (default: the sockets of systemd, if it passes any)",
        _endpoints,
        " ".join,
        is_repeated=True,
    ),
    Setting(
        "host",
        "NAME",
        "",
        "host name to accept in requests, in addition to IP addresses, names without a dot and *.localhost; * accepts "
        "any; may be given several times",
        _hosts,
        lambda names: " ".join(f"[{name}]" if ":" in name else name for name in names),
        is_repeated=True,
    ),
    Setting(
        "redis",
        "URL",
        "",
        "URL of the Redis to use: redis://, rediss:// or unix:// (default: a private server)",
        _redis,
        lambda url: url.in_full() if url else "",
    ),
    Setting(
        "data-dir",
        "FOLDER",
        "",
        "data folder of the private server (default: $STATE_DIRECTORY, else presque in the XDG state folder)",
        _folder,
    ),
    Setting(
        "fsync",
        "WHEN",
        "everysec",
        "how often the private server syncs its file to disk: everysec or always",
        _one_of("everysec", "always"),
    ),
    Setting(
        "redis-server",
        "PATH",
        "",
        "redis-server or valkey-server to run as the private server (default: the one that wrote the data folder last, "
        "else the one that presque[embedded] installed, else the first on PATH)",
        _program,
    ),
    Setting(
        "min-free",
        "BYTES",
        "67108864",
        "minimum free bytes on the data folder's disk, below which insertions are refused; 0 for no limit",
        _number(int, 0, 2**63 - 1, " bytes"),
    ),
    Setting(
        "tick",
        "SECONDS",
        "0.1",
        "seconds between two runs of the mover, which makes due jobs ready",
        _number(float, 0.01, 60, " seconds"),
    ),
    Setting(
        "max-body",
        "BYTES",
        "1048576",
        "maximum size of a request body in bytes",
        _number(int, 1, 512 * 1024 * 1024, " bytes"),
    ),
    Setting(
        "request-timeout",
        "SECONDS",
        "20",
        "seconds to receive a whole request, and seconds that a client may go without reading any of its answer",
        _number(float, 0.1, 3600, " seconds"),
    ),
    Setting(
        "partitions",
        "NUMBER",
        "1",
        "number of Redis Cluster slots over which the queues are spread; fixed when a store is first used",
        _number(int, 1, 16384, ""),
    ),
    Setting(
        "processes",
        "NUMBER",
        "1",
        "number of serving processes; they share the listening sockets and the Redis",
        _number(int, 1, 64, ""),
    ),
    Setting(
        "worker-keep",
        "SECONDS",
        "604800",
        "seconds without a request after which a registered worker is forgotten",
        _number(float, 1, 315360000, " seconds"),
    ),
    Setting(
        "tls-certificate",
        "PEM",
        "",
        "file with a private key, its certificate and the chain; makes tcp:, tcp6: and systemd: endpoints speak TLS",
        _file_path,
        _path_text,
    ),
    Setting(
        "tls-client-ca",
        "PEM",
        "",
        "file with the certificates of authorities; a TLS client must have a certificate that one of them has signed",
        _file_path,
        _path_text,
    ),
    Setting(
        "tokens",
        "FILE",
        "",
        "file that lists the tokens by which clients may use presque; without it nobody needs one",
        _file_path,
        _path_text,
    ),
    Setting(
        "insecure",
        "on|off",
        "off",
        "listen on addresses other than loopback without --tokens",
        _switch,
        lambda is_on: "on" if is_on else "off",
        is_flag=True,
    ),
    Setting(
        "log-format",
        "FORMAT",
        "text",
        "form of the log: text, or json with one object a line",
        _one_of("text", "json"),
    ),
    Setting(
        "log-level",
        "LEVEL",
        "info",
        f"lowest level of the log: {', '.join(LOG_LEVELS)}; SIGHUP reads it again from the file of --config",
        _one_of(*LOG_LEVELS),
    ),
    Setting(
        "access-log",
        "",
        "off",
        "log a line for each request",
        _switch,
        lambda is_on: "on" if is_on else "off",
        is_flag=True,
    ),
    Setting(
        "metrics-queues",
        "GLOB",
        "*",
        "pattern of the queues that /metrics tells by name, the first 200 that match; the others are summed up",
        _pattern,
    ),
    Setting(
        "max-connections",
        "NUMBER",
        "10000",
        "maximum number of connections of each process; also limited to 64 less than its descriptors",
        _number(int, 1, 1000000, ""),
    ),
    Setting(
        "max-connections-per-address",
        "NUMBER",
        "0",
        "maximum number of connections from one address to each process; 0 for no limit",
        _number(int, 0, 1000000, ""),
    ),
    Setting(
        "max-buffered",
        "BYTES",
        "268435456",
        "maximum bytes of unfinished requests and unread answers of all clients of each process",
        _number(int, 65536, 2**63 - 1, " bytes"),
    ),
    Setting(
        "max-waiting",
        "NUMBER",
        "10000",
        "maximum number of consumers that wait at each process",
        _number(int, 0, 1000000, ""),
    ),
    Setting(
        "max-queues",
        "NUMBER",
        "100000",
        "maximum number of queues that insertions create",
        _number(int, 1, 2**53, ""),
    ),
    Setting(
        "max-store-memory",
        "PERCENT",
        "90",
        "percentage of the maxmemory of Redis at which insertions are refused",
        _number(float, 1, 100, " percent"),
    ),
)
_ROWS = {row.name: row for row in TABLE}


def settings(flags: Mapping[str, str], environ: Mapping[str, str] | None = None) -> Settings:
    """The Settings from `flags` (name -> text), the environment variables and the file. Raises SettingError."""
    sources = _sources(flags, os.environ if environ is None else environ)
    return _consistent(Settings(**{row.name.replace("-", "_"): _value(row, sources) for row in TABLE}))


def setting(name: str, flags: Mapping[str, str], environ: Mapping[str, str] | None = None) -> Any:
    """The value of one setting, read again in the same way: the file may have changed. Raises SettingError."""
    return _value(_ROWS[name], _sources(flags, os.environ if environ is None else environ))


def _sources(flags: Mapping[str, str], environ: Mapping[str, str]) -> tuple[dict[str, tuple[str, str]], ...]:
    """What each place sets, the place that takes precedence first: setting -> (how it is called there, its text)."""
    variables = _variables(environ)
    named_by, file = "--config", flags.get("config")
    if not file:
        named_by, file = "PRESQUE_CONFIG", variables.pop("config", ("", ""))[1]
    given = {name: (f"--{name}", text) for name, text in flags.items()}
    return given, variables, _file(named_by, file) if file else {}


def _value(row: Setting, sources: Iterable[Mapping[str, tuple[str, str]]]) -> Any:
    default = (f"--{row.name}", row.default)
    if row.name == "listen" and (sockets := _sockets()):
        default = ("LISTEN_FDS", sockets)
    return _parse(row, *next((source[row.name] for source in sources if row.name in source), default))


def _consistent(found: Settings) -> Settings:
    for endpoint in found.listen if found.processes > 1 else ():
        if not endpoint.startswith(SHARABLE):
            kinds = ", ".join(SHARABLE)
            raise SettingError(f"--processes {found.processes} cannot share {endpoint}, only an endpoint of {kinds}")
    if found.tls_client_ca and not found.tls_certificate:
        raise SettingError("--tls-client-ca needs --tls-certificate")
    if found.tls_certificate and not any(endpoint.startswith(OVER_TLS) for endpoint in found.listen):
        raise SettingError(f"--tls-certificate is for an endpoint of {', '.join(OVER_TLS)}, and there is none")
    return found


def _sockets() -> str:
    """The endpoints of the sockets that systemd has passed us, see sd_listen_fds(3); empty if there are none. Twisted
    reads and removes LISTEN_FDS when it is imported, so it must be asked.
    """
    found: list[str] = []
    with suppress(LookupError):
        while _is_listening(FIRST_FD + len(found)):  # else Twisted would read its plugins to no purpose
            endpoint = f"systemd:domain=INET:index={len(found)}"
            serverFromString(None, endpoint)
            found.append(endpoint)
    return " ".join(found)


def _is_listening(descriptor: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as passed:
            return bool(passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False


def as_variables(found: Settings) -> dict[str, str]:
    """The environment variables that reproduce these settings, including the Redis password."""
    return {_variable(row.name): row.text(getattr(found, row.name.replace("-", "_"))) for row in TABLE}


def _variable(name: str) -> str:
    return "PRESQUE_" + name.upper().replace("-", "_")


def _parse(row: Setting, label: str, text: str) -> Any:
    try:
        return row.parse(text)
    except ValueError as wrong:
        shown = "" if row.name == "redis" else f", not {text!r}"  # a URL may contain a password
        raise SettingError(f"{label} {wrong}{shown}") from None


def _variables(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Setting -> (the variable that sets it, its text)."""
    names = {_variable(name): name for name in [*_ROWS, "config"]}
    found = {}
    for variable, text in environ.items():
        if variable.startswith("PRESQUE_"):
            if variable not in names:
                raise SettingError(f"{variable} is not a setting{_nearest(variable, names)}")
            found[names[variable]] = variable, text
    return found


def _file(named_by: str, path: str) -> dict[str, tuple[str, str]]:
    """Setting -> (the file and key that set it, its text)."""
    try:
        content = tomllib.loads(Path(path).read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as wrong:
        raise SettingError(f"{named_by} {path}: {wrong}") from None
    found = {}
    for key, value in content.items():
        name = key.replace("_", "-")
        if name not in _ROWS:
            raise SettingError(f"{path}: {key} is not a setting{_nearest(name, _ROWS)}")
        if _ROWS[name].is_repeated and isinstance(value, list) and all(isinstance(item, str) for item in value):
            value = " ".join(value)
        if isinstance(value, bool) and _ROWS[name].is_flag:
            value = "on" if value else "off"
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise SettingError(f"{path}: {key} must be a string or a number")
        found[name] = f"{path}: {key}", str(value)
    return found


def _nearest(name: str, names: Any) -> str:
    near = get_close_matches(name, list(names), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def nearest_flag(flag: str) -> str:
    """`; did you mean --that?` for an unknown flag, or an empty string."""
    return _nearest(flag, [f"--{name}" for name in [*_ROWS, "config", "help", "version"]])
