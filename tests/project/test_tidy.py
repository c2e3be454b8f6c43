"""The project's own rules, read from the source without running it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import pytest

import transit
from transit import errors

from .source import (
    LABORATORY,
    PACKAGE,
    ROOT,
    dotted,
    functions,
    imports,
    modules,
    part_of,
    report,
    tree_of,
)

# From low to high. A part imports parts of lower levels and itself; never its neighbours. The
# package itself, which only gathers the public names, lies between the engine and what is on top.
LEVELS: list[set[str]] = [
    {"errors"},
    {"config", "descriptors", "guards", "opened", "translation"},
    {"format"},
    {"proof", "lineage", "disk"},
    {"locks", "watches"},
    {"keyring"},
    {"store"},
    {"log"},
    {"tier"},
    {"arrow"},
    {"replay"},
    {"picking"},
    {"verify"},
    {"auditor"},
    {"inspection"},
    {"evidence"},
    {"handle"},
    {"engine"},
    {PACKAGE},
    {"protocol", "environment"},
    {"trace"},
    {"views"},
    {"chat"},
    {"fleet"},
    {"adapters"},
    {"client"},
    {"server"},
    {"testing"},
    {"cli"},
]
LEVEL_OF = {part: level for level, parts in enumerate(LEVELS) for part in parts}
# What tests use: no part imports it. Rigs are on no level, they may import everything.
FOR_TESTS = {"testing", LABORATORY}

PRINTING_PARTS = {"cli", LABORATORY}
VAGUE_NAMES = {"utils", "util", "helpers", "common", "core", "base", "manager", "misc"}
# What tells the time, what its differences are called, and calls that wait.
CLOCKS = {
    "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time",
    "process_time_ns", "thread_time", "thread_time_ns", "time", "time_ns",
}  # fmt: skip
DURATIONS = {"seconds", "elapsed", "took", "duration", "cpu"}
WAITS = {"result", "communicate", "wait", "join", "wait_for"}
# A wait only ends tests that hang: no machine is so slow that it meets this one otherwise.
WAIT_S_MIN = 60
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60

# What an exit code means to a caller.
EXIT_CODES = {
    1: "anything else",
    2: "the input cannot be used",
    3: "not found",
    4: "the name is taken",
    5: "locked by another process",
    6: "not allowed",
    7: "damaged or unknown bytes",
    8: "the storage failed",
    9: "only in a remote that is not attached",
    10: "the store moved on",
    11: "another writer fenced this one off",
    12: "the remote does not answer",
    13: "the stream takes no more records",
    14: "a signature or a proof does not hold",
    15: "the records were deleted or trimmed",
    16: "the records must be kept",
    17: "other streams need the records",
    18: "the records are encrypted, and their key is not here",
}
# Those of the command line alone: no error of the engine may have one of them.
COMMAND_EXIT_CODES = {
    124: "timed out",
    130: "interrupted",
    141: "nobody reads the output any more",
}


def parts_without_level() -> Iterator[str]:
    for module in modules().values():
        if module.part not in LEVEL_OF and module.part != LABORATORY:
            yield f"{module.path.relative_to(ROOT)}: {module.part!r} is on no level"


def imports_that_go_up() -> Iterator[str]:
    for module in modules().values():
        level = LEVEL_OF.get(module.part, -1)
        for node, target in imports(module):
            part = part_of(target)
            if module.part in (part, LABORATORY):
                continue
            if part in FOR_TESTS:
                yield f"{module.at(node)}: imports {target}, which is for tests"
            elif LEVEL_OF.get(part, level) >= level:
                yield f"{module.at(node)}: {module.part} imports {target}, not below it"


def import_cycles() -> Iterator[str]:
    graph = {
        name: {target for _, target in imports(module)} - {name}
        for name, module in modules().items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield "import cycle: " + " < ".join(error.args[1])


def unexplained_imports_in_functions() -> Iterator[str]:
    for module in modules().values():
        for function in functions(module):
            for node in ast.walk(function):
                if not isinstance(node, ast.Import | ast.ImportFrom):
                    continue
                above = module.lines[node.lineno - 2].strip()
                here = module.lines[node.lineno - 1 : node.end_lineno]
                if not above.startswith("#") and not any("#" in line for line in here):
                    yield f"{module.at(node)}: an import in a function, and no comment says why"


def _names(node: ast.AST | None) -> set[str]:
    return (
        {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
        | {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}
        if node
        else set()
    )


def decodes_that_let_bytes_through() -> Iterator[str]:
    """msgspec raises errors of its own for most bytes, UnicodeDecodeError for text that is none."""
    for module in modules().values():
        for node in module.nodes:
            if not isinstance(node, ast.Try) or module.part == LABORATORY:
                continue
            calls = {
                call.func.attr
                for step in node.body
                for call in ast.walk(step)
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
            }
            caught = set().union(*(_names(handler.type) for handler in node.handlers))
            of_msgspec = {"MsgspecError", "DecodeError", "ValidationError"} & caught
            if (
                calls & {"decode", "decode_lines"}
                # What the same step has just encoded is text.
                and not calls & {"encode", "_encoded"}
                and of_msgspec
                and not caught & {"ValueError", "UnicodeDecodeError", "Exception"}
            ):
                yield f"{module.at(node)}: catches {', '.join(of_msgspec)}, not UnicodeDecodeError"


def prints() -> Iterator[str]:
    for module in modules().values():
        if module.part in PRINTING_PARTS:
            continue
        for node in module.nodes:
            if isinstance(node, ast.Name) and node.id == "print":
                yield f"{module.at(node)}: print"


def files_of_tests() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("tests", LABORATORY):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), tree_of(path)


def is_duration(node: ast.expr) -> bool:
    """Whether this says how long something took: `monotonic() - begun`, `elapsed`, `cpu_s`."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
        calls = (each for each in ast.walk(node) if isinstance(each, ast.Call))
        return any(dotted(call.func).rpartition(".")[2] in CLOCKS for call in calls)
    name = dotted(node).rpartition(".")[2]
    return name in DURATIONS or name.endswith(("_s", "_ms", "_us", "_ns"))


