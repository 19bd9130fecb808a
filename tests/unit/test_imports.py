"""Imports of the package form no circle, those inside functions included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "samref"


def modules_of(folder: Path) -> dict[str, Path]:
    """Every module of the package by its dotted name; a package is its ``__init__``."""
    found = {}
    for path in folder.rglob("*.py"):
        parts = [PACKAGE, *path.relative_to(folder).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports_in(node: ast.AST, known: set[str]) -> Iterator[str]:
    """Modules of ``known`` that a tree imports anywhere but under ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names if alias.name in known)
        elif isinstance(child, ast.ImportFrom) and child.module:
            for alias in child.names:
                inner = f"{child.module}.{alias.name}"
                yield from (name for name in (inner if inner in known else child.module,) if name in known)
        elif is_for_types(child):
            assert isinstance(child, ast.If)
            for other in child.orelse:
                yield from imports_in(other, known)
        else:
            yield from imports_in(child, known)


def graph_of(modules: dict[str, Path]) -> dict[str, set[str]]:
    known = set(modules)
    return {name: set(imports_in(ast.parse(path.read_text("utf-8")), known)) for name, path in modules.items()}


def test_no_module_imports_itself_through_others(root: Path) -> None:
    graph = graph_of(modules_of(root / PACKAGE))
    assert graph["samref.models.registry"] >= {"samref.models.sam", "samref.models.tiny"}, "packages count"
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_an_import_inside_a_function_is_found() -> None:
    tree = ast.parse("def build():\n    from samref.models import sam\n\nif TYPE_CHECKING:\n    import samref.web\n")
    assert list(imports_in(tree, {"samref.models", "samref.models.sam", "samref.web"})) == ["samref.models.sam"]
