"""The dashboard in a real browser, while leaders are killed; its headers and its origins.

``YAK_SCREENSHOTS=FOLDER`` keeps pictures of the page.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.browser import Page, browser
from tests.net.chaos import NODES, ChaosCluster, Load
from tests.net.http_tools import WorldGateway, cluster, serving
from tests.net.sse_tools import Events
from yak_net.http.dashboard import FILE
from yak_net.http.hosts import origins_of
from yak_net.metadata.embedded import EmbeddedMetadata

ROOT = Path(__file__).parents[2]
STREAM = "/v1/cluster/stream"
LIVE = "document.body.dataset.live === 'yes'"
SIZES = (("light", 1280, 720), ("dark", 1920, 1080), ("light", 390, 844))
# The least contrast of the texts of a page, and the texts that have less than 4.5.
CONTRAST = """(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => { const [r, g, b] = rgba(colour).slice(0, 3).map((one) => {
    const part = one / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (node) => { for (; node; node = node.parentElement) {
    const colour = getComputedStyle(node).backgroundColor;
    if (rgba(colour)[3] === 255) return colour; }
    return "white"; };
  const poor = []; let least = 21;
  for (const node of document.querySelectorAll("header *, main *")) {
    const own = [...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim());
    if (!own || !node.getClientRects().length || node.closest("svg")) continue;
    const two = [light(getComputedStyle(node).color), light(behind(node))].sort((a, b) => b - a);
    const ratio = (two[0] + 0.05) / (two[1] + 0.05);
    least = Math.min(least, ratio);
    if (ratio < 4.5) poor.push(`${node.textContent} ${ratio}`);
  }
  return { least, poor };
})()"""


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[ChaosCluster]:
    """Yield three running brokers."""
    metadata = EmbeddedMetadata()
    metadata.start()
    found = ChaosCluster(tmp_path, metadata.url)
    try:
        for node in NODES:
            found.start(node)
        yield found
    finally:
        found.close()
        metadata.stop()


async def keep(page: Page, name: str) -> None:
    """Check that the page fits each size, and keep pictures of it if a folder is set."""
    for scheme, width, height in SIZES:
        await page.look(width, height, scheme)
        wide = await page.value("document.documentElement.scrollWidth")
        assert wide <= width, f"{wide} pixels wide in a window of {width}"
        if folder := os.environ.get("YAK_SCREENSHOTS"):
            await asyncio.sleep(0.5)
            await page.screenshot(Path(folder, f"{name}-{scheme}-{width}.png"))


async def moves(page: Page) -> None:
    """Wait until the page is live and its high watermark has moved."""
    await page.until(LIVE)
    before = await page.text("#hw")
    await page.until(f"{LIVE} && document.querySelector('#hw').textContent !== {before!r}")


def failover_is_shown(leader: str, epoch: int) -> str:
    """Return the expression that the timeline has all three times of an election."""
    times = r"/detect [\d,]+ ms.*elect [\d,]+ ms.*first ack [\d,]+ ms/s"
    return (
        f"[...document.querySelectorAll('.election')].some((one) => "
        f"one.textContent.includes('epoch {epoch}: {leader} leads') && "
        f"{times}.test(one.textContent))"
    )


@pytest.mark.long
async def test_a_page_outlives_its_broker(brokers: ChaosCluster, tmp_path: Path) -> None:
    """Goal: the page shows each failover, also that of the broker which it was loaded from.

    Method: a producer; kill the leader of the page, start it again, kill the next leader.
    """
    await brokers.wait_until_in_sync()
    leader = await brokers.wait_for_leader()
    load = Load(brokers.servers, 100)
    await load.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(load.stop)
        page = await stack.enter_async_context(browser(tmp_path / "browser"))
        await page.open(brokers.urls[leader] + "/")
        await moves(page)
        assert await page.text("#leader") == leader
        await page.until("document.querySelector('#health').dataset.state === 'ok'")
        assert await page.value("document.querySelectorAll('.replica').length") == 3
        await is_usable(page)
        await keep(page, "before")
        assert page.problems == []

        first = leader
        for turn in range(2):
            epoch = int(await page.text("#epoch"))
            page.problems.clear()
            brokers.kill(leader)
            if turn == 0:
                await page.until("document.body.dataset.live === 'no'", 5)
                stale = "document.querySelector('#stale').textContent"
                await page.until(f"/stale: connection to {leader} lost/.test({stale})", 5)
                await page.until(LIVE)
            await page.until(f"Number(document.querySelector('#epoch').textContent) > {epoch}")
            await keep(page, f"during-{turn}")
            new = await page.text("#leader")
            assert new not in (leader, "none")
            await page.until("document.querySelector('#isr').textContent.split(' ').length === 2")
            await page.until(failover_is_shown(new, int(await page.text("#epoch"))))
            await moves(page)
            down = f"[data-node={leader}] .role"
            await page.until(f"/down.*seen/.test(document.querySelector('{down}').textContent)")
            await page.until("document.querySelector('#health').dataset.state === 'warn'")
            advice = "document.querySelector('#advice').textContent"
            await page.until(f"{advice}.includes('yak cluster restart {leader}')")
            source = await page.text("#source")
            assert source.startswith(f"● connection to {first} lost, now reading from ")
            await keep(page, f"after-{turn}")
            # The browser reports the streams of dead brokers; nothing else.
            ended = (
                "ERR_INCOMPLETE_CHUNKED_ENCODING",
                "ERR_CONNECTION_REFUSED",
                "ERR_CONNECTION_RESET",
            )
            assert [one for one in page.problems if not any(kind in one for kind in ended)] == []
            brokers.start(leader)
            await page.until("document.querySelector('#isr').textContent.split(' ').length === 3")
            leader = new
            if source.endswith(f"from {leader}"):
                first = leader
        assert {urlsplit(one).netloc for one in page.requests} <= {
            urlsplit(one).netloc for one in brokers.urls.values()
        }


async def is_usable(page: Page) -> None:
    """Check names of controls, contrast in both themes, pause, help, and the switch of themes."""
    unnamed = "[...document.querySelectorAll('button, section, dialog')].filter((one) => !("
    unnamed += "one.textContent.trim() || one.ariaLabel)).length"
    assert await page.value(unnamed) == 0
    assert await page.value("document.querySelector('[aria-live=polite]') !== null")
    for scheme in ("light", "dark"):
        await page.look(1280, 720, scheme)
        found = await page.value(CONTRAST)
        assert found["poor"] == []
        assert 4.5 <= found["least"] < 21
    theme = "document.documentElement.dataset.theme"
    await page.key("t")
    assert await page.value(theme) == "light"
    await page.key("t")
    await page.key("t")
    assert await page.value(f"{theme} ?? ''") == ""
    await page.key("p")
    assert not await page.value(LIVE)
    shown = await page.text("#hw")
    await page.until("/paused: these numbers are 0\\.[5-9]|[1-9]/.test("
                     "document.querySelector('#stale').textContent)")  # fmt: skip
    assert await page.text("#hw") == shown
    await page.key("p")
    await page.until(f"{LIVE} && document.querySelector('#hw').textContent !== {shown!r}")
    await page.key("?")
    await page.until("document.querySelector('#keys').open")
    await page.value("document.querySelector('#keys').close()")


async def test_a_browser_gets_the_page_and_curl_the_list() -> None:
    """Goal: the page is whole, allows nothing else by its policy, and cannot be broken by names."""
    gateway = WorldGateway(cluster())
    gateway.cluster = "a</script><script>b"
    gateway.peers = {"n2": "http://n2.internal:1", "n3": "http://n3.internal:1"}
    async with serving(gateway) as client:
        listed = await client.get("/", headers={"Accept": "*/*"})
        assert listed.content_type == "text/plain"
        answer = await client.get("/", headers={"Accept": "text/html,*/*;q=0.8"})
        text = await answer.text()
        assert answer.content_type == "text/html"
        assert answer.headers["Vary"] == listed.headers["Vary"] == "Accept"
        assert text.count("<script") == 2
        assert "{{" not in text
        assert "a\\u003c/script>" in text
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none';")
        assert "unsafe" not in policy
        allowed = policy.partition("connect-src ")[2].split()
        assert allowed == ["'self'", *(f"http://{node}.invalid:8080" for node in NODES)]


def test_each_advice_of_the_page_is_in_the_runbook() -> None:
    """Method: each section that the page names is a heading of docs/runbook.md."""
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    headings = {
        re.sub(r"[^\w-]", "", title.lower().replace(" ", "-"))
        for title in re.findall(r"^#+ (.*)$", runbook, re.MULTILINE)
    }
    named = re.findall(r'/,\s*"([a-z-]+)",', FILE.read_text())
    assert len(named) == 11
    assert set(named) <= headings


def test_origins_of_addresses() -> None:
    """Method: default ports, loopback names, and addresses of version 6."""
    assert origins_of(["http://A.example/", "https://b:443", "http://[fd00::1]:80/x"]) == {
        *("http://a.example", "https://b", "http://[fd00::1]")
    }
    assert origins_of(["http://localhost:8080"]) == {
        *("http://localhost:8080", "http://127.0.0.1:8080")
    }


async def test_only_pages_of_the_cluster_may_read_the_stream(brokers: ChaosCluster) -> None:
    """Goal: a page of another broker reads the stream and nothing else; other pages nothing."""
    await brokers.wait_until_in_sync()
    one, other = brokers.urls["n1"], brokers.urls["n2"]
    async with aiohttp.ClientSession() as session:
        for origin in (other, other.replace("127.0.0.1", "localhost")):
            answer = await session.get(one + STREAM, headers={"Origin": origin})
            async with Events(answer) as events:
                assert answer.status == 200
                assert answer.headers["Access-Control-Allow-Origin"] == origin
                assert answer.headers["Vary"] == "Origin"
                await events.take(1)
        foreign = (
            "http://127.0.0.1:1",
            "https" + other[4:],
            "null",
            "http://evil.example",
            other + "0",
        )
        refused = [(STREAM, origin) for origin in foreign]
        refused += [(path, other) for path in ("/v1/cluster", "/v1/records", "/", "/metrics")]
        for path, origin in refused:
            async with session.get(one + path, headers={"Origin": origin}) as answer:
                assert answer.status == 403, (path, origin)
                assert "Access-Control-Allow-Origin" not in answer.headers
        async with session.post(one + STREAM, headers={"Origin": other}) as answer:
            assert answer.status == 403
