"""The builder of the notebooks: runs each lesson script in a Jupyter kernel.

Builds are reproducible: with the same matplotlib, a second build gives the same bytes. The builder
needs the packages of ``pip install yak-log[notebook]``.

    python notebooks/build.py            # build all notebooks
    python notebooks/build.py --check    # list the outdated notebooks; exit 1 if there are any
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
    """Return the lesson scripts, in order."""
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


def build(lesson: Path) -> dict[str, Any]:
    """Run a lesson in a kernel and return its notebook. Raise CalledProcessError if it fails."""
    with tempfile.TemporaryDirectory(prefix="yak-lesson-") as folder:
        path = Path(folder, f"{lesson.stem}.ipynb")
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
            # Do not read the user's settings, and do not write to the home folder.
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
        for arguments in commands:
            subprocess.run(
                [sys.executable, "-m", *arguments], env=environment, check=True, capture_output=True
            )
        return normalized(json.loads(path.read_text(encoding="utf-8")))


def normalized(notebook: dict[str, Any]) -> dict[str, Any]:
    """Remove everything that differs between two builds: random ids, times, versions."""
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
    """Join consecutive outputs of the same stream, because the kernel splits them at random."""
    joined: list[dict[str, Any]] = []
    for output in outputs:
        if joined and output.get("name") and output["name"] == joined[-1].get("name"):
            joined[-1]["text"] = _lines("".join(joined[-1]["text"]) + "".join(output["text"]))
        else:
            joined.append(output)
    return joined


def _lines(text: str) -> list[str]:
    """Split a text into lines, as in a notebook file."""
    return text.splitlines(keepends=True)


def text_of(notebook: dict[str, Any]) -> str:
    """Return the text of the file: sorted keys and one value per line, for readable diffs."""
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def comparable(notebook: dict[str, Any]) -> dict[str, Any]:
    """Replace each picture by its size, because pixels depend on the version of matplotlib."""
    copy: dict[str, Any] = json.loads(text_of(notebook))
    for cell in copy["cells"]:
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", ()):
                png = base64.b64decode("".join(output["data"]["image/png"]))
                output["data"]["image/png"] = struct.unpack(">II", png[16:24])
    return copy


def differences(saved: dict[str, Any], built: dict[str, Any]) -> list[str]:
    """Return one line per cell that differs; empty if the notebook is up to date."""
    old, new = comparable(saved), comparable(built)
    if len(old["cells"]) != len(new["cells"]):
        return [f"expected {len(new['cells'])} cells, found {len(old['cells'])}"]
    found = []
    for number, (before, after) in enumerate(zip(old["cells"], new["cells"], strict=True)):
        parts = [part for part in {**before, **after} if before.get(part) != after.get(part)]
        if parts:
            found.append(f"cell {number} differs in {', '.join(parts)}")
    if old["metadata"] != new["metadata"]:
        found.append("the metadata differs")
    return found


@click.command()
@click.option(
    "--check", is_flag=True, help="Write nothing; exit 1 if a notebook is outdated."
)
@click.option("--out", default=HERE, type=click.Path(path_type=Path), help="Output folder.")
@click.argument(
    "only", metavar="[LESSON.py]...", nargs=-1, type=click.Path(exists=True, path_type=Path)
)
def main(check: bool, out: Path, only: tuple[Path, ...]) -> None:
    """Run the lessons (by default all) in a Jupyter kernel and write their notebooks."""
    outdated = False
    for lesson in only or lessons():
        path = out / f"{lesson.stem}.ipynb"
        if check and not path.exists():
            click.echo(f"{path.name}: missing")
            outdated = True
            continue
        try:
            built = build(lesson)
        except subprocess.CalledProcessError as error:
            raise click.ClickException(
                f"cannot build {lesson.name}:\n{error.stderr.decode(errors='replace')}"
            ) from error
        if not check:
            path.write_text(text_of(built), encoding="utf-8")
            click.echo(f"wrote {path}")
            continue
        differing = differences(json.loads(path.read_text(encoding="utf-8")), built)
        outdated = outdated or bool(differing)
        for line in differing or ["up to date"]:
            click.echo(f"{path.name}: {line}")
    sys.exit(1 if outdated else 0)


if __name__ == "__main__":
    main()
