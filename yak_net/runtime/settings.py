"""Settings of a broker process, from options or environment variables.

Seven variables of the original YAK are sufficient: ``YAK_ROLE``, ``YAK_NODE_ID``, ``YAK_HOST``,
``YAK_PORT``, ``YAK_FOLLOWERS``, ``YAK_REDIS_URL``, ``YAK_DATA_DIR``. The broker with the role
"leader" creates the cluster and becomes the first leader; later leaders are elected.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import re
import socket
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from yak_core.config import BrokerConfig, check_config, flush_mode
from yak_core.ids import NodeId
from yak_net.metadata.redis_login import with_environment
from yak_net.metadata.redis_url import public_form

PORT: Final = 8080
HOST: Final = "127.0.0.1"
CLUSTER: Final = "yak"

_NODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CLUSTER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_NOT_CONFIGURABLE: Final = ("replicas", "creates", "url", "peer_url", "flush")
"""Fields of BrokerConfig that ``--config`` cannot set: other settings determine them."""


class Role(StrEnum):
    """Role of a broker at the creation of the cluster; later leaders are elected."""

    LEADER = "leader"
    FOLLOWER = "follower"


class Profile(StrEnum):
    """Periods and time limits for a kind of network; all brokers of a cluster need the same."""

    LAN = "lan"
    WAN = "wan"


PROFILES: Final[dict[Profile, tuple[tuple[str, int], ...]]] = {
    Profile.LAN: (),
    Profile.WAN: (
        ("lease_renew_us", 1_000_000),
        ("lease_us", 10_000_000),
        ("store_timeout_us", 2_000_000),
    ),
}
"""Profile -> the fields of BrokerConfig that differ from their defaults."""


class SettingsError(ValueError):
    """A setting is invalid; the message says which values are valid."""


@dataclass(frozen=True)
class BrokerSettings:
    """Settings of a broker process; :func:`check` validates them.

    ``advertised_url`` is the address for clients, by default the listen address, and ``peer_url``
    that for other brokers, by default the same. ``brokers`` lists (id, URL for brokers) of all
    brokers. Instead, a leader may have ``followers``, a list of
    URLs, and each follower ``role=FOLLOWER``. ``config`` holds values for fields of
    :class:`yak_core.config.BrokerConfig`. With ``check_records``, the broker decodes the records of
    each produce request, and refuses those that no client could read. ``allowed_hosts`` are further
    names of this broker, which clients may send as Host. ``lifeline`` is the file descriptor of a
    pipe: the broker stops when its other end closes. ``link_gate`` is that of a socket, through
    which a supervisor injects faults (:mod:`yak_net.broker.link_gate`).
    """

    node_id: NodeId
    host: str = HOST
    port: int = PORT
    advertised_url: str = ""
    peer_url: str = ""
    brokers: tuple[tuple[NodeId, str], ...] = ()
    followers: tuple[str, ...] = ()
    role: Role | None = None
    redis_url: str = "redis://127.0.0.1:6379/0"
    cluster: str = CLUSTER
    data_dir: Path = Path(".yak/broker")
    flush: str = "batch"
    min_isr: int | None = None
    config: tuple[tuple[str, int], ...] = ()
    trace: Path | None = None
    insecure: bool = False
    check_records: bool = False
    allowed_hosts: tuple[str, ...] = ()
    reuse_port: bool = False
    lifeline: int | None = None
    link_gate: int | None = None

    @property
    def knows_replicas(self) -> bool:
        """Whether the settings contain the ids of all brokers of the cluster."""
        return bool(self.brokers) or not (self.followers or self.role is Role.FOLLOWER)

    @property
    def creates(self) -> bool:
        """Whether this broker may create the cluster, that is, its partition state."""
        return self.role is not Role.FOLLOWER

    def config_value(self, name: str) -> int:
        """Return a field of BrokerConfig as ``config`` sets it, or its default."""
        default: int = getattr(BrokerConfig((self.node_id,)), name)
        return dict(self.config).get(name, default)

    def url_at(self, port: int) -> str:
        """Return this broker's URL for clients, if it listens on ``port``."""
        if self.advertised_url:
            return self.advertised_url
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{port}"

    def broker_config(self, url: str, replicas: tuple[NodeId, ...]) -> BrokerConfig:
        """Return the node's configuration. Raises SettingsError if it is invalid."""
        min_isr = min(2, len(replicas)) if self.min_isr is None else self.min_isr
        if min_isr > len(replicas):
            raise SettingsError(
                f"min-isr must be at most the number of brokers, {len(replicas)}, got {min_isr}; "
                "the cluster could not commit any record"
            )
        config = BrokerConfig(
            replicas,
            min_isr=min_isr,
            flush=flush_mode(self.flush),
            creates=self.creates,
            url=url,
            peer_url="" if self.peer_url == url else self.peer_url,
            **dict(self.config),
        )
        try:
            check_config(self.node_id, config)
        except ValueError as error:
            raise SettingsError(str(error)) from error
        return config


