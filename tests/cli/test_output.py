"""What is printed at a terminal, in a pipe, and where one of them was asked for."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import transit as engine
from transit.cli.escapes import printable
from transit.cli.output import Output, cell, columns_of, plain

from .conftest import Command
from .shell import at_terminal, transit

ESCAPE = b"\x1b["


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with engine.open(tmp_path / "store") as log:
        log.create("a", metadata={"who": "\x1b[31mred"}).append(b"one\x1b[2Jtwo\n")
        log.create("宽").append(b"\xff")
    return tmp_path / "store"


def test_in_a_pipe_there_are_json_lines_and_nothing_else(store: Path) -> None:
    done = transit(store, "streams")
    assert [row["stream"] for row in done.rows] == ["a", "宽"]
    assert ESCAPE not in done.out
    assert done.err == b""


def test_asked_for_a_table_a_pipe_gets_one_without_colour(store: Path) -> None:
    lines = transit(store, "streams", "--format", "table").out.decode().splitlines()
    assert lines[0] == "stream  kind  records  finished  parents  metadata"
    assert lines[1] == "a       root  1        no                 who=\\x1b[31mred"
    assert lines[2] == "宽      root  1        no"


def test_a_terminal_gets_a_coloured_table_and_a_word_for_people(store: Path) -> None:
    done = at_terminal(store, "streams")
    assert done.out.startswith(b"\x1b[1mstream")
    assert done.out.endswith(b"2 streams\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "env"), [(("--no-color",), {}), ((), {"NO_COLOR": "1"})], ids=["option", "variable"]
)
def test_colour_is_left_out_when_it_is_not_wanted(
    words: tuple[str, ...], env: dict[str, str], store: Path
) -> None:
    for verb in (("streams",), ("read", "a"), ("read", "none")):
        assert ESCAPE not in at_terminal(store, *verb, *words, env=env).out


def test_colour_is_there_when_it_was_asked_for(store: Path) -> None:
    assert ESCAPE in transit(store, "read", "a", "--format", "table", "--color").out


def test_asked_for_json_a_terminal_gets_json_lines_alone(store: Path) -> None:
    done = at_terminal(store, "streams", "--format", "json")
    assert [row["stream"] for row in done.rows] == ["a", "宽"]


def test_no_record_steers_a_terminal(store: Path) -> None:
    shown = at_terminal(store, "read", "a", "宽", "--no-color").out.decode()
    assert "one\\x1b[2Jtwo\\n" in shown
    assert "\\xff" in shown
    assert "\x1b" not in shown


def test_a_long_table_is_printed_in_parts_under_one_head(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = Output("table", color=False)
    count = output.rows("", ("n", "text"), ((n, "x" * (n // 400)) for n in range(1200)))
    lines = capsys.readouterr().out.splitlines()
    assert (count, len(lines)) == (1200, 1201)
    assert lines.count("n    text") == 1
    assert (lines[1], lines[-1]) == ("0", "1199  xx")


def test_a_table_without_rows_has_its_head(capsys: pytest.CaptureFixture[str]) -> None:
    assert Output("table", color=False).rows("", ("a", "b"), ()) == 0
    assert capsys.readouterr().out == "a  b\n"


def test_rows_may_be_structs_mappings_and_sequences(capsys: pytest.CaptureFixture[str]) -> None:
    position = engine.Position("s", 1)
    rows = (
        engine.Edge("p", 0, "c", 1, 2),
        {"parent": position, "offset": None, "child": [True, b"\x00\xff"]},
        ("p", 1, 2.5),
    )
    Output("json").rows("", ("parent", "offset", "child"), rows)
    assert capsys.readouterr().out.splitlines() == [
        '{"parent":"p","offset":0,"child":"c","parent_id":1,"child_id":2}',
        '{"parent":{"stream":"s","offset":1},"offset":null,"child":[true,"00ff"]}',
        '{"parent":"p","offset":1,"child":2.5}',
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""), (True, "yes"), (False, "no"), (0, "0"), (1.5, "1.5"), ("a\tb", "a\\tb"),
        ([], ""),
        (engine.Position("a", 3), "a@3"), ([engine.Position("a", 3), "x"], "a@3, x"),
        ({"k": "v", "n": 1}, "k=v, n=1"), (msgspec.Raw(b'{"a":1}'), '{"a":1}'),
        ("\u202eevil", "\\u202eevil"), ("é", "é"), (Path("/x"), "/x"),
    ],
)  # fmt: skip
def test_a_cell_is_one_line_for_people(value: object, text: str) -> None:
    assert cell(value) == text


def test_printable_text_is_left_alone_and_wide_characters_are_counted() -> None:
    assert printable("aé宽 ") == "aé宽 "
    assert [columns_of(text) for text in ("ab", "é", "宽宽", "👩")] == [2, 1, 4, 2]


def test_a_document_has_a_line_for_each_field(capsys: pytest.CaptureFixture[str]) -> None:
    Output("table", color=False).document("title", {"a": 1, "long": None, "b": {"x": "y"}})
    assert capsys.readouterr().out == "title\na     1\nlong\nb     x=y\n"
    Output("json").document("title", {"a": 1})
    assert capsys.readouterr().out == '{"a":1}\n'


def test_progress_says_nothing_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with Output("auto").progress("publish") as report:
        report(engine.Progress("segments", 1, 2, 3, 4))
    assert capsys.readouterr() == ("", "")


def test_progress_is_a_bar_at_a_terminal(store: Path, tmp_path: Path) -> None:
    shown = at_terminal(store, "publish", "--remote", tmp_path / "remote").out
    assert b"publish: " in shown


def test_plain_keeps_what_json_knows() -> None:
    assert plain({"a": [1, {"b": (2,)}]}) == {"a": [1, {"b": [2]}]}
    assert plain(engine.Position("s", 1)) == {"stream": "s", "offset": 1}


def test_values_in_a_terminal_that_cannot_say_them_are_escaped(store: Path) -> None:
    env = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = transit(store, "streams", "--format", "table", env=env)
    assert done.code == 0
    assert b"\\u5bbd" in done.out


def test_joiners_are_shown_and_what_turns_text_is_not() -> None:
    joined = "\u0645\u06cc\u200c\u062e\u0648 \U0001f469\u200d\U0001f467"
    assert printable(joined) == joined
    assert printable("a\u202eb\u2028") == "a\\u202eb\\u2028"


def test_the_command_fixture_is_a_pipe(command: Command) -> None:
    assert command("create", "a").rows == [
        {"stream": "a", "kind": "root", "codec": None, "metadata": {}}
    ]
