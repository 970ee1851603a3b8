"""docs/python.md: each sample runs against a cluster, and prints what its comments say."""

from __future__ import annotations

import http.client
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import require
from tests.net.brokers import CLEAN, ROOT
from tests.net.client_commands import one_broker, values

PAGE = (ROOT / "docs" / "python.md").read_text("utf-8")
CODE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SAMPLES = {
    section.splitlines()[0]: "\n".join(CODE.findall(section))
    for section in PAGE.split("\n## ")[1:]
    if CODE.search(section)
}
SHOWN = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)
PATIENCE_S = 60.0
SCRIPTS = ("Script", "Errors", "asyncio", "Compression", "Threads")


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a broker that the samples share."""
    with one_broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.url


def environment(at: str) -> dict[str, str]:
    """Return the environment in which clients find the broker."""
    return {**CLEAN, "PYTHONPATH": str(ROOT), "YAK_BOOTSTRAP_SERVERS": at}


def shown(sample: str) -> list[str]:
    """Return the lines that the comments of a sample announce."""
    return [line for text in SHOWN.findall(sample) for line in text.split(", ")]


def test_each_sample_is_run() -> None:
    """Goal: no sample is forgotten. Method: compare the headings with the tests below."""
    assert list(SAMPLES) == [*SCRIPTS, "Notebook", "FastAPI"]
    assert PAGE.count("```python") == len(SAMPLES)
    assert all(shown(SAMPLES[name]) for name in SAMPLES if name != "FastAPI")


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_sample_runs(name: str, at: str, tmp_path: Path) -> None:
    """Goal: the sample prints what it says, without a warning. Method: run it as a program."""
    (tmp_path / "sample.py").write_text(SAMPLES[name], "utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "sample.py"], cwd=tmp_path, env=environment(at),
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == shown(SAMPLES[name])


def test_the_sample_runs_where_await_is_at_the_top(at: str) -> None:
    """Goal: the cell of a notebook works. Method: compile it as Jupyter does, in a running loop."""
    program = (
        "import ast, asyncio, sys, types\n"
        "text = sys.stdin.read()\n"
        "code = compile(text, 'cell', 'exec', ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)\n"
        "async def run():\n"
        "    await types.FunctionType(code, {})()\n"
        "asyncio.run(run())\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], input=SAMPLES["Notebook"],
        env=environment(at), capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == shown(SAMPLES["Notebook"])


@pytest.mark.long
def test_the_sample_runs_in_a_notebook(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: the cell works in Jupyter itself. Method: run it in a kernel."""
    for name in ("nbclient", "ipykernel"):
        require.module("jupyter", name)
    nbclient: Any = importlib.import_module("nbclient")
    nbformat: Any = importlib.import_module("nbformat")
    for name, text in environment(at).items():
        monkeypatch.setenv(name, text)
    cells = [nbformat.v4.new_code_cell(SAMPLES["Notebook"])]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=60).execute()
    [output] = notebook.cells[0].outputs
    assert output["text"].splitlines() == shown(SAMPLES["Notebook"])


def test_the_sample_runs_in_a_server(at: str, tmp_path: Path) -> None:
    """Goal: a POST becomes a record. Method: the real server, on a free port."""
    require.module("fastapi")
    require.module("fastapi", "uvicorn")
    (tmp_path / "app.py").write_text(SAMPLES["FastAPI"], "utf-8")
    server = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "app:app", "--port", "0"], cwd=tmp_path,
        env=environment(at), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stderr is not None
        lines = iter(server.stderr.readline, "")
        [port] = next(found for line in lines if (found := re.findall(r"127\.0\.0\.1:(\d+)", line)))
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=PATIENCE_S)
        connection.request("POST", "/events", b"an event")
        answer = connection.getresponse()
        offset = json.loads(answer.read())["offset"]
        connection.close()
        assert answer.status == 200
        assert values(at, offset, 1) == [b"an event"]
        server.terminate()
        server.communicate(timeout=PATIENCE_S)
    finally:
        server.kill()
        server.communicate()
