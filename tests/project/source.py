"""The source of the project, read without running it: modules, imports, calls.

Rules yield findings as text, "place: what is wrong"; `report` fails a test when there are any.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import resolve_name
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "transit"
LABORATORY = "rigs"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, eq=False)
class Module:
    """One source file of the package or of the rigs."""

    name: str
    path: Path
    lines: list[str]
    tree: ast.Module

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Everything in it; many rules ask, so it is walked once."""
        return list(ast.walk(self.tree))

    @property
    def part(self) -> str:
        """The layer's part: "log" for transit.log.append, "transit" for the package itself."""
        pieces = self.name.split(".")
        if pieces[0] == LABORATORY:
            return LABORATORY
        part = pieces[1] if len(pieces) > 1 else PACKAGE
        return "cli" if part == "__main__" else part

    def at(self, node: ast.stmt | ast.expr) -> str:
        return f"{self.path.relative_to(ROOT)}:{node.lineno}"


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def modules() -> dict[str, Module]:
    found = {}
    for path in sorted([*(ROOT / PACKAGE).rglob("*.py"), *(ROOT / LABORATORY).rglob("*.py")]):
        if path.stem.startswith("test_") or path.stem == "conftest":
            continue
        pieces = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(pieces[:-1] if pieces[-1] == "__init__" else pieces)
        text = path.read_text(encoding="utf-8")
        found[name] = Module(name, path, text.splitlines(), tree_of(path))
    return found


def part_of(name: str) -> str:
    return modules()[name].part


def imports(module: Module) -> Iterator[tuple[ast.stmt, str]]:
    """Each import of one of our modules, wherever it stands, with the module's name."""
    package = module.name if module.path.stem == "__init__" else module.name.rpartition(".")[0]
    for node in module.nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), package)
            names = [f"{source}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            target = name if name in modules() else name.rpartition(".")[0]
            if target in modules():
                yield node, target


def functions(module: Module) -> Iterator[Function]:
    return (node for node in module.nodes if isinstance(node, Function))


def dotted(node: ast.expr) -> str:
    """ "os.open" for that attribute, "" for what is no plain dotted name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def report(findings: Iterator[str]) -> None:
    found = list(findings)
    assert not found, "\n" + "\n".join(found)
