"""Small bugs to plant in a module: those of Cosmic Ray, and statements left out.

A mutant is the module's source with one thing changed: an operator, a comparison, a number, a
condition turned round, a loop not run, a decorator gone (the operators of Cosmic Ray), an exception
not caught, or a call, a raise, an assignment to an attribute or what is returned left out.
"""

from __future__ import annotations

import ast
import difflib
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

# What a type checker alone reads, and what another version of Python runs.
UNREAD_CONDITIONS = ("TYPE_CHECKING", "sys.version_info")
LEFT_OUT = "transit/LeaveOut"
NOT_CAUGHT = "transit/CatchOther"
# Nothing raises it: caught in another's place, the other is not caught.
_OTHER = "FloatingPointError"
# Any of the others would nearly always be found by the same test: two for each say as much.
BINARY = {
    "Add": ("Sub", "BitOr"),
    "Sub": ("Add", "Mod"),
    "Mul": ("Add", "FloorDiv"),
    "Div": ("Mul", "FloorDiv"),
    "FloorDiv": ("Mul", "Div"),
    "Mod": ("FloorDiv", "Mul"),
    "Pow": ("Mul", "Add"),
    "LShift": ("RShift", "Add"),
    "RShift": ("LShift", "Sub"),
    "BitOr": ("BitAnd", "Add"),
    "BitAnd": ("BitOr", "Add"),
    "BitXor": ("BitOr", "BitAnd"),
}


class Mutant(NamedTuple):
    """One change: what makes it, its place in the source, and the lines before and after."""

    operator: str
    occurrence: int
    line: int
    before: str
    after: str


class Site(NamedTuple):
    """Where an operator can change something: its `occurrence`-th place, which is in `line`."""

    operator: str
    occurrence: int
    line: int


class Source:
    """The source of one module, and all the sites in it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = ast.parse(text)
        self._statements = list(_statements(self.tree))
        self._caught = list(_caught(self.tree))
        unread = _unread_lines(self.tree)
        own = (*_sites_of(NOT_CAUGHT, self._caught), *_sites_of(LEFT_OUT, self._statements))
        self.sites = [site for site in (*self._operator_sites(), *own) if site.line not in unread]

    def _operator_sites(self) -> Iterator[Site]:
        annotations = _annotation_lines(self.tree)
        nodes = list(ast_nodes(get_ast(self.text)))
        for name in operator_names():
            kind = get_operator(name)
            if kind.arguments() or not _wanted(name):
                continue
            operator = kind()
            positions = (at for node in nodes for at, _ in operator.mutation_positions(node))
            for occurrence, (line, column) in enumerate(positions):
                # Types are text at run time: nothing reads the bars between them.
                in_type = any(low <= (line, column) < high for low, high in annotations)
                if in_type and "BinaryOperator_BitOr" in name:
                    continue
                # A star before parameters that have names only is taken for a product, and `not`
                # cannot stand where a sign can, or before a name that is bound.
                doubtful = any(each in name for each in ("BinaryOperator_Mul", "Unary", "AddNot"))
                if not doubtful or self._compiles(name, occurrence):
                    yield Site(name, occurrence, line)

    def _compiles(self, operator: str, occurrence: int) -> bool:
        try:
            ast.parse(self.mutate(Site(operator, occurrence, 0)))
        except SyntaxError:
            return False
        return True

    def mutate(self, site: Site) -> str:
        """The source with that site changed."""
        if site.operator == LEFT_OUT:
            return self._without(self._statements[site.occurrence])
        if site.operator == NOT_CAUGHT:
            return self._catching_other(self._caught[site.occurrence])
        changed = mutate_code(self.text, get_operator(site.operator)(), site.occurrence)
        assert changed is not None, site
        return str(changed)

    def _without(self, statement: ast.stmt) -> str:
        lines = self.text.splitlines(keepends=True)
        start, stop = statement.lineno - 1, statement.end_lineno or statement.lineno
        left = "return None" if isinstance(statement, ast.Return) else "pass"
        indent = " " * statement.col_offset
        return "".join((*lines[:start], f"{indent}{left}\n", *lines[stop:]))

    def _catching_other(self, name: ast.expr) -> str:
        lines = self.text.splitlines(keepends=True)
        line = lines[name.lineno - 1]
        assert name.end_lineno == name.lineno, line
        lines[name.lineno - 1] = line[: name.col_offset] + _OTHER + line[name.end_col_offset :]
        return "".join(lines)

    def sample(self, count: int, seed: int) -> list[Site]:
        """`count` sites, drawn evenly: each operator has its share; all when there are no more."""
        if count >= len(self.sites):
            return self.sites
        chance = random.Random(seed)
        return sorted(chance.sample(self.sites, count), key=self.sites.index)

    def described(self, site: Site, changed: str) -> Mutant:
        """What the change at `site` is, for people."""
        lines = difflib.ndiff(self.text.splitlines(), changed.splitlines())
        kept = [line for line in lines if line[0] in "-+"]
        before, after = (
            " ".join(line[2:].strip() for line in kept if line[0] == sign) for sign in "-+"
        )
        return Mutant(*site, before, after)

    def around(self, line: int) -> range:
        """The lines of the innermost statement at `line`, a compound one without its body."""
        found = range(line, line + 1)
        for node in ast.walk(self.tree):
            if not isinstance(node, ast.stmt):
                continue
            stop = (node.end_lineno or node.lineno) + 1
            body = getattr(node, "body", None)
            if body and isinstance(body, list):
                stop = max(body[0].lineno, node.lineno + 1)
            if node.lineno <= line < stop:
                found = range(node.lineno, stop)
        return found


def _sites_of(operator: str, nodes: Sequence[ast.stmt | ast.expr]) -> Iterator[Site]:
    for occurrence, node in enumerate(nodes):
        yield Site(operator, occurrence, node.lineno)


def _wanted(name: str) -> bool:
    if name.endswith("ExceptionReplacer"):
        # It cannot replace names with dots; `NOT_CAUGHT` does the same.
        return False
    operator, _, kinds = name.partition("Operator_")
    old, _, new = kinds.partition("_")
    if operator.endswith("ReplaceBinary"):
        return new in BINARY[old]
    # Small numbers that are equal are also identical: most of these would change nothing.
    return not (operator.endswith("ReplaceComparison") and new in ("Is", "IsNot")) or old in (
        "Is",
        "IsNot",
    )


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements of functions that can be left out without leaving a name undefined."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            called = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call | ast.Yield)
            returned = isinstance(node, ast.Return) and node.value is not None
            returned = returned and ast.unparse(node) != "return None"
            stored = isinstance(node, ast.Assign) and isinstance(
                node.targets[0], ast.Attribute | ast.Subscript
            )
            if called or returned or stored or isinstance(node, ast.Raise | ast.AugAssign):
                yield node


def _caught(tree: ast.Module) -> Iterator[ast.expr]:
    """The exceptions that are caught, each by itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            yield from node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]


def _unread_lines(tree: ast.Module) -> set[int]:
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).startswith(UNREAD_CONDITIONS):
            found |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return found


def _annotation_lines(tree: ast.Module) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where types are written: (line, column) of start and end."""
    nodes: list[ast.expr | None] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign):
            nodes.append(node.annotation)
        elif isinstance(node, ast.FunctionDef):
            nodes.append(node.returns)
    return [
        ((node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0))
        for node in nodes
        if node is not None
    ]
