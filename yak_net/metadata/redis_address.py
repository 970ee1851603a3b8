"""The address of a metadata store on Redis or Valkey, from a URL.

The forms are those of redis-py, and one for Sentinel::

    redis://USER:PASSWORD@HOST:PORT/DATABASE      rediss:// for TLS; also valkey:// and valkeys://
    unix:///PATH
    redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DATABASE        rediss+sentinel:// for TLS

After the ``?`` are TLS files (``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile``) and the source
of the password (:mod:`yak_net.metadata.redis_login`). The login is that of the Redis server; the
Sentinels have their own in the options with ``sentinel_``. TLS is for both.

No message contains the URL, because it may contain a password.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from redis.asyncio.connection import parse_url

from yak_net.metadata.redis_login import OPTIONS, take_login
from yak_net.metadata.redis_url import UrlParts, split

PORT: Final = 6379
SENTINEL_PORT: Final = 26379

_SCHEMES: Final = {
    "redis": "redis",
    "rediss": "rediss",
    "valkey": "redis",
    "valkeys": "rediss",
    "unix": "unix",
}
"""Scheme of a URL -> the scheme that redis-py knows."""

_HOST: Final = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^\[\]:,]+)(?::([0-9]{1,5}))?")
_DATABASE: Final = re.compile(r"/?[0-9]*")
_SERVICE: Final = re.compile(r"/([^/]+)(?:/([0-9]*))?")
_TLS_FILES: Final = {"ssl_ca_certs": "CA", "ssl_certfile": "certificate", "ssl_keyfile": "key"}
_TLS_OPTIONS: Final = (*_TLS_FILES, "ssl_ca_path", "ssl_cert_reqs", "ssl_check_hostname")
_SENTINEL_OPTIONS: Final = tuple(f"sentinel_{name}" for name in OPTIONS)


@dataclass(frozen=True)
class RedisAddress:
    """A parsed URL. ``name`` is for messages, such as ``127.0.0.1:6379``, without a password.

    ``options`` are the arguments of a connection of redis-py, without those for TLS, which are
    ``tls`` (None: no TLS). With ``sentinels``, a list of (host, port), they contain no host: the
    Sentinels know the address of the primary of ``service``. ``sentinel_login`` is their login.
    ``secrets`` are the passwords, in each form that a message could contain.
    """

    name: str
    database: int
    options: Mapping[str, Any] = field(repr=False)
    tls: Mapping[str, Any] | None = None
    sentinels: tuple[tuple[str, int], ...] = ()
    service: str = ""
    sentinel_login: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


def address_of(url: str, environment: Mapping[str, str] | None = None) -> RedisAddress:
    """Return the address that ``url`` names, with its passwords read. Raises ValueError.

    ``environment`` has the variables that the URL may refer to, by default those of the process.
    """
    parts = split(url)
    options = None if parts is None else _options_of(parts)
    if parts is None or options is None:
        raise ValueError(
            "the Redis URL is invalid; expected redis://USER:PASSWORD@HOST:PORT/DATABASE, "
            "rediss:// for TLS, unix:///PATH, or redis+sentinel://HOST:PORT,HOST:PORT/SERVICE, "
            "with % codes for special characters"
        )
    environment = os.environ if environment is None else environment
    login = take_login(options, environment)
    sentinel_login = take_login(options, environment, "sentinel_")
    tls = _take_tls(options, wanted=_SCHEMES[parts.scheme] == "rediss")
    passwords = [each["password"] for each in (login, sentinel_login) if "password" in each]
    secrets = tuple({form for each in passwords for form in (each, quote(each, safe=""))})
    options |= login
    if parts.sentinel:
        sentinels, service, path = _sentinels_of(parts)
        database = int(options.pop("db", None) or path)
        name = f"{service} (Sentinel {', '.join(f'{host}:{port}' for host, port in sentinels)})"
        return RedisAddress(
            name, database, options | {"db": database}, tls, sentinels, service, sentinel_login,
            secrets,
        )  # fmt: skip
    if parts.scheme == "unix":
        if not options.get("path"):
            raise ValueError("the Redis URL has no socket path; expected unix:///PATH")
        name = str(options["path"])
    else:
        if not _DATABASE.fullmatch(parts.path):
            raise ValueError("the database in the Redis URL must be a number, such as /0")
        options = {"host": "localhost", "port": PORT} | options
        name = f"{options['host']}:{options['port']}"
    return RedisAddress(name, int(str(options.get("db") or 0)), options, tls, secrets=secrets)


def _options_of(parts: UrlParts) -> dict[str, Any] | None:
    """Return the options of redis-py; None for an invalid URL. Raises ValueError.

    The ValueError of redis-py is not chained: its message may contain a part of the password.
    """
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None or (parts.sentinel and scheme == "unix"):
        return None
    supported = {"db", *_TLS_OPTIONS, *OPTIONS, *(_SENTINEL_OPTIONS if parts.sentinel else ())}
    if not supported.issuperset(parts.options):
        raise ValueError(
            "the Redis URL has an unsupported option; supported after the ? are "
            f"{', '.join(sorted(supported))}"
        )
    one = f"{parts.hosts}{parts.path}" if not parts.sentinel else "sentinel"
    with suppress(ValueError):
        options = dict[str, Any](parse_url(f"{scheme}://{parts.login}@{one}?{parts.query}"))
        if parts.sentinel:
            del options["host"]
        if scheme == "rediss":
            del options["connection_class"]
        return options
    return None


def _sentinels_of(parts: UrlParts) -> tuple[tuple[tuple[str, int], ...], str, str]:
    """Return the Sentinels, the service and the database. Raises ValueError."""
    path = _SERVICE.fullmatch(parts.path)
    hosts = [_HOST.fullmatch(each) for each in parts.hosts.split(",")]
    if path is None or not all(hosts):
        raise ValueError(
            "a Redis URL for Sentinel must have the form "
            "redis+sentinel://HOST:PORT,HOST:PORT/SERVICE or .../SERVICE/DATABASE"
        )
    found = tuple(
        (unquote(each[1]).strip("[]"), int(each[2] or SENTINEL_PORT)) for each in hosts if each
    )
    if not all(0 < port < 65536 for _, port in found):
        raise ValueError("a port in the Redis URL must be from 1 to 65535")
    return found, unquote(path[1]), path[2] or "0"


def _take_tls(options: dict[str, Any], *, wanted: bool) -> dict[str, Any] | None:
    """Remove the TLS options, and return them; None without TLS. Raises ValueError.

    Files that cannot be used are reported here, once, instead of at each connection.
    """
    found = {name: options.pop(name) for name in _TLS_OPTIONS if name in options}
    if not wanted:
        if found:
            raise ValueError("the ssl_ options of the Redis URL require rediss:// or valkeys://")
        return None
    if found.get("ssl_cert_reqs", "required") not in ("none", "optional", "required"):
        raise ValueError(
            "the option ssl_cert_reqs of the Redis URL must be none, optional or required"
        )
    if "ssl_keyfile" in found and "ssl_certfile" not in found:
        raise ValueError("the Redis URL has ssl_keyfile without ssl_certfile; add ssl_certfile")
    for name, kind in _TLS_FILES.items():
        try:
            if name in found:
                Path(found[name]).open("rb").close()
        except OSError as error:
            raise ValueError(
                f"cannot read the {kind} file {found[name]} of the Redis URL: {error.strerror}; "
                f"correct {name}"
            ) from None
    _check_pem(found)
    return found


def _check_pem(tls: Mapping[str, Any]) -> None:
    context, name = ssl.create_default_context(), "ssl_ca_certs"
    try:
        if name in tls:
            context.load_verify_locations(tls[name])
        name = "ssl_certfile"
        if name in tls:
            # An encrypted key fails with this password; without one, OpenSSL would ask a person.
            context.load_cert_chain(tls[name], tls.get("ssl_keyfile"), password="")
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        raise ValueError(
            f"the file {tls[name]} of the Redis URL is not usable: {reason}; {name} must be PEM"
            + (", and ssl_keyfile the key of this certificate" if name == "ssl_certfile" else "")
        ) from None
