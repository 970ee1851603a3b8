"""The programs of Jupyter, started with the settings of a lesson: JupyterLab, and slides."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path
from typing import Any, Final, NoReturn

from yak_sim.run.whole_file import write_whole

MODULES: Final = ("jupyterlab", "ipykernel", "nbconvert")
"""What the extra ``lab`` installs, as far as it is used here."""

SETTINGS: Final = (
    "--log-level=WARN",
    # Ctrl-C ends the server without a question.
    "--ServerApp.answer_yes=True",
)

# The title of a lesson with its table, and a line of a narrative, fit into this size.
REVEAL: Final = ("width=1280", "height=1060", "scroll=True", "number=c/t")
"""Settings of the slides."""

CONFIG: Final = Path(__file__).with_name("jupyter_config")
"""Settings of the page: no question about news in front of a lesson, no request for updates."""


class ExtraMissing(RuntimeError):
    """JupyterLab is not installed; the message names the extra."""


class SlidesFailed(RuntimeError):
    """nbconvert failed; the message has the end of its output."""


def require_extra() -> None:
    """Raise ExtraMissing if a module of the extra ``lab`` is missing."""
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise ExtraMissing(
            f"the lessons open in JupyterLab, and {', '.join(missing)} is not installed; run "
            "./yak lab in a checkout, or pip install 'yak-log[lab]'"
        )


def lab_command(
    folder: Path, notebook: Path | None, *, browser: bool, port: int | None
) -> list[str]:
    """Return the command that opens a folder, or a notebook in it, in JupyterLab."""
    page = "/lab" if notebook is None else f"/lab/tree/{notebook.name}"
    words = [sys.executable, "-P", "-m", "jupyterlab", *SETTINGS]
    words += [f"--ServerApp.root_dir={folder.resolve()}", f"--LabApp.default_url={page}"]
    if not browser:
        words.append("--no-browser")
    if port is not None:
        # The port that was asked for, or an error: not the next free one.
        words += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    if os.geteuid() == 0:
        # JupyterLab refuses root otherwise; it listens on loopback, and its URL has a token.
        words.append("--allow-root")
    return words


def open_lab(command: list[str]) -> NoReturn:
    """Replace this process by JupyterLab, whose kernel is the Python of this process."""
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # not a kernel of the same name in the home folder
    paths = (str(CONFIG), os.environ.get("JUPYTER_CONFIG_PATH", ""))
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, paths))
    os.execv(command[0], command)


def as_slides(notebook: dict[str, Any]) -> dict[str, Any]:
    """Return a notebook in which a section is a column of slides: its text, then its code cells.

    Cells with a slide type of their own keep it. A picture with a description becomes HTML, because
    nbconvert omits the description of a picture.
    """
    for cell in notebook["cells"]:
        heading = cell["cell_type"] == "markdown" and "".join(cell["source"]).startswith("#")
        kind = {"slide_type": "slide" if heading else "subslide"}
        cell["metadata"].setdefault("slideshow", kind)
        for output in cell.get("outputs", ()):
            alt = output.get("metadata", {}).get("image/png", {}).get("alt")
            if alt:
                png = "".join(output["data"].pop("image/png")).replace("\n", "")
                source = f"data:image/png;base64,{png}"
                output["data"]["text/html"] = f'<img alt="{escape(alt)}" src="{source}">'
    return notebook


def write_slides(notebook: Path) -> Path:
    """Write the slides of a notebook beside it, as HTML; return the file. Raise SlidesFailed.

    The file loads reveal.js from the internet when it is opened.
    """
    target = notebook.with_suffix(".slides.html")
    with tempfile.TemporaryDirectory(prefix="yak-slides-") as folder:
        prepared = Path(folder, notebook.name)
        slides = as_slides(json.loads(notebook.read_text(encoding="utf-8")))
        prepared.write_text(json.dumps(slides), encoding="utf-8")
        options = [f"--SlidesExporter.reveal_{each}" for each in REVEAL]
        done = subprocess.run(
            [sys.executable, "-P", "-m", "nbconvert", "--to", "slides", *options, str(prepared)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        made = prepared.with_suffix(".slides.html")
        if done.returncode != 0 or not made.is_file():
            last = (done.stderr.strip() or "no output").splitlines()[-1]
            raise SlidesFailed(f"nbconvert ended with exit code {done.returncode}: {last}")
        write_whole(target, made.read_bytes())
    return target
