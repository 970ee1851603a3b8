"""Errors of a Redis server, described with advice and without passwords."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Final

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from yak_net.metadata.redis_address import RedisAddress
from yak_net.metadata.redis_pools import NoPrimary

SERVER_TEXT_MAX: Final = 200

_ADVICE_BY_CLASS: Final[tuple[tuple[tuple[type[Exception], ...], str], ...]] = (
    ((BusyLoadingError,), "is still loading its data; wait until it is ready"),
    (
        (AuthenticationError, AuthorizationError, NoPermissionError),
        "denied access; check the user and the password in the URL, and the server's ACL",
    ),
    ((ReadOnlyError, MasterDownError), "is a replica; use the URL of the primary"),
    ((OutOfMemoryError,), "is out of memory; raise its maxmemory, or delete other data in it"),
    (
        (ClusterError, MovedError),
        "is a Redis Cluster without YAK's keys on this node; use a primary outside a cluster",
    ),
    ((NoPrimary,), "is not known; check the Sentinels, their login, and the service in the URL"),
    ((RedisConnectionError, OSError), "cannot be reached; start it, or check the URL"),
)
_ADVICE_BY_CODE: Final = {
    "MISCONF": "cannot write to its disk; free disk space, and read its log",
    "BUSY": "is blocked by a long-running script; stop the script with SCRIPT KILL",
    "WRONGTYPE": "has other data in YAK's keys; use another cluster name or database",
}
_OTHER: Final = "cannot run scripts; check that it is Redis 5 or newer, and read its log"

_CLOSED: Final = ("closed by server", "reset by peer", "Connection lost")
"""Texts of a connection that the server has closed, for example because of TLS."""

_TLS_ADVICE: Final = (
    ("CERTIFICATE_REQUIRED", "requires a client certificate; give ssl_certfile and ssl_keyfile"),
    ("HANDSHAKE_FAILURE", "refused the TLS handshake; give ssl_certfile, and read its log"),
    ("UNKNOWN_CA", "does not accept the client certificate; use one of a CA that it knows"),
    ("WRONG_VERSION_NUMBER", "does not use TLS on this port; use redis://, or its TLS port"),
    ("RECORD_LAYER_FAILURE", "does not use TLS on this port; use redis://, or its TLS port"),
)
"""Part of the reason of an SSLError -> what the server is, and what to do."""


def describe(address: RedisAddress, error: BaseException) -> str:
    """Return a text about ``error`` with advice; passwords in it are replaced by ``***``."""
    tls = next((each for each in _causes(error) if isinstance(each, ssl.SSLError)), None)
    while isinstance(error.__cause__, RedisError):
        error = error.__cause__  # redis-py wraps errors that occur while it connects.
    text = str(error) or type(error).__name__
    if isinstance(tls, ssl.SSLCertVerificationError):
        text = tls.verify_message
    elif tls is not None:
        text = tls.reason or str(tls)
    for secret in address.secrets:
        text = text.replace(secret, "***")
    text = " ".join(text.split())[:SERVER_TEXT_MAX].rstrip(".")
    return f"Redis at {address.name} {_advice(address, error, text, tls)} (error: {text})"


def _advice(
    address: RedisAddress, error: BaseException, text: str, tls: ssl.SSLError | None
) -> str:
    if isinstance(tls, ssl.SSLCertVerificationError):
        return (
            "has a TLS certificate that is not accepted; give the CA with ssl_ca_certs, or use the "
            "host name of the certificate"
        )
    if tls is not None:
        found = [advice for part, advice in _TLS_ADVICE if part in text.upper().replace(" ", "_")]
        return found[0] if found else "cannot be reached with TLS; check both TLS settings"
    if any(each in text for each in _CLOSED):
        check = "the URL: rediss:// if it requires TLS"
        if address.tls is not None:
            check = "ssl_certfile and ssl_keyfile, and read its log"
        return f"cannot be reached; start it, or check {check}"
    code = text.partition(" ")[0]
    if code in _ADVICE_BY_CODE:
        return _ADVICE_BY_CODE[code]
    for kinds, advice in _ADVICE_BY_CLASS:
        if isinstance(error, kinds):
            return advice
    return _OTHER


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that caused it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