def timed_asserts(tree: ast.Module) -> Iterator[int]:
    """The lines of asserts that something took less than so many seconds."""
    for statement in (each for each in ast.walk(tree) if isinstance(each, ast.Assert)):
        for node in (each for each in ast.walk(statement.test) if isinstance(each, ast.Compare)):
            sides = [node.left, *node.comparators]
            for left, sign, right in zip(sides, node.ops, sides[1:], strict=False):
                less = left if isinstance(sign, ast.Lt | ast.LtE) else right
                if isinstance(sign, ast.Lt | ast.LtE | ast.Gt | ast.GtE) and is_duration(less):
                    yield statement.lineno


def hasty_waits(tree: ast.Module) -> Iterator[int]:
    """The lines of waits that a slow machine turns into failures."""
    for call in (each for each in ast.walk(tree) if isinstance(each, ast.Call)):
        if isinstance(call.func, ast.Attribute) and call.func.attr in WAITS:
            given = [
                *call.args[:1],
                *(word.value for word in call.keywords if word.arg == "timeout"),
            ]
            for value in given:
                seconds = value.value if isinstance(value, ast.Constant) else None
                if isinstance(seconds, int | float) and 1 < seconds < WAIT_S_MIN:
                    yield call.lineno


def limits_in_seconds() -> Iterator[str]:
    for path, tree in files_of_tests():
        for line in timed_asserts(tree):
            yield f"{path}:{line}: a limit in seconds; use laps of `rigs.apart`, or count calls"
        for line in hasty_waits(tree):
            yield f"{path}:{line}: a wait of less than {WAIT_S_MIN} seconds"


