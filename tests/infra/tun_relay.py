"""Route IP packets between TUN devices, with a delay and a loss on each link.

``python tun_relay.py SEED DEVICE=ADDRESS,DELAY_MS,LOSS ...`` makes the devices, prints ``ready``,
and routes until its standard input ends. Each packet waits for the delay of the links that it
leaves and enters, and is lost with the probability of each; the draws are those of the seed. Then
the devices may be moved to network namespaces. Lines of the input: ``down DEVICE``, ``up DEVICE``.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
PACKET_BYTES = 65_536


@dataclass
class Link:
    """The device of one machine: its descriptor, its one-way delay in seconds and its loss."""

    fd: int
    delay_s: float
    loss: float
    up: bool = True


class Relay:
    """Routes by destination address; packets to other addresses are dropped."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.by_device: dict[str, Link] = {}
        self.by_address: dict[bytes, Link] = {}

    def add(self, device: str, address: str, delay_s: float, loss: float) -> None:
        """Make a TUN device and serve it."""
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH", device.encode(), IFF_TUN | IFF_NO_PI))
        link = Link(fd, delay_s, loss)
        self.by_device[device] = self.by_address[socket.inet_aton(address)] = link
        asyncio.get_running_loop().add_reader(fd, self._on_readable, link)

    def _on_readable(self, source: Link) -> None:
        with suppress(OSError):  # nothing left to read, or the device is not up yet
            while packet := os.read(source.fd, PACKET_BYTES):
                target = self.by_address.get(packet[16:20]) if packet[0] >> 4 == 4 else None
                if target is None or not (source.up and target.up):
                    continue
                if any(self.random.random() < link.loss for link in (source, target)):
                    continue
                loop = asyncio.get_running_loop()
                delay_s = source.delay_s + target.delay_s
                loop.call_later(delay_s, self._write, target, packet)

    def _write(self, target: Link, packet: bytes) -> None:
        with suppress(OSError):  # the queue of the device is full: the packet is lost
            if target.up:
                os.write(target.fd, packet)


async def main(seed: int, links: list[str]) -> None:
    """Serve until the standard input ends."""
    relay = Relay(seed)
    for text in links:
        device, _, rest = text.partition("=")
        address, delay_ms, loss = rest.split(",")
        relay.add(device, address, float(delay_ms) / 1000, float(loss))
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        word, device = line.split()
        relay.by_device[device].up = word == "up"
        print(line, end="", flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
