"""The compose file as Debian's docker-compose reads it."""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import Any

import yaml

from tests.net.brokers import ROOT
from tests.require import executable

INFRA = ROOT / "infra"
BROKERS = {"leader": 8080, "follower-1": 8081, "follower-2": 8082}


def services() -> dict[str, Any]:
    """Return the services of the file, those of profiles, too, normalized by ``config``."""
    program = executable("docker-compose")
    command = [program, "-f", str(INFRA / "compose.yaml"), "config"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = yaml.safe_load(done.stdout)["services"]
    assert isinstance(found, dict)
    return found


def words_of(command: object) -> list[str]:
    """Return a command, a list or a text, as words."""
    if isinstance(command, str):
        return shlex.split(command)
    assert isinstance(command, list)
    return [str(word) for word in command]


def health_words(service: dict[str, Any]) -> list[str]:
    """Return the command of a healthcheck."""
    kind, *words = service["healthcheck"]["test"]
    return ["sh", "-c", *words] if kind == "CMD-SHELL" else words


def entrypoint() -> list[str]:
    """Return the entry point of the image."""
    lines = (INFRA / "Dockerfile").read_text().splitlines()
    [line] = [each for each in lines if each.startswith("ENTRYPOINT")]
    return [str(word) for word in json.loads(line.removeprefix("ENTRYPOINT"))]
