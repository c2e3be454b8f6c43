"""docs/guide/adapters.md: all adapters, with extras and guides that there are."""

from __future__ import annotations

import ast
import re
import tomllib

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "guide" / "adapters.md"
ROW = re.compile(r"^\|[^|]+\|[^|]+\| `([\w-]+)` \|[^|]+\| \[[^]]+\]\(([\w-]+\.md)[^)]*\) \|$", re.M)


def test_every_adapter_is_on_the_page() -> None:
    made = {
        node.name
        for path in (ROOT / "transit" / "adapters").rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and node.name.startswith("Transit")
    }
    assert len(made) > 12
    assert made == set(re.findall(r"\bTransit[A-Z]\w+", PAGE.read_text()))


def test_every_row_names_an_extra_and_a_guide() -> None:
    page = PAGE.read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    rows = ROW.findall(page)
    assert len(rows) == page.partition("\n## ")[0].count("\n| ") - 1
    for extra, guide in rows:
        assert extra in project["optional-dependencies"]
        assert (PAGE.parent / guide).is_file()
    assert {extra for extra, _ in rows} >= {"otel", "litellm", "clients", "langgraph", "inspect"}