def check(settings: BrokerSettings) -> BrokerSettings:
    """Return the settings if a broker can start with them. Raises SettingsError."""
    if not _NODE.fullmatch(settings.node_id):
        raise SettingsError(
            "a node id must consist of letters, digits, '.', '_' and '-', such as n1, "
            f"got {settings.node_id!r}"
        )
    if not _CLUSTER.fullmatch(settings.cluster):
        raise SettingsError(
            "a cluster name must consist of letters, digits, '.', '_' and '-', such as yak, "
            f"got {settings.cluster!r}"
        )
    ids = [node for node, _ in settings.brokers]
    if ids and settings.node_id not in ids:
        raise SettingsError(
            f"--brokers must contain this broker, {settings.node_id}, got {', '.join(ids)}; "
            f"add {settings.node_id}=URL"
        )
    if ids and settings.followers:
        raise SettingsError("--brokers and --followers exclude each other; give one, not both")
    if settings.followers and settings.role is Role.FOLLOWER:
        raise SettingsError(
            "a follower has no followers; give --followers to the broker with --role leader only"
        )
    _check_texts(settings)
    if not is_loopback(settings.host) and not settings.insecure:
        raise SettingsError(
            f"other machines can reach {settings.host}, and YAK has no encryption or passwords; "
            "listen on 127.0.0.1, or give --insecure if you trust the network"
        )
    if is_wildcard(settings.host) and not settings.advertised_url:
        raise SettingsError(
            f"others cannot connect to {settings.host}; give --advertised-url, the address for "
            "clients, and --peer-url if brokers need another one"
        )
    _check_urls(settings)
    replicas = tuple(sorted(ids)) or (settings.node_id,)
    if settings.knows_replicas:
        settings.broker_config(settings.url_at(settings.port), replicas)
    return settings


def _check_texts(settings: BrokerSettings) -> None:
    """Raise SettingsError for white space at an end, such as the CR of a file from Windows."""
    texts = {
        "host": settings.host,
        "data-dir": str(settings.data_dir),
        "redis-url": settings.redis_url,
        "trace": "" if settings.trace is None else str(settings.trace),
    }
    for name, text in texts.items():
        if text != text.strip() or _CONTROL.search(text):
            shown = public_form(text) if name == "redis-url" else text  # a URL may have a password
            raise SettingsError(
                f"{name} must not contain control characters, or white space at an end, "
                f"got {shown!r}"
            )


def _check_urls(settings: BrokerSettings) -> None:
    """Raise SettingsError for a broker URL to which no other process can connect."""
    others = [("--brokers", url) for _, url in settings.brokers]
    others += [("--followers", url) for url in settings.followers]
    own = [("--advertised-url", settings.advertised_url), ("--peer-url", settings.peer_url)]
    for option, url in [*own, *others]:
        host = urlsplit(url).hostname
        if host is not None and is_wildcard(host):
            raise SettingsError(
                f"others cannot connect to {url}: {host} means all addresses of a machine; "
                f"give {option} a host name or address that brokers and clients can reach, such "
                "as http://192.0.2.7:8080"
            )


