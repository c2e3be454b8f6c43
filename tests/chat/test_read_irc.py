"""Logs of IRC: every shape of line, and every line one item."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transit.chat.imports import irc, read
from transit.chat.imports.items import Item, Member, Said
from transit.chat.imports.lines import Clock

from .exports import bads, said, written

LOGS = sorted(Path("/work/shared/data/irc").glob("*.ascii.txt"))
DAY = datetime.date(2004, 11, 15)


def items_of(path: Path, log: str | bytes, **options: object) -> list[Item]:
    path = path / "dev.log" if path.is_dir() else path
    path.write_bytes(log if isinstance(log, bytes) else log.encode())
    return written(irc.read(path, **options))  # type: ignore[arg-type]


def line_of(item: Item) -> str:
    if isinstance(item, Member):
        return str(item.source["line"])
    assert isinstance(item, Said)
    return str(item.source.get("head", "")) + item.text


def utc(*when: int) -> int:
    moment = datetime.datetime(*when, tzinfo=datetime.UTC)  # type: ignore[misc,arg-type]
    return int(moment.timestamp()) * 10**9


@pytest.mark.skipif(not LOGS, reason="the shared logs are not here")
@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.name)
def test_each_line_of_a_real_log_is_one_item_and_no_line_is_lost(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    items = written(read(path))
    assert [line_of(item) for item in items] == lines
    assert [item.place.number for item in items] == list(range(1, len(lines) + 1))
    assert not bads(items)
    assert len({item.id for item in items if not isinstance(item, type(None))}) == len(lines)
    assert (
        items[0].time // 10**9 // 86_400
        == (  # type: ignore[union-attr]
            datetime.date.fromisoformat(path.name[:10]) - datetime.date(1970, 1, 1)
        ).days
    )


@pytest.mark.parametrize(
    ("line", "author", "text", "clock"),
    [
        ("[03:12] <ada> hello: you", "ada", "hello: you", (3, 12, 0)),
        ("[03:12:07] <ada> hi", "ada", "hi", (3, 12, 7)),
        ("03:12 <ada> hi", "ada", "hi", (3, 12, 0)),
        ("03:12 <@ada> hi", "ada", "hi", (3, 12, 0)),
        ("03:12 < ada> hi", "ada", "hi", (3, 12, 0)),
        ("2004-11-15 03:12 <ada>", "ada", "", (3, 12, 0)),
        ("2004-11-15T03:12:07 <ada> hi", "ada", "hi", (3, 12, 7)),
        ("2004-11-15T05:12:07+0200 <ada> hi", "ada", "hi", (3, 12, 7)),
        ("[2004-11-15 03:12:07] <ada> hi", "ada", "hi", (3, 12, 7)),
        ("[03:12]  * ada does it", "ada", "does it", (3, 12, 0)),
        ("03:12  * ada does it", "ada", "does it", (3, 12, 0)),
        ("* ada does it", "ada", "does it", (0, 0, 0)),
        ("<ada> hi", "ada", "hi", (0, 0, 0)),
        ("<ada>  two spaces ", "ada", " two spaces ", (0, 0, 0)),
        ("03:12 -ChanServ- be nice", "ChanServ", "be nice", (3, 12, 0)),
        ("2004-11-15 03:12:07\t@ada\thi\tthere", "ada", "hi\tthere", (3, 12, 7)),
        ("2004-11-15 03:12:07\t *\tada does it", "ada", "does it", (3, 12, 7)),
        ("2004-11-15 03:12:07\t--\tMode #dev [+o ada]", "", "Mode #dev [+o ada]", (3, 12, 7)),
        ("=== mode/#dev [+o ada] by ChanServ", "", "=== mode/#dev [+o ada] by ChanServ", (0, 0, 0)),
        ("03:12 -!- Topic for #dev: build", "", "-!- Topic for #dev: build", (3, 12, 0)),
        ("--- Log opened Mon Nov 15 03:12:07 2004", "", None, (3, 12, 7)),
        ("**** BEGIN LOGGING AT Mon Nov 15 03:12:07 2004", "", None, (3, 12, 7)),
        ("", "", "", (0, 0, 0)),
        ("no shape at all", "", "no shape at all", (0, 0, 0)),
    ],
)
def test_a_line_says_who_and_what_and_when(
    tmp_path: Path, line: str, author: str, text: str | None, clock: tuple[int, int, int]
) -> None:
    (item,) = items_of(tmp_path, line + "\n", date=DAY)
    assert isinstance(item, Said)
    assert (item.author, item.text) == (author, line if text is None else text)
    assert item.system == (author == "")
    assert item.time == utc(2004, 11, 15, *clock)
    assert line_of(item) == line


@pytest.mark.parametrize(
    ("line", "who", "name", "change"),
    [
        ("=== ada is now known as ada_away", "ada", "ada_away", "renamed"),
        ("=== ada [~a@host]  has joined #dev []", "ada", "ada", "joined"),
        ('=== ada [~a@host]  has left #dev ["bye]', "ada", "ada", "left"),
        ("=== ada [~a@host] has quit [Ping timeout]", "ada", "ada", "left"),
        ("03:12 -!- ada [~a@host] has joined #dev", "ada", "ada", "joined"),
        ("03:12 -!- ada was kicked from #dev by bob [no]", "ada", "ada", "left"),
        ("[03:12:07] *** Joins: ada (~a@host)", "ada", "ada", "joined"),
        ("[03:12:07] *** Quits: ada (~a@host) (bye)", "ada", "ada", "left"),
        ("[03:12:07] *** ada is now known as eve", "ada", "eve", "renamed"),
        ("2004-11-15 03:12:07\t-->\tada (a@host) has joined #dev", "ada", "ada", "joined"),
        ("2004-11-15 03:12:07\t<--\tada (a@host) has quit (bye)", "ada", "ada", "left"),
        ("2004-11-15 03:12:07\t--\tada is now known as eve", "ada", "eve", "renamed"),
    ],
)
def test_who_comes_and_goes_is_a_member(
    tmp_path: Path, line: str, who: str, name: str, change: str
) -> None:
    (item,) = items_of(tmp_path, line + "\n")
    assert isinstance(item, Member)
    assert (item.author, item.name, item.change) == (who, name, change)
    assert item.source["line"] == line


def test_what_follows_three_signs_is_said_by_one_who_is_there_and_else_by_the_server(
    tmp_path: Path,
) -> None:
    log = (
        "=== eve looks in\n<ada> hi\n=== ada looks up\n=== ada is now known as bob\n=== bob nods\n"
    )
    first, _, action, _, later = items_of(tmp_path, log)
    assert isinstance(first, Said)
    assert first.system
    assert isinstance(action, Said)
    assert (action.author, action.text, action.source["action"]) == ("ada", "looks up", True)
    assert isinstance(later, Said)
    assert later.author == "bob"


def test_a_clock_that_goes_back_begins_a_new_day_and_an_hour_does_not(tmp_path: Path) -> None:
    clocks = ["23:58", "00:01", "23:59", "00:02", "02:59", "02:00"]
    log = "".join(f"[{clock}] <a> hi\n" for clock in clocks)
    times = [item.time for item in said(items_of(tmp_path, log, date=DAY))]
    assert times == [
        utc(2004, 11, 15, 23, 58),
        utc(2004, 11, 16, 0, 1),
        utc(2004, 11, 15, 23, 59),
        utc(2004, 11, 16, 0, 2),
        utc(2004, 11, 16, 2, 59),
        utc(2004, 11, 16, 2, 0),
    ]


def test_the_day_comes_from_lines_then_the_argument_then_the_name_then_1970(tmp_path: Path) -> None:
    log = "00:01 <a> 1\n--- Day changed Tue Nov 16 2004\n00:02 <a> 2\n"
    named = tmp_path / "#dev.2003-02-01.log"
    assert [each.time for each in said(items_of(named, log))] == [
        utc(2003, 2, 1, 0, 1),
        utc(2004, 11, 16),
        utc(2004, 11, 16, 0, 2),
    ]
    assert said(items_of(named, log, date=DAY))[0].time == utc(2004, 11, 15, 0, 1)
    assert said(items_of(tmp_path / "dev.log", log))[0].time == utc(1970, 1, 1, 0, 1)
    assert said(items_of(named, log))[0].channel == "#dev"
    assert said(items_of(named, log, channel="x"))[0].channel == "x"


def test_a_line_of_irssi_without_a_space_after_its_time_is_read(tmp_path: Path) -> None:
    """tommyrot/superseriousstats#12: every line of such a log was passed over."""
    log = "--- Log opened Mon Sep 30 00:00:44 2019\n16:59:05< nick2> nick1: redacted\n"
    opened, spoken = said(items_of(tmp_path, log))
    assert opened.system
    assert (spoken.author, spoken.text) == ("nick2", "nick1: redacted")
    assert spoken.time == utc(2019, 9, 30, 16, 59, 5)


