"""A headless Chromium for tests, driven through its DevTools protocol.

Selenium and Playwright need a driver or a browser of their own. The protocol is JSON on a
WebSocket, for which aiohttp is there.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import subprocess
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from tests.require import executable

PATIENCE_S = 40.0


class Page:
    """One page. ``problems`` are errors of its console, ``requests`` the URLs that it asked for."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.problems: list[str] = []
        self.requests: list[str] = []

    async def read(self) -> None:
        """Read answers and events until the browser ends."""
        async for message in self._socket:
            found = message.json()
            waiting = self._waiting.pop(found.get("id", 0), None)
            if waiting is not None and not waiting.done():
                waiting.set_result(found)
            self._on_event(found.get("method", ""), found.get("params", {}))

    def _on_event(self, method: str, values: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.problems.append(str(values["exceptionDetails"]))
        elif method == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"{values['entry']['text']} {values['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning"):
            self.problems.append(str(values["args"]))

    async def call(self, method: str, **values: object) -> dict[str, Any]:
        """Call a method of the protocol; return its result."""
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        await self._socket.send_json({"id": number, "method": method, "params": values})
        async with asyncio.timeout(PATIENCE_S):
            found = await answer
        assert "error" not in found, found
        result: dict[str, Any] = found["result"]
        return result

    async def value(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    async def text(self, selector: str) -> str:
        """Return the text of an element."""
        return str(await self.value(f"document.querySelector({selector!r}).textContent"))

    async def until(self, expression: str, within_s: float = PATIENCE_S) -> None:
        """Wait until an expression is true; AssertionError with the text of the page if not."""
        deadline = time.monotonic() + within_s
        while not await self.value(expression):
            if time.monotonic() > deadline:
                shown = await self.value("document.body.innerText")
                raise AssertionError(f"timeout: {expression}\n{shown}\n{self.problems}")
            await asyncio.sleep(0.05)

    async def key(self, text: str) -> None:
        """Press a key that has a text, such as "p"."""
        await self.call("Input.dispatchKeyEvent", type="keyDown", text=text, key=text)
        await self.call("Input.dispatchKeyEvent", type="keyUp", key=text)

    async def click(self, element: str) -> None:
        """Click in the middle of the element that a JavaScript expression returns."""
        await self.until(f"!!({element})")
        x, y = await self.value(
            f"(() => {{ const one = {element}; one.scrollIntoViewIfNeeded(); "
            "const box = one.getBoundingClientRect(); "
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = "none" if kind == "mouseMoved" else "left"
            await self.call(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=1
            )

    async def open(self, url: str) -> None:
        """Go to a URL."""
        for domain in ("Page", "Network", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def look(self, width: int, height: int, scheme: str = "light") -> None:
        """Set the size of the window, and the colour scheme of the system."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
            mobile=width < 500,
        )  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def screenshot(self, file: Path) -> None:
        """Write a picture of the window."""
        found = await self.call("Page.captureScreenshot", format="png")
        await asyncio.to_thread(file.write_bytes, base64.b64decode(found["data"]))


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Page]:
    """Yield an empty page of a new browser, which has its profile in ``folder``."""
    process = await asyncio.create_subprocess_exec(
        executable("chromium"), "--headless=new", "--no-sandbox", "--disable-gpu",
        "--no-first-run", "--disable-extensions", "--disable-background-networking",
        "--disable-component-update", "--disable-dev-shm-usage", "--no-proxy-server",
        "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank",
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    reading: Awaitable[object] | None = None
    try:
        async with aiohttp.ClientSession() as session:
            url = await _page_url(session, folder / "DevToolsActivePort", process)
            async with session.ws_connect(url, max_msg_size=0) as socket:
                page = Page(socket)
                reading = asyncio.create_task(page.read())
                yield page
                with suppress(TimeoutError):
                    await page.call("Browser.close")
            await asyncio.gather(reading, return_exceptions=True)
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _page_url(session: aiohttp.ClientSession, file: Path, process: Process) -> str:
    """Wait until the browser listens; return the WebSocket of its first page."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        assert process.returncode is None, f"chromium ended with {process.returncode}"
        assert time.monotonic() < deadline, "chromium does not listen"
        if words := await asyncio.to_thread(_words, file):
            async with session.get(f"http://127.0.0.1:{words[0]}/json/list") as answer:
                pages = [one for one in await answer.json() if one["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
        await asyncio.sleep(0.05)


def _words(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []
