"""The rule against iterating over a set, whose order differs between runs.

A heuristic on the AST: what is a set is known from displays, calls, operators, annotations and
assignments in the same file. Sorting a set is fine, so are ``in``, ``len``, ``any`` and ``all``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.tidy.tree import Source

SET_TYPES = {"set", "frozenset", "AbstractSet", "MutableSet", "Set", "FrozenSet"}
SET_METHODS = {"copy", "difference", "intersection", "symmetric_difference", "union"}
SET_OPERATORS = (ast.BitAnd, ast.BitOr, ast.BitXor, ast.Sub)
# Calls that take the elements one by one, in the set's order.
ORDERED_CALLS = {"dict", "enumerate", "filter", "iter", "list", "map", "next", "tuple", "zip"}
ORDERED_METHODS = {"extend", "fromkeys", "join"}


def iterated_sets(source: Source) -> list[str]:
    """Report every place of the core that depends on the order of a set."""
    if source.top != "yak_core" or not source.is_python:
        return []
    names = set(_set_names(source))
    return [
        f"{source.name}:{node.lineno}: a set is iterated: sort it, or keep a tuple or a dict"
        for node in _ordered_uses(source)
        if _is_set(node, names)
    ]


def _set_names(source: Source) -> Iterator[str]:
    """Yield the names that are annotated as sets or assigned one."""
    for node in source.nodes:
        match node:
            case ast.arg(arg=name, annotation=ast.expr() as kind) if _names_set(kind):
                yield name
            case ast.AnnAssign(target=target, annotation=kind) if _names_set(kind):
                yield _last_name(target)
            case ast.Assign(targets=targets, value=value) if _is_set(value, set()):
                yield from (_last_name(target) for target in targets)
            case ast.FunctionDef(name=name, returns=ast.expr() as kind) if _names_set(kind):
                yield name + "()"


def _names_set(kind: ast.expr) -> bool:
    """Return whether an annotation is that of a set, not of a container of sets."""
    match kind:
        case ast.Subscript(value=value):
            return _names_set(value)
        case ast.BinOp(left=left, right=right):
            return _names_set(left) or _names_set(right)
        case ast.Constant(value=str(text)):
            return _names_set(ast.parse(text, mode="eval").body)
    return _last_name(kind) in SET_TYPES


def _last_name(node: ast.expr) -> str:
    """Return ``x`` for ``x``, ``self.x`` and ``a.b.x``, and "" for other expressions."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _is_set(node: ast.expr, names: set[str]) -> bool:
    """Return whether an expression is a set, as far as the file shows."""
    match node:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id="set" | "frozenset")):
            return True
        case ast.Call(func=ast.Attribute(value=value, attr=method)) if method in SET_METHODS:
            return _is_set(value, names)
        case ast.Call(func=ast.Name() | ast.Attribute() as func):
            return _last_name(func) + "()" in names
        case ast.BinOp(left=left, op=op, right=right) if isinstance(op, SET_OPERATORS):
            return _is_set(left, names) or _is_set(right, names) or _is_keys(left)
        case ast.IfExp(body=body, orelse=orelse):
            return _is_set(body, names) or _is_set(orelse, names)
        case ast.Name() | ast.Attribute():
            return _last_name(node) in names
    return False


def _is_keys(node: ast.expr) -> bool:
    """Return whether an expression is ``d.keys()`` or ``d.items()``."""
    match node:
        case ast.Call(func=ast.Attribute(attr="keys" | "items")):
            return True
    return False


def _ordered_uses(source: Source) -> Iterator[ast.expr]:
    """Yield the expressions whose elements are used in order."""
    for node in source.nodes:
        match node:
            case ast.For(iter=iterated) | ast.comprehension(iter=iterated):
                yield iterated
            case ast.Starred(value=value) | ast.YieldFrom(value=value):
                yield value
            case ast.Call(func=ast.Name(id=name), args=args) if name in ORDERED_CALLS:
                yield from args
            case ast.Call(func=ast.Attribute(attr="pop", value=value), args=[]):
                yield value
            case ast.Call(func=ast.Attribute(attr=name), args=args) if name in ORDERED_METHODS:
                yield from args