def oversized() -> Iterator[str]:
    for module in modules().values():
        if len(module.lines) > FILE_LINES_MAX:
            yield f"{module.path.relative_to(ROOT)}: {len(module.lines)} lines"
        for function in functions(module):
            count = (function.end_lineno or function.lineno) - function.lineno + 1
            if count > FUNCTION_LINES_MAX:
                yield f"{module.at(function)}: {function.name} has {count} lines"


def missing_docstrings() -> Iterator[str]:
    for module in modules().values():
        if not (ast.get_docstring(module.tree) or "").strip():
            yield f"{module.path.relative_to(ROOT)}: no docstring"


def vague_module_names() -> Iterator[str]:
    for name in modules():
        if VAGUE_NAMES & set(name.split(".")):
            yield f"{name}: a name that says nothing"


def error_classes() -> list[type[errors.TransitError]]:
    return [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and value.__module__ == errors.__name__
    ]


def drawn(parent: type[errors.TransitError], indent: str = "") -> Iterator[str]:
    """The tree below `parent` as the docstring should draw it, in the order of the source."""
    children = [kind for kind in error_classes() if kind.__bases__[0] is parent]
    for child in children:
        last = child is children[-1]
        yield f"{indent}{'└── ' if last else '├── '}{child.__name__}"
        yield from drawn(child, indent + ("    " if last else "│   "))


def test_every_part_has_a_level() -> None:
    report(parts_without_level())


def test_imports_go_down_only() -> None:
    report(imports_that_go_up())


def test_modules_have_no_import_cycle() -> None:
    report(import_cycles())


def test_imports_inside_functions_say_why() -> None:
    report(unexplained_imports_in_functions())


def test_text_that_is_none_is_expected_where_bytes_are_decoded() -> None:
    report(decodes_that_let_bytes_through())


def test_only_the_command_line_prints() -> None:
    report(prints())


@pytest.mark.slow
def test_no_test_has_a_limit_in_seconds() -> None:
    report(limits_in_seconds())


@pytest.mark.parametrize(
    "source",
    [
        "assert time.monotonic() - begun < 5.0",
        "assert 5.0 > perf_counter() - begun, 'slow'",
        "assert 0 < spent.cpu_s <= LIMIT and fine",
        "assert elapsed < 1",
        "future.result(timeout=10)",
        "thread.join(5)",
    ],
)
def test_a_planted_limit_in_seconds_is_found(source: str) -> None:
    assert [*timed_asserts(ast.parse(source)), *hasty_waits(ast.parse(source))] == [1]


@pytest.mark.parametrize(
    "source",
    [
        "assert time.monotonic() - began >= 0.3",
        "assert time.monotonic() < deadline",
        "assert spent.laps < LAPS_MAX",
        "future.result(timeout=60)",
    ],
)
def test_what_holds_on_a_slow_machine_too_is_allowed(source: str) -> None:
    assert [*timed_asserts(ast.parse(source)), *hasty_waits(ast.parse(source))] == []


def test_files_and_functions_stay_small() -> None:
    report(oversized())


def test_no_pattern_is_one_that_older_pythons_match_wrongly() -> None:
    """Up to 3.11.4, `(...)*+` takes what does not match: `(?:(?>...))*+` says the same."""
    wrong = re.compile(r"(?<!\))\)[*+?]\+")
    report(
        f"{module.name}:{number}: a group that is possessive"
        for module in modules().values()
        for number, line in enumerate(module.lines, 1)
        if wrong.search(line) and "#" not in line
    )


def test_every_module_has_a_docstring() -> None:
    report(missing_docstrings())


def test_module_names_say_something() -> None:
    report(vague_module_names())


