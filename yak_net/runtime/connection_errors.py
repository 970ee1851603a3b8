"""Texts for failures to listen on an address or to connect to one: the cause, and what to do."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import Final

import aiohttp

_LISTEN_ADVICE: Final = {
    errno.EADDRINUSE: "stop the process that uses the port, or choose another port with --listen",
    errno.EADDRNOTAVAIL: "give an address of this machine with --listen or --host (YAK_HOST)",
    errno.EACCES: "choose a port from 1024 up with --listen or --port (YAK_PORT)",
}
_UNRESOLVED: Final = "cannot resolve the host name"


def listen_error(error: OSError, host: str, port: int) -> str:
    """Return why a broker cannot listen on ``host`` and ``port``, and what to do."""
    if isinstance(error, socket.gaierror):
        reason, advice = _UNRESOLVED, _LISTEN_ADVICE[errno.EADDRNOTAVAIL]
    else:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        advice = _LISTEN_ADVICE.get(error.errno or 0, "choose another address with --listen")
    shown = f"[{host}]" if ":" in host else host
    return f"cannot listen on {shown}:{port}: {reason}; {advice}"


def connection_error(error: BaseException) -> str:
    """Return why a connection to a broker failed, without its address."""
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return f"not a YAK broker, or not of this cluster: HTTP status {error.status}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return f"TLS failed: {error}"
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, socket.gaierror):
        return _UNRESOLVED
    if isinstance(cause, TimeoutError | aiohttp.ServerTimeoutError):
        return "no response before the timeout"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed: {cause.reason or cause}"
    if isinstance(cause, OSError) and cause.errno and cause.errno > 0:
        return os.strerror(cause.errno).lower()
    return str(cause) or type(cause).__name__
