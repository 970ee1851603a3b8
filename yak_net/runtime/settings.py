"""What a broker process is told, by options or by the environment; must never open anything.

The seed's seven variables are enough: ``YAK_ROLE``, ``YAK_NODE_ID``, ``YAK_HOST``, ``YAK_PORT``,
``YAK_FOLLOWERS``, ``YAK_REDIS_URL``, ``YAK_DATA_DIR``. The role says who creates the cluster, and
so who stands first; afterwards roles are elected.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from yak_core.config import BrokerConfig, check_config, flush_mode
from yak_core.ids import NodeId

PORT: Final = 8080
HOST: Final = "127.0.0.1"
CLUSTER: Final = "yak"

_NODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CLUSTER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NOT_SET: Final = ("replicas", "creates", "url", "flush")
"""Fields of the configuration that have an option of their own, or follow from the others."""


class Role(StrEnum):
    """What a broker is told to be at first; later, roles are elected."""

    LEADER = "leader"
    FOLLOWER = "follower"


class SettingsError(ValueError):
    """One sentence about what cannot be used, and what can."""


@dataclass(frozen=True)
class BrokerSettings:
    """All of it, checked. ``brokers`` are (id, url), empty in the seed's way of starting.

    ``followers`` are the URLs that a leader of the seed's way finds its followers at. ``config``
    are values for fields of :class:`yak_core.config.BrokerConfig`.
    """

    node_id: NodeId
    host: str = HOST
    port: int = PORT
    advertised_url: str = ""
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
    reuse_port: bool = False
    lifeline: int | None = None

    @property
    def knows_replicas(self) -> bool:
        """Whether the brokers of the cluster are known from the start."""
        return bool(self.brokers) or not (self.followers or self.role is Role.FOLLOWER)

    @property
    def creates(self) -> bool:
        """Whether this broker may create the cluster's record."""
        return self.role is not Role.FOLLOWER

    def url_at(self, port: int) -> str:
        """Where others reach this broker once it listens at ``port``."""
        if self.advertised_url:
            return self.advertised_url
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{port}"

    def broker_config(self, url: str, replicas: tuple[NodeId, ...]) -> BrokerConfig:
        """What the node is started with. Raises SettingsError when it cannot run with it."""
        min_isr = min(2, len(replicas)) if self.min_isr is None else self.min_isr
        if min_isr > len(replicas):
            raise SettingsError(
                f"min-isr is {min_isr}, and there are only {len(replicas)} brokers: "
                "nothing could ever be confirmed"
            )
        config = BrokerConfig(
            replicas,
            min_isr=min_isr,
            flush=flush_mode(self.flush),
            creates=self.creates,
            url=url,
            **dict(self.config),
        )
        try:
            check_config(self.node_id, config)
        except ValueError as error:
            raise SettingsError(str(error)) from error
        return config


def check(settings: BrokerSettings) -> BrokerSettings:
    """The settings, if a broker can be started with them. Raises SettingsError."""
    if not _NODE.fullmatch(settings.node_id):
        raise SettingsError(
            f"a node id is letters, digits, dots, dashes: n1, not {settings.node_id!r}"
        )
    if not _CLUSTER.fullmatch(settings.cluster):
        raise SettingsError(
            f"a cluster's name is letters, digits, dots, dashes: yak, not {settings.cluster!r}"
        )
    ids = [node for node, _ in settings.brokers]
    if ids and settings.node_id not in ids:
        raise SettingsError(
            f"{settings.node_id} is not among the brokers {', '.join(ids)}: add it, with its URL"
        )
    if ids and settings.followers:
        raise SettingsError("give either all brokers or the followers of a leader, not both")
    if settings.followers and settings.role is Role.FOLLOWER:
        raise SettingsError("a follower has no followers: only the leader is given their URLs")
    wildcard = settings.host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
    if not is_loopback(settings.host) and not settings.insecure:
        raise SettingsError(
            f"{settings.host} can be reached from other machines, and nothing is encrypted or asks "
            "for a password: listen on 127.0.0.1, or say --insecure where the network is yours"
        )
    if wildcard and not settings.advertised_url:
        raise SettingsError(
            f"others cannot reach this broker at {settings.host}: give --advertised-url"
        )
    replicas = tuple(sorted(ids)) or (settings.node_id,)
    if settings.knows_replicas:
        settings.broker_config(settings.url_at(settings.port), replicas)
    return settings


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_url(word: str) -> str:
    """A broker's URL: ``http://host:port``, or ``host:port`` for short."""
    text = word.strip()
    if "://" not in text:
        text = f"http://{text}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise SettingsError(f"{word!r} is no address of a broker: {error}") from error
    plain = parts.path in ("", "/") and not parts.query
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise SettingsError(f"{word!r} is no address of a broker; one is http://127.0.0.1:8080")
    text = text.removesuffix("/")
    return text if port is not None else f"{text}:{PORT}"


def parse_listen(word: str) -> tuple[str, int]:
    """``host:port``, ``[v6]:port``, or ``:port``; port 0 takes a free one."""
    host, colon, digits = word.rpartition(":")
    if not colon or not digits.isdigit() or int(digits) > 65535:
        raise SettingsError(f"{word!r} is no address to listen on; one is {HOST}:{PORT}")
    return (host.strip("[]") or HOST, int(digits))


def parse_brokers(word: str) -> tuple[tuple[NodeId, str], ...]:
    """``n1=URL,n2=URL``: all brokers of the cluster."""
    found: dict[NodeId, str] = {}
    for part in filter(None, (part.strip() for part in word.split(","))):
        node, equals, url = part.partition("=")
        if not equals or not _NODE.fullmatch(node):
            raise SettingsError(f"{part!r} is not of the form n1=http://127.0.0.1:8080")
        if node in found:
            raise SettingsError(f"{node} is named twice among the brokers")
        found[node] = parse_url(url)
    return tuple(found.items())


def parse_urls(word: str) -> tuple[str, ...]:
    """URLs with commas between."""
    return tuple(parse_url(part) for part in word.split(",") if part.strip())


def parse_config(words: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """``name=value`` pairs for numbers of the broker's configuration."""
    names = {
        field.name
        for field in dataclasses.fields(BrokerConfig)
        if field.name not in _NOT_SET and field.name != "min_isr"
    }
    found: dict[str, int] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in names:
            known = ", ".join(sorted(names))
            raise SettingsError(f"there is no setting {name!r}; there are {known}")
        if not value.isdigit():
            raise SettingsError(f"{name} is a whole number, not {value!r}")
        found[name] = int(value)
    return tuple(found.items())