def test_a_line_at_midnight_is_there(tmp_path: Path) -> None:
    """whitequark/irclogger#23: what was said at exactly midnight was not shown."""
    log = "[23:59:59] <a> before\n[00:00:00] <a> at\n[00:00:01] <a> after\n"
    assert [each.text for each in said(items_of(tmp_path, log))] == ["before", "at", "after"]


def test_a_reread_log_that_has_grown_has_the_same_items_first(tmp_path: Path) -> None:
    log = "[23:58] <a> 1\n=== b looks in\n[00:01] <b> 2\n"
    first = items_of(tmp_path, log)
    assert items_of(tmp_path, log + "[00:03] <a> 3\n")[:3] == first


def test_bytes_that_are_not_utf8_are_read_and_their_encoding_is_told(tmp_path: Path) -> None:
    log = b"\xef\xbb\xbf<a> gr\xc3\xbc\xc3\x9fe\r\n<a> gr\xfc\xdfe \x80\r\n<a> \x81\n<b> end"
    utf8, cp1252, latin1, last = said(items_of(tmp_path, log))
    assert (utf8.text, utf8.source) == ("grüße", {"head": "<a> "})
    assert (cp1252.text, cp1252.source["encoding"]) == ("grüße €", "cp1252")
    assert (latin1.text, latin1.source["encoding"]) == ("\x81", "latin-1")
    assert last.text == "end"


