"""A real JupyterLab, started by ``yak lab``, and what a student does in its page."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from tests import require
from tests.browser import Page
from tests.notebooks.lessons import code_cells

PATIENCE_S: Final = 60.0
RUN_ALL: Final = "document.querySelector('[data-command=\"notebook:restart-run-all\"]')"
ACCEPT: Final = "document.querySelector('.jp-Dialog .jp-mod-accept')"
SAVE: Final = "document.querySelector('[data-command=\"docmanager:save\"]')"
PROMPTS: Final = "[...document.querySelectorAll('.jp-InputPrompt')].map(e => e.textContent)"
FIGURES: Final = "[...document.querySelectorAll('.jp-OutputArea img')].map(e => e.naturalWidth)"


@contextmanager
def lab(folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """Yield a running ``yak lab`` and what it says about itself; its files are in ``folder``."""
    require.module("jupyterlab")
    names = ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR", "HOME")
    own = {name: str(folder / "home" / name.lower()) for name in names}
    with (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "yak_cli", "lab", *words, "--no-browser"],
            cwd=folder, env={**os.environ, **own}, stdin=subprocess.DEVNULL, stderr=stderr,
        )  # fmt: skip
    try:
        yield process, _info(process, Path(own["JUPYTER_RUNTIME_DIR"]))
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE_S)
        finally:
            process.kill()
            process.wait()


def _info(process: subprocess.Popen[bytes], folder: Path) -> dict[str, Any]:
    """Wait until the server has written its file; return it."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for file in folder.glob(f"jpserver-{process.pid}.json"):
            if text := file.read_text(encoding="utf-8"):
                found: dict[str, Any] = json.loads(text)
                return found
        with suppress(subprocess.TimeoutExpired):
            raise AssertionError(f"yak lab ended with {process.wait(0.05)}")
    raise AssertionError("JupyterLab does not listen")


def without_outputs(path: Path) -> dict[str, Any]:
    """Return a notebook as before its first run."""
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for cell in code_cells(notebook):
        cell["outputs"], cell["execution_count"] = [], None
    return notebook


async def run_all(page: Page, info: dict[str, Any], cells: int) -> None:
    """Open the page that ``yak lab`` opens, restart the kernel, run all cells, and save."""
    await page.look(1300, 3000)
    await page.open(f"{info['url']}?token={info['token']}")
    await page.until("document.querySelectorAll('.jp-Notebook .jp-Cell').length > 10")
    await page.until("document.querySelector('[data-status=idle]') !== null")  # of the kernel
    assert await page.value("document.querySelector('.jp-Dialog, .Toastify__toast') === null")
    done = f"{PROMPTS}.includes('[{cells}]:')"
    deadline = time.monotonic() + PATIENCE_S
    while not await page.value(done):
        assert time.monotonic() < deadline, await page.value("document.body.innerText")
        # A page that lost its connection to a starting kernel drops what it was to run.
        await page.click(RUN_ALL)
        await page.click(ACCEPT)
        with suppress(AssertionError):
            await page.until(done, within_s=20)
    await page.click(SAVE)


async def saved(path: Path, cells: int) -> dict[str, Any]:
    """Wait until the notebook is saved with all outputs; return it."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        # While the server writes the file, it is not JSON.
        with suppress(json.JSONDecodeError):
            notebook: dict[str, Any] = json.loads(await asyncio.to_thread(path.read_text, "utf-8"))
            counts = [cell["execution_count"] for cell in code_cells(notebook)]
            if counts == list(range(1, cells + 1)):
                return notebook
        assert time.monotonic() < deadline, "the notebook was not saved"
        await asyncio.sleep(0.05)
