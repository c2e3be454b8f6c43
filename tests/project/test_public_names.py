"""`transit` names what is public twice: for type checkers, and to load it when it is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import transit

SOURCE = Path(transit.__file__)


def imported() -> dict[str, set[str]]:
    """By home: the names a type checker sees."""
    (block,) = [node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If)]
    found = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        found[node.module] = {alias.name for alias in node.names}
    return found


def test_the_names_loaded_late_are_those_type_checkers_see() -> None:
    homes = {home: set(names) for home, names in transit._HOMES.items()}
    assert homes == imported()
    assert sorted(set().union(*homes.values())) == sorted(transit.__all__)


def test_every_public_name_is_there() -> None:
    for name in transit.__all__:
        assert getattr(transit, name).__module__.startswith("transit.") or name in {
            "Durability", "Encrypted", "Metadata", "Mode", "Scalar", "FieldValue",
        }, name  # fmt: skip


def test_no_public_name_is_a_module_of_the_package() -> None:
    """Loading the module would put it in the name's place."""
    for name in transit.__all__:
        assert find_spec(f"transit.{name}") is None, name


def test_importing_the_package_loads_no_part_of_it() -> None:
    script = "import sys, transit; print([name for name in sys.modules if 'transit.' in name])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=SOURCE.parents[1],
    )
    assert done.stdout == "[]\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(transit, "nothing")
    assert set(transit.__all__) <= set(dir(transit))
