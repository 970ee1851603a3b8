"""Properties of Kafka clients and console tools (``NAME=VALUE``), as options of this project.

``-X``, ``--producer-property`` and ``--consumer-property`` set arguments of the clients;
``--property`` is about the form of the records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

import click

from yak_net.client.cli_types import NO_GROUPS

CONSUMER: Final = {
    "client.id": ("client_id", str),
    "fetch.max.bytes": ("fetch_max_bytes", int),
    "fetch.max.wait.ms": ("fetch_max_wait_ms", int),
    "fetch.wait.max.ms": ("fetch_max_wait_ms", int),
    "request.timeout.ms": ("request_timeout_ms", int),
    "retry.backoff.ms": ("retry_backoff_ms", int),
    "default.api.timeout.ms": ("default_api_timeout_ms", int),
}
"""Property of a consumer: (argument of Consumer, its type)."""
PRODUCER: Final = {
    "batch.size": ("max_batch_size", int),
    "buffer.memory": ("buffer_memory", int),
    "client.id": ("client_id", str),
    "compression.codec": ("compression_type", str),
    "compression.level": ("compression_level", int),
    "compression.type": ("compression_type", str),
    "linger.ms": ("linger_ms", int),
    "queue.buffering.max.ms": ("linger_ms", int),
    "request.timeout.ms": ("request_timeout_ms", int),
    "retry.backoff.ms": ("retry_backoff_ms", int),
}
"""Property of a producer: (argument of Producer, its type)."""
INSTEAD: Final = {
    "acks": "use --acks",
    "request.required.acks": "use --acks",
    "auto.offset.reset": "use --offset",
    "bootstrap.servers": "use --bootstrap-servers",
    "compression.gzip.level": "use compression.level",
    "compression.lz4.level": "use compression.level",
    "compression.zstd.level": "use compression.level",
    "delivery.timeout.ms": "use --timeout",
    "message.timeout.ms": "use --timeout",
    "enable.idempotence": "--acks all writes each record at most once",
    "group.id": NO_GROUPS,
    "isolation.level": "YAK has no transactions; only committed records are read",
    "transactional.id": "YAK has no transactions",
    "security.protocol": "YAK has no TLS and no passwords",
}
"""Property without an argument of its own: what to do instead."""
INPUT: Final = ("parse.key", "key.separator", "null.marker")
"""Properties of Kafka's console producer that ``yak produce`` has."""
KNOWN_INPUT: Final = f"known are {', '.join(INPUT)}"
INPUT_INSTEAD: Final = {
    "parse.headers": "use -H NAME=VALUE, which is the same for each record",
    "headers.delimiter": "use -H NAME=VALUE, which is the same for each record",
    "headers.separator": "use -H NAME=VALUE, which is the same for each record",
    "headers.key.separator": "use -H NAME=VALUE, which is the same for each record",
    "ignore.error": "a line without a separator is a value without a key",
}


def arguments(known: Mapping[str, tuple[str, Callable[[str], Any]]]) -> Callable[..., Any]:
    """Return a callback that turns properties into arguments of a client."""

    def parse(
        ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]
    ) -> dict[str, Any]:
        found = {}
        for name, value in properties(ctx, param, texts).items():
            if name not in known:
                reason = INSTEAD.get(name, f"known are {', '.join(known)}")
                _fail(f"no property {name}: {reason}", ctx, param)
            argument, kind = known[name]
            try:
                found[argument] = kind(value)
            except ValueError:
                _fail(f"{name} must be a number, got {value!r}", ctx, param)
        return found

    return parse


def properties(
    ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]
) -> dict[str, str]:
    """Return NAME=VALUE texts as a dictionary. Raises a usage error."""
    return dict(pairs(ctx, param, texts))


def pairs(
    ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]
) -> list[tuple[str, str]]:
    """Return NAME=VALUE texts as pairs, in order. Raises a usage error."""
    found = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            _fail(f"expected NAME=VALUE, got {text!r}", ctx, param)
        found.append((name.strip(), value))
    return found


def input_form(
    ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]
) -> dict[str, str]:
    """Return the properties of Kafka's console producer. Raises a usage error."""
    found = properties(ctx, param, texts)
    for name, value in found.items():
        if name not in INPUT:
            _fail(f"no property {name}: {INPUT_INSTEAD.get(name, KNOWN_INPUT)}", ctx, param)
        if name == "parse.key":
            try:
                is_true(name, value)
            except ValueError as error:
                _fail(str(error), ctx, param)
    return {name: value.lower() if name == "parse.key" else value for name, value in found.items()}


def is_true(name: str, value: str) -> bool:
    """Return the value of a property that is true or false. Raises ValueError."""
    if value.lower() not in ("true", "false"):
        raise ValueError(f"{name} must be true or false, got {value!r}")
    return value.lower() == "true"


def _fail(text: str, ctx: click.Context, param: click.Parameter) -> NoReturn:
    raise click.BadParameter(text, ctx, param)
