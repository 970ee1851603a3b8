"""Rules on sizes and habits of each file.

Every rule takes a source, which is not imported, and returns its faults as ``path:line: message``.
"""

from __future__ import annotations

import ast
import re

from tests.tidy.tree import PRODUCT, ROOT, Function, Source, source_of

LINES_WARN = 400
LINES_MAX = 500
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100

# Written so that this file itself passes.
UNFINISHED = re.compile(r"\b(NotImplemented" + r"Error|TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
HOME = re.compile(r"(?<![\w.])/(home/\w+|ro" + r"ot|Users/\w+)/|[A-Z]:\\\\?Users")
PRAGMA = re.compile(r"\s+# (type: ignore|noqa).*")
SKIP_HELPER = "tests/require.py"
SKIPS = {"skip", "skipif", "importorskip", "skipTest", "SkipTest"}
# Calls that fail a test by themselves.
CHECKS = {"fail", "raises", "warns", "run_state_machine_as_test"}


def sizes(source: Source) -> list[str]:
    """Report files, functions and lines that are too long."""
    if not source.is_python:
        return []
    lines = source.text.splitlines()
    faults = [
        f"{source.name}:{number}: {len(line)} columns, more than {COLUMNS_MAX}"
        for number, line in enumerate(lines, 1)
        if len(PRAGMA.sub("", line)) > COLUMNS_MAX
    ]
    if len(lines) > LINES_MAX:
        faults.append(f"{source.name}:1: {len(lines)} lines, more than {LINES_MAX}")
    for function in source.functions:
        size = (function.end_lineno or function.lineno) - function.lineno + 1
        if size > FUNCTION_LINES_MAX:
            faults.append(f"{_at(source, function)}: {function.name} has {size} lines")
    return faults


def is_long(source: Source) -> bool:
    """Return whether a file should be split, though it is below the limit."""
    return source.is_python and source.text.count("\n") > LINES_WARN


def opening(source: Source) -> list[str]:
    """Report modules that do not open with a sentence."""
    if not source.is_python or not source.text.strip():
        return []
    if ast.get_docstring(source.tree):
        return []
    return [f"{source.name}:1: the module does not open with a sentence"]


def swallowed(source: Source) -> list[str]:
    """Report swallowed exceptions."""
    if not source.is_python:
        return []
    faults = []
    for node in source.nodes:
        match node:
            case ast.ExceptHandler(body=[ast.Pass() | ast.Expr(value=ast.Constant())]):
                faults.append(f"{_at(source, node)}: an exception is swallowed")
            case ast.ExceptHandler(type=None):
                faults.append(f"{_at(source, node)}: a bare except takes everything")
            case ast.Call(func=ast.Name(id="suppress") | ast.Attribute(attr="suppress"), args=args):
                if any(ast.unparse(arg) in {"Exception", "BaseException"} for arg in args):
                    faults.append(f"{_at(source, node)}: every exception is swallowed")
    return faults


def unfinished(source: Source) -> list[str]:
    """Report words for unfinished work in the product."""
    if source.top not in PRODUCT or source.name.endswith(".ipynb"):
        return []
    return [
        f"{source.name}:{number}: {line.strip()[:60]}"
        for number, line in enumerate(source.text.splitlines(), 1)
        if UNFINISHED.search(line)
    ]


def home_paths(source: Source) -> list[str]:
    """Report paths of one machine."""
    return [
        f"{source.name}:{number}: a path of one machine: {match.group()}"
        for number, line in enumerate(source.text.splitlines(), 1)
        if (match := HOME.search(line))
    ]


def skips(source: Source) -> list[str]:
    """Report skips outside of the helper, and expected failures without a reason."""
    if source.top != "tests" or not source.is_python or source.name == SKIP_HELPER:
        return []
    faults = []
    for node in source.nodes:
        match node:
            case ast.Attribute(value=ast.Name(id="pytest" | "unittest" | "self"), attr=attr) | (
                ast.Attribute(value=ast.Attribute(attr="mark"), attr=attr)
            ) if attr in SKIPS:
                faults.append(f"{_at(source, node)}: skip through {SKIP_HELPER} only")
            case ast.Call(func=ast.Attribute(attr="xfail"), keywords=keywords):
                if not any(keyword.arg == "reason" for keyword in keywords):
                    faults.append(f"{_at(source, node)}: xfail without a reason")
            case ast.Attribute(value=ast.Name(id="time"), attr="sleep"):
                faults.append(f"{_at(source, node)}: a test must not sleep for a result")
    return faults


def checkless(source: Source) -> list[str]:
    """Report tests without a check."""
    name = source.name.rsplit("/", 1)[-1]
    if source.top != "tests" or not re.fullmatch(r"test_\w+\.py", name):
        return []
    local = helpers(source)
    return [
        f"{_at(source, function)}: {function.name} checks nothing"
        for function in source.functions
        if function.name.startswith("test_") and not _checks(function, local, set())
    ]


def helpers(source: Source) -> dict[str, Function]:
    """Return the functions of a test file and those imported from other test files, by name."""
    found: dict[str, Function] = {}
    for node in source.tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests."):
            path = ROOT / f"{(node.module or '').replace('.', '/')}.py"
            if path.is_file():
                found |= {function.name: function for function in source_of(path).functions}
    return found | {function.name: function for function in source.functions}


def _checks(function: Function, local: dict[str, Function], seen: set[str]) -> bool:
    """Return whether a function checks something, itself or in a helper that it calls."""
    seen.add(function.name)
    for node in ast.walk(function):
        match node:
            case ast.Assert(test=test) if not isinstance(test, ast.Constant):
                return True
            case ast.Raise():
                return True
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) as call:
                if name in CHECKS or name.startswith(("assert_", "check", "expect")):
                    return True
                if any(word.arg == "check" and _is_true(word.value) for word in call.keywords):
                    return True
                helper = local.get(name)
                if helper is not None and name not in seen and _checks(helper, local, seen):
                    return True
    return False


def _is_true(node: ast.expr) -> bool:
    """Return whether an expression is the constant True."""
    return isinstance(node, ast.Constant) and node.value is True


def _at(source: Source, node: ast.AST) -> str:
    """Return the position of a node."""
    return f"{source.name}:{getattr(node, 'lineno', 1)}"
