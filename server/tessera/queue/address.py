"""Where a Redis is: one server, three Sentinels that know which server it is, or a Cluster."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote, urlsplit

from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection, parse_url

from tessera.settings import Settings

Kind = Literal["single", "sentinel", "cluster"]

_PORTS: dict[Kind, int] = {"single": 6379, "sentinel": 26379, "cluster": 6379}
_FORMS = (
    "redis://HOST:PORT/DB, unix:///PATH, redis+sentinel://HOST:PORT,HOST:PORT/NAME/DB or redis+cluster://HOST:PORT,…; "
    "with rediss in place of redis for TLS"
)
# Options of a URL that are ours to say.
_OWN = {"connection_class", "host", "port", "path", "client_name", "socket_timeout", "socket_connect_timeout", "retry"}


@dataclass(frozen=True, slots=True)
class Address:
    """What a URL and the settings beside it say.

    Attributes:
        hosts: host and port of the server, of the Sentinels, or of some of the Cluster's nodes; none for a socket.
        service: the name by which Sentinels know the server.
        tls: also for the Sentinels.
        options: for redis-py's connections; they hold the password.
    """

    kind: Kind
    hosts: tuple[tuple[str, int], ...]
    service: str
    tls: bool
    options: dict[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, url: str, settings: Settings) -> Address:
        """Read a URL. What it leaves open, such as the password, the settings say.

        Raises:
            ValueError: it cannot be used; the message never holds a password.
        """
        parts = urlsplit(url)
        plain, _, manner = parts.scheme.partition("+")
        kind: Kind = "single"
        if manner == "sentinel":
            kind = "sentinel"
        elif manner == "cluster":
            kind = "cluster"
        elif manner:
            raise ValueError(f"it begins with {parts.scheme}://, which is none of {_FORMS}")
        if plain not in ("redis", "rediss") and (plain != "unix" or manner):
            raise ValueError(f"it does not begin as one of {_FORMS}")
        login, _, netloc = parts.netloc.rpartition("@")
        hosts = () if plain == "unix" else tuple(_host(part, _PORTS[kind]) for part in netloc.split(","))
        if kind == "single" and len(hosts) > 1:
            raise ValueError("it names several servers: write redis+sentinel:// or redis+cluster://")
        service, database = _path(kind, parts.path)
        place = parts.path if plain == "unix" else f"{_written(hosts[0])}/{database}"
        query = f"?{parts.query}" if parts.query else ""
        options = dict(parse_url(f"{plain}://{login + '@' if login else ''}{place}{query}"))
        tls = plain == "rediss"
        _complete(options, settings, tls=tls)
        known = UnixDomainSocketConnection if plain == "unix" else SSLConnection if tls else Connection
        if unknown := [name for name in options if name not in _OWN | _arguments(known)]:
            raise ValueError(f"it has an option `{unknown[0]}` that there is not")
        if kind != "single":
            for name in ("host", "port", "connection_class"):
                options.pop(name, None)
        return cls(kind, hosts, service, tls, options)


def _host(written: str, usual_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{written}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("the port of one of its hosts is no number below 65536") from None
    if not host:
        raise ValueError("it names no host")
    return unquote(host), usual_port if port is None else port


def _written(host: tuple[str, int]) -> str:
    name, port = host
    return f"[{name}]:{port}" if ":" in name else f"{quote(name)}:{port}"


def _path(kind: Kind, path: str) -> tuple[str, str]:
    """The service's name, and the number of the database."""
    parts = [unquote(part) for part in path.split("/")[1:]]
    service = ""
    if kind == "sentinel":
        service = parts.pop(0) if parts else ""
        if not service:
            raise ValueError("it lacks the name that the Sentinels know the server by: redis+sentinel://HOST:PORT/NAME")
    database = parts[0] if parts else ""
    if kind == "cluster" and database not in ("", "0"):
        raise ValueError("a Cluster has no database but 0")
    return service, database


def _complete(options: dict[str, Any], settings: Settings, *, tls: bool) -> None:
    # Both belong together: a password in the address is not that of the settings' user.
    if settings.redis_password and "password" not in options:
        options["password"] = settings.redis_password
        if settings.redis_username:
            options.setdefault("username", settings.redis_username)
    files = {
        "ssl_ca_certs": ("REDIS_CA_FILE", settings.redis_ca_file),
        "ssl_certfile": ("REDIS_CERT_FILE", settings.redis_cert_file),
        "ssl_keyfile": ("REDIS_KEY_FILE", settings.redis_key_file),
    }
    for option, (setting, path) in files.items():
        if path is None:
            continue
        if tls:
            options.setdefault(option, str(path))
        elif not settings.redis_url.startswith("rediss"):
            # Otherwise only the Redis for media is reached without.
            raise ValueError(f"TESSERA_{setting} is set, and it does not ask for TLS: write rediss in place of redis")
    for option in files:
        if option in options and not Path(options[option]).is_file():
            raise ValueError(f"there is no file {options[option]}, which `{option}` names")


def _arguments(connection: type) -> set[str]:
    """What a connection can be told."""
    return {name for kind in connection.__mro__ for name in inspect.signature(kind).parameters}
