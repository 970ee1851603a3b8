"""The reasons of halts, of failed starts and of no leader, read from the code.

A reason is a text in a call of ``halt`` and its like, in an exception that ends a start, or in a
function that makes reasons for others. ``{}`` stands for a value.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from docs.tables.sources import ROOT

CALLS: Final = {"halt", "Halt", "_halt", "_fail", "_end", "_report", "_report_damage"}
"""Calls with the reason of a halt among their arguments."""
ERRORS: Final = {"CannotStart", "StorageError", "WrongStore", "StoreError"}
"""Exceptions with the reason of a failed start."""
PLACES: Final = (
    *("yak_core/broker", "yak_core/contract/host.py", "yak_net/broker", "yak_net/storage"),
    *("yak_net/runtime/backend.py", "yak_net/metadata/redis_store.py", "yak_net/cluster"),
)
ELSEWHERE: Final = {
    "yak_net/cluster/cli_recover.py": "errors of a command",
    "yak_net/cluster/wipe.py": "errors of a command",
    "yak_net/storage/survey.py": "the reasons of yak cluster recover",
}
MAKERS: Final[dict[str, set[str]]] = {
    "yak_core/broker/health.py": {"health_of", "why_no_leader", "_below_min_isr", "_cannot_commit",
                                  "_cannot_follow", "_under_replicated"},
    "yak_core/broker/saved_state.py": {"read_saved"},
    "yak_core/broker/startup.py": {"on_empty_store", "on_state", "on_saved"},
    "yak_core/broker/store_session.py": {"EMPTIED"},
    "yak_net/cluster/folders.py": {"lock_cluster"},
    "yak_net/cluster/metadata.py": {"damage"},
    "yak_net/cluster/ports.py": {"__init__"},
    "yak_net/cluster/process.py": {"down_reason"},
    "yak_net/cluster/status.py": {"reason", "count_stopped"},
    "yak_net/cluster/store_check.py": {"_way_back", "_way_out"},
    "yak_net/http/foreign.py": {"foreign_protocol"},
    "yak_net/http/status.py": {"state_of"},
    "yak_net/metadata/redis_store.py": {"_with_timeout"},
    "yak_net/runtime/connection_errors.py": {"listen_error", "_LISTEN_ADVICE"},
    "yak_net/storage/disk.py": {"_read_loop"},
    "yak_net/storage/folder.py": {"_wrong_cluster", "_unusable", "wrong_store"},
    "yak_net/storage/log.py": {"locate", "_check_offset"},
}  # fmt: skip
"""File -> its functions, constants and attributes that make reasons; others pass them on."""
PASSED_ON: Final = {
    "yak_core/broker/roles.py": ("reason", "reason", "registered", "self.saved_error", "started"),
    "yak_core/broker/store_session.py": ("EMPTIED",),
    "yak_core/contract/host.py": ("Halt(reason)", "effect", "error", "reason"),
    "yak_net/broker/server.py": ("reason", *4 * ("str(error)",)),
    "yak_net/cluster/metadata.py": ("self.problem", "str(error)"),
    "yak_net/cluster/store_check.py": (
        "f'{stored.damage}; {_way_out(stored, store, root)}'",
        "f'{what}; {_way_back(known, stored)}'",
        "str(error)",
    ),
    "yak_net/cluster/supervisor.py": ("str(error)",),
    "yak_net/metadata/redis_store.py": ("str(reason)",),
    "yak_net/runtime/backend.py": ("effect.reason", "reason"),
    "yak_net/storage/disk.py": ("f'{self._log.path}: {error}'", "read", "reason"),
    "yak_net/storage/folder.py": (
        "_unusable(path, error)",
        "_unusable(path, error)",
        "_wrong_cluster(path, identity.cluster, cluster)",
        "_wrong_cluster(self.path, self.cluster, cluster)",
    ),
}
"""File -> the reasons without a text; each is made by a call or an entry above."""
NOT_SHOWN: Final = {
    "the stop was not complete in time": "the exit code is 1, and the process has been stopped",
    "the client of Redis at {} is closed": "the broker has ended",
}
"""Text -> why no user sees it as the reason of a broker that is not ready."""


IGNORED: Final = {"''", "End.HALTED", "End.EXITED", "self._on_fatal"}
"""Arguments that are no reason."""


class Reason(NamedTuple):
    """A reason in the code; ``text`` is empty if it is passed on as the expression ``source``."""

    path: str
    line: int
    text: str
    source: str

    @property
    def pattern(self) -> re.Pattern[str]:
        """A pattern that finds the text, with any values, in a message."""
        return re.compile(".*?".join(map(re.escape, self.text.split("{}"))))

    @property
    def words(self) -> int:
        """The number of words of the text that are not values."""
        return len(re.findall(r"[A-Za-z]{2,}", self.text))


def reasons() -> list[Reason]:
    """Return the reasons in the code of brokers and of ``yak cluster up``."""
    files = {name: (ROOT / name).read_text("utf-8") for name in MAKERS}
    for place in PLACES:
        root = ROOT / place
        for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            files[path.relative_to(ROOT).as_posix()] = path.read_text("utf-8")
    return [
        reason
        for name in sorted(files.keys() - ELSEWHERE.keys())
        for reason in reasons_in(name, files[name])
    ]


def reasons_in(path: str, text: str) -> Iterator[Reason]:
    """Return the reasons in a file."""
    makers = MAKERS.get(path, set())
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            later = any(_name(each) == "_on_fatal" for each in node.args)
            if later or _name(node.func) in CALLS | ERRORS:
                for argument in node.args:
                    yield from _of(path, argument)
        elif isinstance(node, ast.Assign) and _name(node.targets[0]) in makers:
            yield from _of(path, node.value)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in makers:
            for statement in node.body:
                yield from (each for each in _of(path, statement) if each.text)
        elif isinstance(node, ast.AnnAssign) and _name(node.target) in makers and node.value:
            yield from _of(path, node.value)


def _of(path: str, node: ast.AST) -> Iterator[Reason]:
    line = getattr(node, "lineno", 0)
    if isinstance(node, ast.Constant | ast.Attribute) and ast.unparse(node) in IGNORED:
        return
    found = [Reason(path, line, each, "") for each in _texts(node)]
    named = [each for each in found if each.words]
    yield from named or [Reason(path, line, "", ast.unparse(node))]


def _texts(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            yield node.value
    elif isinstance(node, ast.JoinedStr):
        parts = (str(p.value) if isinstance(p, ast.Constant) else "{}" for p in node.values)
        yield "".join(parts)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _texts(child)


def _name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
