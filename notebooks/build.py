"""Makes each lesson's notebook from its script by running it in a Jupyter kernel.

Must never keep anything in a notebook that changes from one build to the next: with the same
matplotlib a second build gives the same bytes. It needs what ``pip install yak[notebook]`` brings.

    python notebooks/build.py            # make all notebooks
    python notebooks/build.py --check    # only say which are not what a build would give: exit 1
"""

from __future__ import annotations

import base64
import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

HERE = Path(__file__).parent
TIMEOUT_S = 120


def lessons() -> list[Path]:
    """The scripts of the lessons, in order."""
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


def build(lesson: Path) -> dict[str, Any]:
    """The notebook of a lesson, run in a kernel. CalledProcessError if a cell raises."""
    with tempfile.TemporaryDirectory(prefix="yak-lesson-") as folder:
        path = Path(folder, f"{lesson.stem}.ipynb")
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
            # Nothing of this user's settings goes in, and nothing is left in their home folder.
            "IPYTHONDIR": folder,
            "JUPYTER_CONFIG_DIR": folder,
            "JUPYTER_DATA_DIR": folder,
            "JUPYTER_PATH": "",
            "JUPYTER_RUNTIME_DIR": folder,
            "MPLBACKEND": "Agg",
        }
        commands: tuple[list[str | Path], ...] = (
            ["jupytext", "--quiet", "--to", "ipynb", "--output", path, lesson],
            ["jupyter", "execute", "--inplace", f"--timeout={TIMEOUT_S}", path],
        )
        for words in commands:
            subprocess.run(
                [sys.executable, "-m", *words], env=environment, check=True, capture_output=True
            )
        return settled(json.loads(path.read_text(encoding="utf-8")))


def settled(notebook: dict[str, Any]) -> dict[str, Any]:
    """A notebook without what differs between two runs: random ids, times, versions."""
    for number, cell in enumerate(notebook["cells"]):
        cell["id"] = f"cell-{number:02d}"
        cell["metadata"] = {}
        if "outputs" in cell:
            cell["outputs"] = _joined(cell["outputs"])
    notebook["metadata"] = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"file_extension": ".py", "name": "python"},
    }
    return notebook


def _joined(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was printed as one piece, however the kernel happened to send it."""
    joined: list[dict[str, Any]] = []
    for output in outputs:
        if joined and output.get("name") and output["name"] == joined[-1].get("name"):
            joined[-1]["text"] = _lines("".join(joined[-1]["text"]) + "".join(output["text"]))
        else:
            joined.append(output)
    return joined


def _lines(text: str) -> list[str]:
    """A text as notebooks keep it."""
    return text.splitlines(keepends=True)


def text_of(notebook: dict[str, Any]) -> str:
    """The file: keys in order, one line a thing, so that changes can be read."""
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def comparable(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with each picture's size in its place: other matplotlibs draw other pixels."""
    copy: dict[str, Any] = json.loads(text_of(notebook))
    for cell in copy["cells"]:
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", ()):
                png = base64.b64decode("".join(output["data"]["image/png"]))
                output["data"]["image/png"] = struct.unpack(">II", png[16:24])
    return copy


def differences(kept: dict[str, Any], built: dict[str, Any]) -> list[str]:
    """One sentence a cell that differs; empty when the notebook is what the lesson gives."""
    old, new = comparable(kept), comparable(built)
    if len(old["cells"]) != len(new["cells"]):
        return [f"it has {len(old['cells'])} cells, and the lesson {len(new['cells'])}"]
    found = []
    for number, (before, after) in enumerate(zip(old["cells"], new["cells"], strict=True)):
        parts = [part for part in {**before, **after} if before.get(part) != after.get(part)]
        if parts:
            found.append(f"cell {number} differs in {', '.join(parts)}")
    if old["metadata"] != new["metadata"]:
        found.append("its metadata differs")
    return found


@click.command()
@click.option(
    "--check", is_flag=True, help="Write nothing; exit 1 if a notebook is not up to date."
)
@click.option("--out", default=HERE, type=click.Path(path_type=Path), help="Where notebooks go.")
@click.argument(
    "only", metavar="[LESSON.py]...", nargs=-1, type=click.Path(exists=True, path_type=Path)
)
def main(check: bool, out: Path, only: tuple[Path, ...]) -> None:
    """Run the lessons (by default all) in a Jupyter kernel and write their notebooks."""
    stale = False
    for lesson in only or lessons():
        path = out / f"{lesson.stem}.ipynb"
        if check and not path.exists():
            click.echo(f"{path.name}: it is missing")
            stale = True
            continue
        try:
            built = build(lesson)
        except subprocess.CalledProcessError as error:
            raise click.ClickException(
                f"{lesson.name} cannot be built:\n{error.stderr.decode(errors='replace')}"
            ) from error
        if not check:
            path.write_text(text_of(built), encoding="utf-8")
            click.echo(f"wrote {path}")
            continue
        faults = differences(json.loads(path.read_text(encoding="utf-8")), built)
        stale = stale or bool(faults)
        for fault in faults or ["it is up to date"]:
            click.echo(f"{path.name}: {fault}")
    sys.exit(1 if stale else 0)


if __name__ == "__main__":
    main()