def test_every_error_is_public() -> None:
    names = {kind.__name__ for kind in error_classes()}
    assert set(errors.__all__) == names
    assert names <= set(transit.__all__)
    for kind in error_classes():
        assert getattr(transit, kind.__name__) is kind
        assert issubclass(kind, errors.TransitError)
        assert kind.__name__.endswith("Error")


def test_error_tree_in_the_docstring_is_the_real_one() -> None:
    line = re.compile(r"^([│├└─ ]*\w+Error)(?:  .*)?$", re.MULTILINE)
    shown = line.findall(ast.get_docstring(modules()["transit.errors"].tree) or "")
    indent = " " * 4
    assert shown == [f"{indent}{name}" for name in ["TransitError", *drawn(errors.TransitError)]]


def test_exit_codes_are_documented_ones() -> None:
    for kind in error_classes():
        assert type(kind.exit_code) is int, kind
        assert kind.exit_code in EXIT_CODES, kind
    assert {kind.exit_code for kind in error_classes()} == set(EXIT_CODES)
    assert not EXIT_CODES.keys() & COMMAND_EXIT_CODES.keys()


def test_no_store_lies_in_the_checkout() -> None:
    """Examples run by hand leave some, and a commit takes them along."""
    assert [str(path) for path in ROOT.glob("*/FORMAT")] == []


def test_every_test_that_the_documents_name_is_there() -> None:
    folders = [ROOT / "tests", ROOT / LABORATORY]
    files = [(folder, file) for folder in folders for file in folder.rglob("test_*.py")]
    kept = set(re.findall(r"def (test_\w+)", "\n".join(file.read_text() for _, file in files)))
    paths = {str(file.relative_to(folder)) for folder, file in files}
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    text = "\n".join(document.read_text() for document in documents)
    named = set(re.findall(r"::(test_\w+…?)", text))
    assert len(named) > 150
    # A long name may be cut.
    lost = {
        name
        for name in named - kept
        if not name.endswith("_…") or not any(each.startswith(name[:-1]) for each in kept)
    }
    assert not lost
    assert set(re.findall(r"(?<![\w/])(?:tests/|rigs/)?(\w+/test_\w+\.py)", text)) <= paths


def test_every_decision_is_in_the_index_with_its_title() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text(encoding="utf-8").splitlines()
    pages = sorted(folder.glob("[0-9]*.md"))
    assert len({page.name[:4] for page in pages}) == len(pages), "two decisions have one number"
    for page in pages:
        number, title = page.read_text(encoding="utf-8").splitlines()[0][2:].split(": ", 1)
        assert f"| [{number}]({page.name}) | {title} |" in index


def test_every_page_on_reliability_is_in_the_index() -> None:
    index = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs" / "reliability").glob("*.md"):
        assert f"(reliability/{page.name})" in index, page.name


def test_every_folder_of_the_package_lists_its_modules() -> None:
    for name, module in modules().items():
        # A module of a verb is listed by the command itself.
        if module.path.stem != "__init__" or name in (PACKAGE, "transit.cli.verbs"):
            continue
        if module.part == LABORATORY:
            continue
        said = ast.get_docstring(module.tree) or ""
        names = {path.stem for path in module.path.parent.glob("*.py")} - {"__init__", "__main__"}
        missing = sorted(each for each in names if not re.search(rf"\b{each}\b", said))
        assert not missing, f"{name}: its docstring does not name {', '.join(missing)}"


def test_the_guide_says_of_every_error_what_it_means_and_its_exit_code() -> None:
    guide = (ROOT / "docs" / "guide" / "operating.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+Error)` \| (\d+) \| ([^|]+) \| ([^|]+) \|$", guide, re.MULTILINE)
    shown = [(name, int(code)) for name, code, *_ in rows]
    assert sorted(shown) == sorted((kind.__name__, kind.exit_code) for kind in error_classes())
    told = set(map(int, re.findall(r"\b(1\d\d), ", guide[guide.index("Of the command alone") :])))
    assert told == set(COMMAND_EXIT_CODES)
