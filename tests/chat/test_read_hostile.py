"""Files that are made to harm or to confuse: readers answer with items, or with an error."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transit.chat.imports import FORMATS, detect, documents, read, scanner, trees
from transit.chat.imports.documents import Unreadable
from transit.errors import InvalidInputError, NotFoundError, TransitError

from .exports import ANYTHING, bads, pack, put, read_or_refused, said, written
from .test_read_matrix import event
from .test_read_slack import export, message

DEEP = b"[" * 100_000


def entries(data: bytes, key: str = "messages") -> list[documents.Entry]:
    part = documents.document(io.BytesIO(data), "x.json", key)
    assert part.entries is not None
    return list(part.entries)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'"\\ud83d cut"', "\\ud83d cut"),
        (b'{"\\udc00": ["\\ud83d\\ude00"]}', {"\\udc00": ["😀"]}),
        (b"[123456789012345678901234567890]", ["123456789012345678901234567890"]),
        (b"[-9223372036854775809, 18446744073709551615]", ["-9223372036854775809", 2**64 - 1]),
        (b"1" * 5_000, "1" * 5_000),
        (b"[1e999]", ["1e999"]),
        (b'["a", 1.5, null, true]', ["a", 1.5, None, True]),
        (b"[" * 100 + b"]" * 100, json.loads("[" * 100 + "]" * 100)),
    ],
)
def test_what_json_cannot_write_is_kept_as_text(raw: bytes, value: object) -> None:
    assert documents.decode(raw) == value


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"NaN", "NaN is no number"),
        (b"[Infinity]", "Infinity is no number"),
        (b'"\xff"', "not UTF-8"),
        (DEEP, "nested deeper"),
        (b"[" * 101 + b"]" * 101, "nested deeper"),
        (DEEP + b"]" * 100_000, "nested deeper"),
        (b'{"a":' * 100_000, "nested deeper"),
        (b"", "not JSON"),
        (b"{'a': 1}", "not JSON"),
    ],
)
def test_what_is_no_record_says_why(raw: bytes, reason: str) -> None:
    found = documents.decode(raw)
    assert isinstance(found, Unreadable)
    assert reason in found.reason


def test_one_damaged_record_leaves_the_others() -> None:
    damaged = [b"{oops}", b"NaN", b'"\xff"', b'{"a" 1}', b"[1,]", b'"a\nb"', b"nul", b'"\\x"']
    for bad in damaged:
        first, second, third = entries(b'[{"n":1}, ' + bad + b' , {"n":3}]')
        assert (first.value, third.value) == ({"n": 1}, {"n": 3})
        assert isinstance(second.value, Unreadable)
        assert second.raw == bad


def test_a_document_says_where_it_is_cut() -> None:
    whole = b'{"a": {"b": [1]}, "messages": [{"t": "x]}\\""}, 2, "three"]}'
    for size in range(whole.index(b"[{") + 2, len(whole) - 2):
        *_, last = entries(whole[:size])
        assert isinstance(last.value, Unreadable), size
    assert [each.value for each in entries(whole[:-1])] == [{"t": 'x]}"'}, 2, "three"]


@settings(deadline=None, max_examples=40)
@given(head=st.dictionaries(st.text(max_size=5), ANYTHING, max_size=3), items=st.lists(ANYTHING))
@pytest.mark.parametrize("indent", [None, 1])
def test_scanning_a_document_finds_what_decoding_it_finds(
    head: dict[str, object], items: list[object], indent: int | None
) -> None:
    whole = json.dumps({**head, "messages": items}, indent=indent, ensure_ascii=bool(indent))
    data = whole.encode("utf-8", "surrogatepass")
    before = (scanner.PIECE_BYTES, documents.WHOLE_BYTES_MAX)
    expected = [(each.number, each.value) for each in entries(data)]
    scanner.PIECE_BYTES, documents.WHOLE_BYTES_MAX = 3, 1
    try:
        assert [(each.number, each.value) for each in entries(data)] == expected
    finally:
        scanner.PIECE_BYTES, documents.WHOLE_BYTES_MAX = before


@settings(deadline=None, max_examples=300)
@given(data=st.text(alphabet='[]{},:" \\n1ae\n', max_size=60).map(str.encode) | st.binary())
def test_any_bytes_are_a_document_or_refused(data: bytes) -> None:
    try:
        part = documents.document(io.BytesIO(data), "x.json", "n")
    except InvalidInputError:
        return
    assert part.entries is None or len(list(part.entries)) <= len(data) + 1


def test_a_record_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "WHOLE_BYTES_MAX", 1_000)
    monkeypatch.setattr(documents, "RECORD_BYTES_MAX", 3_000)
    monkeypatch.setattr(scanner, "PIECE_BYTES", 500)
    one, two = entries(b'[1, "' + b"x" * 100_000 + b'", 3]')
    assert one.value == 1
    assert isinstance(two.value, Unreadable)
    assert "longer than 3000" in two.value.reason
    lines = list(documents.lines(io.BytesIO(b'{}\n"' + b"x" * 100_000 + b'"\n3\n'), "x"))
    assert [isinstance(each.value, Unreadable) for each in lines] == [False, True, False]


@pytest.mark.parametrize("format", FORMATS)
def test_a_path_that_is_not_there_or_cannot_be_read_names_itself(
    tmp_path: Path, format: str
) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        list(read(tmp_path / "nowhere", format))
    with pytest.raises(InvalidInputError, match="no path"):
        list(read("a\0b", format))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInputError, match="pipe"):
        list(read(tmp_path / "pipe", format))


@pytest.mark.parametrize("format", ["slack", "discord", "matrix"])
@pytest.mark.parametrize("data", [b"", b"hello", b"7", b"{", b'{"a": 1}', b"\xff\xfe{\0}\0", DEEP])
def test_a_file_that_is_no_json_of_an_export_is_refused_or_told(
    tmp_path: Path, format: str, data: bytes
) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(data)
    found = read_or_refused(lambda: read(path, format))
    if isinstance(found, TransitError):
        assert "file.json" in str(found)
    else:
        assert found
        assert found == bads(found)


def test_a_format_that_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    for data in (b"", b"hello\nthere\n", b"{}", b'[{"type": "message"}]', b"\0\1\2"):
        path = tmp_path / "file"
        path.write_bytes(data)
        with pytest.raises(InvalidInputError, match=r"format=, one of irc, slack, discord, mbox"):
            read(path)
    with pytest.raises(InvalidInputError, match="format="):
        detect(tmp_path)
    with pytest.raises(InvalidInputError, match="'zulip' is none of"):
        read(path, "zulip")


def test_formats_are_told_from_what_is_there(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            "a": b"[03:12] <ada> hi\n=== bob joins in\n",
            "b": b"--- Log opened Mon Nov 15 03:12:07 2004\n03:12 <ada> hi\n",
            "c": b"From ada@x Mon Nov 15 03:12:07 2004\nSubject: x\n\nhi\n",
            "d": {"guild": {}, "channel": {}, "messages": []},
            "e": [event(1)],
            "f": {"room_name": "x", "messages": []},
        },
    )
    told = [detect(tmp_path / name) for name in "abcdef"]
    assert told == ["irc", "irc", "mbox", "discord", "matrix", "matrix"]


def test_links_that_lead_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    secret = put(tmp_path, {"secret.json": [message("1.0", "secret")]}) / "secret.json"
    folder = put(tmp_path / "export", export(message("1.0"), message("2.0")))
    (folder / "general" / "2020-01-02.json").symlink_to(secret)
    (folder / "general" / "2020-01-03.json").symlink_to(folder / "general" / "2020-01-01.json")
    (folder / "outside").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(folder / "general" / "2020-01-04.json")
    items = written(read(folder))
    assert [each.text for each in said(items)] == ["hi", "hi"]
    assert [each.place.file for each in bads(items)] == [
        "general/2020-01-02.json",
        "general/2020-01-04.json",
    ]


def test_a_link_that_is_not_followed_does_not_hide_what_the_folder_holds(tmp_path: Path) -> None:
    put(tmp_path / "export", {"b.json": [event(1)]})
    (tmp_path / "export" / "a.json").symlink_to("/etc/passwd")
    assert detect(tmp_path / "export") == "matrix"
    assert len(bads(read(tmp_path / "export"))) == 1


def test_names_in_an_archive_are_labels_and_nothing_is_written(tmp_path: Path) -> None:
    files = export(message("1.0"))
    files["../../evil/2020-01-01.json"] = [message("2.0")]
    files["/etc/2020-01-01.json"] = [message("3.0")]
    files["general\\2020-01-02.json"] = [message("4.0")]
    (tmp_path / "in").mkdir()
    archive = pack(tmp_path / "in" / "x.zip", files)
    items = written(read(archive))
    assert {each.text for each in said(items)} == {"hi"}
    assert "slack:C1/4.0" in {each.id for each in said(items)}
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in", "x.zip"]


def test_an_archive_that_is_encrypted_is_refused(tmp_path: Path) -> None:
    archive = pack(tmp_path / "x.zip", export(message("1.0")))
    data = bytearray(archive.read_bytes())
    # The flag is in the eighth byte of each entry of the directory.
    at = data.index(b"PK\1\2")
    data[at + 8] |= 1
    archive.write_bytes(data)
    with pytest.raises(InvalidInputError, match="encrypted"):
        list(read(archive, "slack"))


def test_a_member_that_says_it_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "MEMBER_BYTES_MAX", 1_000)
    files = export(message("1.0", "x" * 2_000))
    with pytest.raises(InvalidInputError, match="may have 1000"):
        list(read(pack(tmp_path / "x.zip", files)))
    # Files that are not read may be as large as they like.
    fine = {**export(message("1.0")), "general/film.mp4": b"x" * 2_000}
    assert len(said(read(pack(tmp_path / "y.zip", fine)))) == 1


def test_a_member_that_gives_more_than_it_says_ends_where_it_says(tmp_path: Path) -> None:
    archive = pack(tmp_path / "x.zip", export(message("1.0", "x" * 10_000)))
    data = bytearray(archive.read_bytes())
    at = data.index(b"general/2020-01-01.json", data.index(b"PK\1\2")) - 46
    data[at + 24 : at + 28] = struct.pack("<I", 100)
    archive.write_bytes(data)
    items = written(read(archive))
    assert not said(items)
    assert bads(items)


def test_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    archive = pack(tmp_path / "x.zip", export(message("1.0")))
    data = bytearray(archive.read_bytes())
    first = data.index(b"PK\1\2")
    second = data.index(b"PK\1\2", first + 1)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    archive.write_bytes(data)
    with pytest.raises(InvalidInputError, match="shares bytes"):
        list(read(archive, "slack"))


def test_a_damaged_member_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    files = export(message("1.0"), **{"general/2020-01-02.json": [message("2.0", "y" * 300)]})
    archive = pack(tmp_path / "x.zip", files)
    with zipfile.ZipFile(archive) as opened:
        at = opened.getinfo("general/2020-01-02.json").header_offset
    data = bytearray(archive.read_bytes())
    for number in range(60, 75):
        data[at + number] ^= 0x5A
    archive.write_bytes(data)
    items = written(read(archive))
    assert [each.id for each in said(items)] == ["slack:C1/1.0"]
    (bad,) = bads(items)
    assert "damaged" in bad.reason


@settings(deadline=None, max_examples=100)
@given(
    cuts=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=6),
    size=st.integers(0, 700),
)
def test_any_damage_to_an_archive_is_told(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[tuple[int, int]], size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.zip"
    data = bytearray(pack(path, export(message("1.0"))).read_bytes()[: size or None])
    for at, byte in cuts:
        data[at % len(data)] = byte
    path.write_bytes(data)
    found = read_or_refused(lambda: read(path))
    if isinstance(found, TransitError):
        assert "damaged.zip" in str(found)


def test_a_file_name_that_is_no_text_is_a_label(tmp_path: Path) -> None:
    folder = put(tmp_path, export())
    odd = os.fsencode(folder) + b"/caf\xe9"
    os.mkdir(odd)
    with open(odd + b"/2020-01-01.json", "wb") as file:
        file.write(json.dumps([message("1.0")]).encode())
    (one,) = said(written(read(folder)))
    assert one.channel == "caf\ufffd"


@settings(deadline=None, max_examples=150)
@given(data=st.binary(max_size=200) | ANYTHING.map(lambda value: json.dumps(value).encode()))
@pytest.mark.parametrize("format", ["auto", *FORMATS])
def test_any_file_gives_items_or_an_error_of_transit(
    tmp_path_factory: pytest.TempPathFactory, format: str, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.bin"
    path.write_bytes(data)
    found = read_or_refused(lambda: read(path, format))
    if isinstance(found, TransitError):
        assert "any.bin" in str(found)