def test_a_time_that_is_none_and_a_line_without_end_are_bad_and_the_next_is_read(
    tmp_path: Path,
) -> None:
    log = b"[25:61] <a> when?\n" + b"x" * (irc.LINE_BYTES_MAX + 5) + b"\n<a> fine\n"
    clock, long, fine = items_of(tmp_path, log)
    assert [each.place.number for each in bads([clock, long])] == [1, 2]
    assert isinstance(fine, Said)
    assert fine.text == "fine"


def test_an_empty_log_has_no_items(tmp_path: Path) -> None:
    assert items_of(tmp_path, b"") == []


@settings(deadline=None)
@given(log=st.binary(max_size=300) | st.text(alphabet="[]<>*=-! :0123459\t\nab", max_size=300))
def test_any_bytes_are_read_line_by_line(
    tmp_path_factory: pytest.TempPathFactory, log: bytes | str
) -> None:
    data = log if isinstance(log, bytes) else log.encode()
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return
    path = tmp_path_factory.getbasetemp() / "any.log"
    items = items_of(path, data)
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if not lines[-1]:
        lines.pop()
    if data.startswith(b"\xef\xbb\xbf") and len(data) == 3:
        lines = [b""]
    assert len(items) == len(lines)
    for item, line in zip(items, lines, strict=True):
        if isinstance(item, Said | Member):
            encoding = str(item.source.get("encoding", "utf-8"))
            assert line_of(item).encode(encoding) == line.removesuffix(b"\r")


_PIECES = st.sampled_from(
    [
        "[",
        "(",
        "]",
        ")",
        "-",
        "\t",
        "12:34",
        "1:02",
        "23:59:59",
        "24:00",
        "0:00",
        "12:34:56.789",
        "2020-01-02",
        "2021-13-01",
        "9999-12-31",
        "Z",
        "+0100",
        "<ada>",
        "<@bob>",
        "<@>",
        "<+@x>",
        "*",
        "===",
        "-->",
        "hello",
        "١٢:٣٤",
        "<é>",
    ]
)
_LINE = st.lists(_PIECES, max_size=6).map(" ".join) | st.builds(
    "{}{}{}:{}{}{}{} hi".format,
    st.sampled_from(["", "[", "("]),
    st.sampled_from(["", "2020-01-02 ", "2020-02-30T", "9999-12-31 "]),
    st.sampled_from(["0", "09", "23", "24"]),
    st.sampled_from(["00", "59", "60"]),
    st.sampled_from(["", ":05", ":61", ":05.5"]),
    st.sampled_from(["", "]", ")", "Z"]),
    st.sampled_from([" <ada>", "<@bob>", "\t<ada>", "  <@>", " <+a> ", " * ada"]),
)


@settings(max_examples=200, deadline=None)
@given(lines=st.lists(_LINE, max_size=12))
def test_plain_lines_are_read_as_all_others_are(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "plain.log"
    items = items_of(path, "\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Clock, "plain", lambda *_: None)
        assert items_of(path, "\n".join(lines)) == items
