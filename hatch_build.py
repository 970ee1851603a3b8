"""Build hook: an editable install makes only the packages and the command importable.

An editable install is a path file that names one folder (``dev-mode-dirs``). If it named the folder
of the project, ``tests``, ``docs`` and ``scenarios`` would be importable too, and would hide the
folders of these names in other projects. So it names a folder of links. Type checkers follow links,
but not the import hooks that build tools offer instead.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Links(BuildHookInterface):
    """Makes the links before the path file is written."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Link each name of ``only-include`` if ``version`` is "editable"."""
        if version != "editable":
            return
        config = self.build_config.target_config
        [name] = config["dev-mode-dirs"]
        folder = Path(self.root, name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for each in config["only-include"]:
            (folder / each).symlink_to(Path(self.root, each))