def store_url(url: str) -> str:
    """Return the URL of the metadata store with the login of the environment variables.

    Raises SettingsError if a password has two sources.
    """
    try:
        return with_environment(url, os.environ)
    except ValueError as error:
        raise SettingsError(str(error)) from error


def is_wildcard(host: str) -> bool:
    """Return whether ``host`` means all addresses of a machine, such as 0.0.0.0 and ``::``."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            return not any(socket.inet_aton(host))  # short forms, such as 0
        except OSError:
            return host in ("", "*")
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_unspecified or (mapped is not None and mapped.is_unspecified)


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_url(address: str) -> str:
    """Return the URL of a broker from ``http://host:port`` or ``host:port``.

    Raises SettingsError.
    """
    url = address.strip()
    if "://" not in url:
        url = f"http://{url}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SettingsError(f"invalid broker address {address!r}: {error}") from error
    is_plain = parts.path in ("", "/") and not parts.query
    # urlsplit removes some control characters silently.
    is_plain = is_plain and not _CONTROL.search(url) and " " not in url
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_plain:
        raise SettingsError(
            f"invalid broker address {address!r}; an example is http://127.0.0.1:8080"
        )
    if port == 0:
        raise SettingsError(
            f"invalid broker address {address!r}: port must be from 1 to 65535, got 0; give the "
            "port that the broker listens on"
        )
    url = url.removesuffix("/")
    return url if port is not None else f"{url}:{PORT}"


def parse_listen(text: str) -> tuple[str, int]:
    """Return (host, port) of ``host:port``, ``[v6]:port``, or ``:port``; port 0 means any free one.

    Raises SettingsError.
    """
    host, colon, digits = text.strip().rpartition(":")
    if not colon or not digits.isdigit() or int(digits) > 65535:
        raise SettingsError(f"invalid listen address {text!r}; an example is {HOST}:{PORT}")
    return (host.strip("[]") or HOST, int(digits))


def parse_brokers(text: str) -> tuple[tuple[NodeId, str], ...]:
    """Return (id, url) of each broker in ``n1=URL,n2=URL``. Raises SettingsError."""
    found: dict[NodeId, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        node, equals, url = part.partition("=")
        if not equals or not _NODE.fullmatch(node):
            raise SettingsError(
                f"invalid broker {part!r}; expected ID=URL, such as n1=http://127.0.0.1:8080"
            )
        if node in found:
            raise SettingsError(f"duplicate broker id {node}")
        found[node] = parse_url(url)
    return tuple(found.items())


def parse_urls(text: str) -> tuple[str, ...]:
    """Return the broker URLs of a comma-separated list. Raises SettingsError."""
    return tuple(parse_url(part) for part in text.split(",") if part.strip())


def parse_config(
    pairs: tuple[str, ...], profile: Profile = Profile.LAN
) -> tuple[tuple[str, int], ...]:
    """Return (name, value) of each ``name=value``, for number fields of BrokerConfig.

    They override the values of ``profile``. Raises SettingsError.
    """
    names = {
        field.name
        for field in dataclasses.fields(BrokerConfig)
        if field.name not in _NOT_CONFIGURABLE and field.name != "min_isr"
    }
    found = dict(PROFILES[profile])
    for text in pairs:
        name, _, value = text.partition("=")
        if name not in names:
            known = ", ".join(sorted(names))
            raise SettingsError(f"unknown setting {name!r}; expected one of {known}")
        if not value.isdigit():
            raise SettingsError(f"{name} must be an integer of at least 0, got {value!r}")
        found[name] = int(value)
    return tuple(found.items())
