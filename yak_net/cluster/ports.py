"""Keeps a port for each broker, also while it is down; must never listen on one.

A bound socket that does not listen gets no connections, so who asks for a broker that is down is
refused at once. With SO_REUSEPORT on both, a broker of the same user can bind the port beside it;
nobody else can.
"""

from __future__ import annotations

import socket
from typing import Final

from yak_net.cluster import CannotStart

HOST: Final = "127.0.0.1"
PORT_MAX: Final = 65_535


def reserve(count: int, base: int = 0) -> list[socket.socket]:
    """Hold ``count`` ports on 127.0.0.1: consecutive ones from ``base`` on, or any free ones.

    The port is each socket's own; closing it gives the port back. Raises CannotStart.
    """
    if base and base + count - 1 > PORT_MAX:
        raise CannotStart(f"{count} ports from {base} on go beyond {PORT_MAX}: give a lower --port")
    if not hasattr(socket, "SO_REUSEPORT"):
        raise CannotStart("this system cannot keep ports for brokers: run yak cluster on Linux")
    held: list[socket.socket] = []
    try:
        for number in range(count):
            held.append(_hold(base + number if base else 0))
    except BaseException:
        for each in held:
            each.close()
        raise
    return held


def port_of(held: socket.socket) -> int:
    """The port that a socket of :func:`reserve` holds."""
    port: int = held.getsockname()[1]
    return port


def _hold(port: int) -> socket.socket:
    try:
        if port:
            _probe(port)
        held = socket.socket()
        try:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind((HOST, port))
        except BaseException:
            held.close()
            raise
    except OSError as error:
        raise CannotStart(
            f"port {port} of {HOST} cannot be had ({error.strerror}): give another --port, or none "
            "to take free ones"
        ) from error
    return held


def _probe(port: int) -> None:
    """Find out that somebody has the port: a socket with SO_REUSEPORT might just join in."""
    with socket.socket() as probe:
        # Connections that ended a moment ago do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port))
        probe.listen(1)
