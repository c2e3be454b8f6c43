"""The digest of a function: of what it says, not of how it is written down."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import transit
from transit.views.sources import source_digest

BASE = """
def f(rows, event, at):
    row = rows.get(event.key)
    if row is None:
        rows.put(f"{event.key!r}-{at.offset:>4}", 'x')
    return [
        1,
        2,
    ]
"""
SAME = {
    "comments": BASE.replace("    row =", "    # why\n    row =").replace("'x')", "'x')  # what"),
    "blank lines": BASE.replace("    if row", "\n\n    if row"),
    "spaces": BASE.replace("rows.get(event.key)", "rows.get( event.key )"),
    "tabs": BASE.replace("    ", "\t"),
    "inside of something": "if True:\n" + BASE.replace("\n", "\n    "),
    "a decorator": "def same(f): return f\n@same\n@same" + BASE,
    "line breaks in brackets": BASE.replace("[\n        1,\n        2,\n    ]", "[1, 2,]"),
    "line ends": BASE.replace("\n", "\r\n"),
}
OTHER = {
    "a name": BASE.replace("row", "line"),
    "a number": BASE.replace("2,", "3,"),
    "a text": BASE.replace("'x'", "'y'"),
    "a value in a text": BASE.replace("event.key!r", "event.key!s"),
    "a format in a text": BASE.replace(":>4", ":<4"),
    "a default": BASE.replace("at)", "at=1)"),
    "less": BASE.replace("        1,\n", ""),
    "how deep": BASE.replace("    return", "        return"),
    "spaces in a text": BASE.replace("'x'", "' x'"),
    "a comment sign in a text": BASE.replace("'x'", "'# x'"),
}
_numbers = iter(range(10_000))


def function_of(text: str, folder: Path, name: str = "f") -> Callable[..., Any]:
    """The function of a module with this text."""
    module = f"source_{next(_numbers)}"
    file = folder / f"{module}.py"
    file.write_bytes(text.encode())
    spec = importlib.util.spec_from_file_location(module, file)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[module] = made
    spec.loader.exec_module(made)
    found: Callable[..., Any] = getattr(made, name)
    return found


@pytest.mark.parametrize("how", SAME)
def test_how_it_is_written_makes_no_difference(how: str, tmp_path: Path) -> None:
    one, other = function_of(BASE, tmp_path), function_of(SAME[how], tmp_path)
    assert source_digest(one) == source_digest(other)


@pytest.mark.parametrize("how", OTHER)
def test_what_it_says_makes_one(how: str, tmp_path: Path) -> None:
    assert OTHER[how] != BASE
    one, other = function_of(BASE, tmp_path), function_of(OTHER[how], tmp_path)
    assert source_digest(one) != source_digest(other)


def test_the_digest_is_the_same_for_ever(tmp_path: Path) -> None:
    """Of another version of Python too: views must not be folded again after an upgrade."""
    digest = source_digest(function_of(BASE, tmp_path))
    assert digest == "b5c0ae2aca54e7384fe5d29fde6f92ce7ff984cbb33b3d419d5b9dd086ce7195"


def test_a_function_without_source_is_refused() -> None:
    space: dict[str, Any] = {}
    exec("def f(a): return a", space)
    for function in (space["f"], len, functools.partial(print)):
        with pytest.raises(transit.InvalidInputError, match="code="):
            source_digest(function)


def test_a_text_over_several_lines_is_taken_as_it_is(tmp_path: Path) -> None:
    text = 'def f(a):\n    return """\none\n  two\n"""\n'
    one = function_of(text, tmp_path)
    other = function_of(text.replace("  two", " two"), tmp_path)
    assert source_digest(one) != source_digest(other)
    inside = "def g():\n    def f(a):\n        return '''\none\n  two\n'''\n    return f\nf = g()\n"
    assert len(source_digest(function_of(inside, tmp_path))) == 64
