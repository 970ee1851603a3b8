"""Frames for a slow reader: in order, bounded, dropped with the link."""

from __future__ import annotations

import asyncio

import pytest

from tests.net.client_tools import run_ready
from yak_net.runtime.outbox import Outbox


class Reader:
    """Takes one frame for each permit."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.let = asyncio.Semaphore(0)
        self.broken = False

    async def send_bytes(self, data: bytes) -> None:
        await self.let.acquire()
        if self.broken:
            raise ConnectionResetError
        self.taken.append(data)

    async def close(self) -> None:
        self.broken = True


async def test_frames_go_in_order_and_are_bounded() -> None:
    """Goal: a full outbox refuses frames until one is written; the order is kept."""

    outbox, reader = Outbox(bytes_max=10), Reader()
    running = asyncio.create_task(outbox.run(reader))
    assert [outbox.put(word * 4) for word in (b"a", b"b", b"c")] == [True, True, False]
    await run_ready(10)
    assert not outbox.put(b"cccc"), "the first frame is still waiting"
    reader.let.release()
    await run_ready(10)
    assert reader.taken == [b"aaaa"]
    assert outbox.put(b"dddd")
    for _ in range(2):
        reader.let.release()
    await run_ready(10)
    assert reader.taken == [b"aaaa", b"bbbb", b"dddd"]
    assert outbox.size == 0
    outbox.close()
    await running
    assert not outbox.put(b"e")


async def test_frame_larger_than_the_bound_is_sent_alone() -> None:
    """Goal: a large message is sent too."""

    outbox, reader = Outbox(bytes_max=10), Reader()
    running = asyncio.create_task(outbox.run(reader))
    assert outbox.put(b"x" * 100)
    assert not outbox.put(b"y")
    reader.let.release()
    await run_ready(10)
    assert outbox.put(b"y")
    outbox.close()
    await running


async def test_a_broken_link_closes_it() -> None:
    """Goal: an exception of the link is raised, and no further frame is accepted."""

    outbox, reader = Outbox(), Reader()
    reader.broken = True
    reader.let.release()
    outbox.put(b"a")
    outbox.put(b"b")
    with pytest.raises(ConnectionResetError):
        await outbox.run(reader)
    assert not outbox.put(b"c")
    assert outbox.size == 0


async def test_closed_outbox_keeps_the_frames_that_were_not_sent() -> None:
    """Goal: a frame in a partial write is not among them. Method: close in the second frame."""

    outbox, reader = Outbox(keep_unsent=True), Reader()
    frames = [b"a", b"bb", b"ccc", b"dddd"]
    assert all(outbox.put(frame) for frame in frames)
    running = asyncio.create_task(outbox.run(reader))
    reader.let.release()
    await run_ready(10)
    assert reader.taken == frames[:1]
    outbox.close()
    assert outbox.unsent == frames[2:]
    assert not outbox.put(b"late")
    reader.let.release()
    await running
    assert outbox.unsent == frames[2:]


async def test_idle_outbox_sends_at_once() -> None:
    """Goal: no turn of the loop between put() and the socket, and nothing is counted as unsent."""
    outbox, reader = Outbox(bytes_max=10), Reader()
    running = asyncio.create_task(outbox.run(reader))
    await run_ready(2)
    for _ in range(3):
        reader.let.release()
    assert all(outbox.put(frame) for frame in (b"a", b"bb", b"ccc"))
    assert reader.taken == [b"a", b"bb", b"ccc"]
    assert outbox.size == 0
    outbox.close()
    await running


async def test_frame_that_must_wait_is_continued_in_order() -> None:
    """Goal: a frame that put() could only begin is sent once, before later ones, and counts."""
    outbox, reader = Outbox(bytes_max=10, keep_unsent=True), Reader()
    running = asyncio.create_task(outbox.run(reader))
    await run_ready(2)
    assert outbox.put(b"aaaa")
    assert outbox.put(b"bbbb")
    assert not outbox.put(b"cccc")
    assert (reader.taken, outbox.size) == ([], 8)
    reader.let.release()
    await run_ready(10)
    assert (reader.taken, outbox.size) == ([b"aaaa"], 4)
    reader.let.release()
    await run_ready(10)
    assert (reader.taken, outbox.size) == ([b"aaaa", b"bbbb"], 0)
    reader.let.release()
    assert outbox.put(b"d")
    assert reader.taken[-1] == b"d"
    outbox.put(b"ee")
    outbox.put(b"ff")
    outbox.close()
    await running
    assert (outbox.unsent, outbox.size) == ([b"ff"], 0)


async def test_link_that_broke_while_idle_ends_the_run() -> None:
    """Goal: put() within a step raises nothing; run() raises the error of the link."""
    outbox, reader = Outbox(keep_unsent=True), Reader()
    running = asyncio.create_task(outbox.run(reader))
    await run_ready(2)
    reader.broken = True
    reader.let.release()
    assert outbox.put(b"a")
    assert outbox.put(b"b")
    with pytest.raises(ConnectionResetError):
        await running
    assert outbox.unsent == [b"b"], "a may have left in part, b has not"
    assert not outbox.put(b"c")
    assert outbox.size == 0


async def test_run_that_is_cancelled_in_a_begun_frame_closes_the_outbox() -> None:
    """Goal: a cancelled task leaves no half-run coroutine behind."""
    outbox, reader = Outbox(), Reader()
    running = asyncio.create_task(outbox.run(reader))
    await run_ready(2)
    assert outbox.put(b"a")
    await run_ready(2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not outbox.put(b"b")
    assert reader.taken == []
