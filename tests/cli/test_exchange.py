"""`transit export` and `transit import`: round trips, chains, and what is refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

import transit as engine

from .conftest import Command
from .shell import Done, transit

Stream = tuple[str, Any, Any, Any, list[tuple[Any, ...]]]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Roots, branches (of branches, of empty beginnings) and merges (of merges), all bytes."""
    with engine.open(tmp_path / "store") as log:
        a = log.create(
            "a", metadata={"s": "é", "i": -3, "f": 0.5, "b": True, "n": None}, codec="json"
        )
        early = a.branch("early", metadata={"why": "nothing yet"})
        early.branch("earlier").append(b"e")
        moment = 1_700_000_000_000_000_000
        for number in range(6):
            a.append(
                bytes([number, 255 - number]) if number % 2 else b'{"n":%d}' % number,
                headers={"kind": f"k{number}", "é": "\n"} if number % 3 else None,
                timestamp=moment + number,
            )
        b = a.branch("b", at=2, metadata={"reason": "retry"})
        b.append(b"b", timestamp=moment + 3)
        c = b.branch("c", at=3)
        c.append(b"c", timestamp=moment + 100)
        m = log.merge("m", [a, c], policy="interleave", metadata={"m": 1})
        m.append(b"after")
        log.merge("s", [b, m], policy="select", params={"selected": "m"})
        log.merge("over", [engine.Position("a", 1), early], policy="append")
        log.merge("based", [a, b], policy="append", base=engine.Position("a", 1))
        m.branch("inside", at=1).append(b"i")
        log.create("aempty")
        log.create("\u0645\u06cc\u200c\u062e\u0648 \U0001f469\u200d\U0001f467").append(b"joined")
        early.append(b"late")
    return tmp_path / "store"


def content(path: Path, prefix: str = "") -> dict[str, Stream]:
    """Everything a user sees of a store, but ids and merge ids."""
    with engine.open(path, mode="read") as log:
        return {
            stream.name.removeprefix(prefix): (
                stream.kind,
                dict(stream.metadata),
                stream.codec,
                [(parent.stream.removeprefix(prefix), parent.offset) for parent in stream.parents],
                [
                    (
                        r.offset,
                        r.timestamp,
                        r.payload,
                        dict(r.headers),
                        r.origin.stream.removeprefix(prefix),
                        r.origin.offset,
                    )
                    for r in stream.read()
                ],
            )
            for stream in log.streams(prefix)
        }


def plans(path: Path) -> dict[str, engine.MergePlan | None]:
    with engine.open(path, mode="read") as log:
        return {stream.name: stream.merge_plan for stream in log.streams()}


@pytest.mark.parametrize("form", ["jsonl", "chain"])
def test_a_whole_store_comes_back_with_its_lineage(
    form: str, command: Command, store: Path, tmp_path: Path
) -> None:
    exported = command("export", "--all", "--as", form)
    assert exported.code == 0
    done = command("import", "--store", tmp_path / "copy", stdin=exported.out)
    assert done.code == 0, done.err
    assert content(tmp_path / "copy") == content(store)
    assert plans(tmp_path / "copy") == plans(store)
    again = command("export", "--all", "--as", form, "--store", tmp_path / "copy")
    assert again.out == exported.out
    with engine.open(tmp_path / "copy", mode="read") as log:
        assert log.verify().ok


@pytest.mark.parametrize("form", ["jsonl", "chain"])
def test_a_stream_alone_comes_back_whole_as_a_root(
    form: str, command: Command, store: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(command("export", "m", "c", "--as", form).out)
    assert command("import", "file", "--store", tmp_path / "copy").code == 0
    original, copy = content(store), content(tmp_path / "copy")
    assert list(copy) == ["m", "c"]
    for name, stream in copy.items():
        kind, metadata, codec, _, records = original[name]
        assert stream[:4] == ("root", metadata, codec, [])
        assert [record[:4] for record in stream[4]] == [record[:4] for record in records]
        assert kind != "root"


def test_lineage_takes_the_ancestors_along(command: Command, store: Path, tmp_path: Path) -> None:
    exported = command("export", "s", "--lineage").out
    assert command("import", "--store", tmp_path / "copy", stdin=exported).code == 0
    original = content(store)
    assert content(tmp_path / "copy") == {
        name: original[name] for name in ("a", "b", "c", "m", "s")
    }


@pytest.mark.parametrize("form", ["jsonl", "chain"])
def test_into_a_prefix_everything_is_there_twice(form: str, command: Command, store: Path) -> None:
    exported = command("export", "--all", "--as", form).out
    before = content(store)
    assert command("import", "--into", "copy/", "--new-uids", stdin=exported).code == 0
    assert content(store, "copy/") == before
    again = command("import", "--into", "copy/", "--new-uids", stdin=exported)
    assert (again.code, again.error["kind"]) == (4, "already_exists")


def test_a_stream_that_is_there_stops_everything(command: Command, store: Path) -> None:
    exported = command("export", "a", "b").out.replace(b'"a"', b'"new"')
    assert command("import", stdin=exported).code == 4
    assert command("show", "new").code == 3


def test_each_stream_is_one_frame_where_it_fits(
    command: Command, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = command("export", "--all").out
    rows = command("import", "--store", tmp_path / "one", stdin=exported).rows
    assert {row["frames"] for row in rows} == {1}
    monkeypatch.setenv("TRANSIT_LIMITS_RECORD_BYTES_MAX", "64")
    monkeypatch.setenv("TRANSIT_LIMITS_FRAME_BYTES_MAX", "640")
    rows = command("import", "--store", tmp_path / "many", stdin=exported).rows
    assert rows[0]["frames"] > 1
    assert content(tmp_path / "many") == content(store)


def test_several_files_are_imported_together(command: Command, store: Path, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(command("export", "a", "--as", "chain").out)
    (tmp_path / "y").write_bytes(command("export", "b").out)
    rows = command("import", "x", "y", "--store", tmp_path / "copy").rows
    assert [row["stream"] for row in rows] == ["a", "b"]


def test_a_hand_written_import_needs_little(command: Command, tmp_path: Path) -> None:
    lines = b'{"type":"stream","name":"h","kind":"root"}\n{"stream":"h","payload":"x"}\n'
    assert command("import", stdin=lines).rows[0]["records"] == 1
    assert command("read", "h", "--raw").out == b"x\n"


# The chain


def canonical(line: dict[str, Any]) -> bytes:
    """As the documentation says it, with the standard library."""
    return json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_a_chain_is_what_the_documentation_says(command: Command, store: Path) -> None:
    rows = command("export", "a", "b", "--as", "chain").rows
    last: str | None = None
    for row in rows:
        if row["event_type"] == "transit.stream":
            last = None
            assert (row["timestamp"], row["offset"], row["headers"]) == (None, None, {})
            assert json.loads(row["data"])["name"] == row["stream"]
        assert row["parent_hash"] == last
        last = row.pop("hash")
        assert blake3(canonical(row)).hexdigest() == last
    kinds = [row["event_type"] for row in rows[:7]]
    assert kinds == ["transit.stream", "record", "k1", "k2", "record", "k4", "k5"]
    assert {row["encoding"] for row in rows} == {"utf-8", "base64"}


def chain(command: Command, *streams: str) -> bytes:
    return command("export", *streams, "--as", "chain").out


def refuse(command: Command, data: bytes, tmp_path: Path, *words: object) -> Done:
    done = command("import", *words, "--store", tmp_path / "refused", stdin=data)
    assert not (tmp_path / "refused").exists(), "something was appended"
    return done


def test_every_flipped_bit_of_a_chain_is_found(
    command: Command, store: Path, tmp_path: Path
) -> None:
    whole = chain(command, "b")
    choice = random.Random(5)
    for place in [*range(120), *choice.sample(range(len(whole)), 200)]:
        data = bytearray(whole)
        data[place] ^= 1 << choice.randrange(8)
        if json_equal(bytes(data), whole):
            continue
        done = refuse(command, bytes(data), tmp_path)
        assert done.code == 7, (place, done)


def json_equal(a: bytes, b: bytes) -> bool:
    try:
        return [json.loads(x) for x in a.splitlines()] == [json.loads(x) for x in b.splitlines()]
    except ValueError:
        return False


def test_a_changed_line_is_named_with_both_hashes(
    command: Command, store: Path, tmp_path: Path
) -> None:
    whole = chain(command, "b")
    changed = whole.replace(b'"data":"b"', b'"data":"B"')
    error = refuse(command, changed, tmp_path).error
    assert error["place"] == "standard input, line 5"
    assert json.loads(whole.splitlines()[4])["hash"] in error["expected"]
    row = json.loads(changed.splitlines()[4])
    del row["hash"]
    assert blake3(canonical(row)).hexdigest() in error["found"]


def lines_without(number: int) -> Callable[[list[bytes]], list[bytes]]:
    return lambda lines: lines[:number] + lines[number + 1 :]


@pytest.mark.parametrize(
    "change",
    [
        lines_without(0), lines_without(2), lines_without(-1),
        lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]],
        lambda lines: [*lines, lines[-1]],
        lambda lines: lines[:3],
        lambda lines: [*lines, b"\n"],
    ],
    ids=["first", "middle", "last", "swapped", "twice", "cut", "empty line"],
)  # fmt: skip
def test_lines_that_are_missing_or_moved_are_found(
    change: Callable[[list[bytes]], list[bytes]], command: Command, store: Path, tmp_path: Path
) -> None:
    lines = chain(command, "b").splitlines(keepends=True)
    assert refuse(command, b"".join(change(lines)), tmp_path).code == 7


def test_a_chain_may_be_spelled_otherwise(command: Command, store: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in chain(command, "b").splitlines()]
    spelled = "\n".join(json.dumps(row, indent=None) for row in rows).encode()
    assert command("import", "--store", tmp_path / "copy", stdin=spelled).code == 0


def test_text_that_looks_like_base64_stays_text(command: Command, tmp_path: Path) -> None:
    with engine.open(tmp_path / "store") as log:
        log.create("a").append_many([b"aGVsbG8=", b"\xff\xfe\xfd", b""])
    for form in ("jsonl", "chain"):
        exported = command("export", "a", "--as", form).out
        assert command("import", "--into", form, "--new-uids", stdin=exported).code == 0
        with engine.open(tmp_path / "store", mode="read") as log:
            copied = [record.payload for record in log.stream(f"{form}a").read()]
        assert copied == [b"aGVsbG8=", b"\xff\xfe\xfd", b""]


# What is refused


STREAM = '{"type":"stream","name":"r","kind":"root"}'
BRANCH = '{"type":"stream","name":"x","kind":"branch","parents":[{"stream":"r","offset":%d}]%s}'
MERGE = (
    '{"type":"stream","name":"x","kind":"merge","policy":"%s","version":1,"inherited":%d,'
    '"parents":[{"stream":"r","offset":0},{"stream":"q","offset":0}]}'
)
RECORD = '{"stream":"r","payload":"x"}'
OTHER = STREAM.replace('"r"', '"q"') + "\n" + RECORD.replace('"r"', '"q"')


@pytest.mark.parametrize(
    ("lines", "code", "message"),
    [
        ([], 2, "no stream"),
        (["{}"], 2, "line 1: neither a stream nor a record"),
        (["no"], 2, "line 1: neither"),
        ([RECORD], 2, "does not follow"),
        ([STREAM, RECORD.replace('"r"', '"q"')], 2, "line 2: a record of 'q' does not follow"),
        ([STREAM, STREAM], 2, "is there twice"),
        ([STREAM, '{"stream":"r","payload":"x","offset":1}'], 7, "expected offset 0"),
        ([STREAM, '{"stream":"r","payload":"?","encoding":"base64"}'], 2, "line 2: "),
        ([STREAM, '{"stream":"r","payload":"x","encoding":"hex"}'], 2, "line 2: neither"),
        ([STREAM, '{"stream":"r","payload":"x","timestamp":"soon"}'], 2, "not a time"),
        ([STREAM.replace("}", ',"own":2}'), RECORD], 7, "expected 2 records"),
        ([STREAM.replace("root", "odd")], 2, "line 1: neither"),
        ([STREAM.replace('"r"', '"$r"')], 2, "leading '$'"),
        ([BRANCH % (0, ',"inherited":1')], 3, "not in the import"),
        ([STREAM, BRANCH % (0, ',"inherited":1')], 7, "expected an offset of 0 records"),
        ([STREAM, RECORD, BRANCH % (0, "")], 7, "parents of a branch"),
        ([STREAM, RECORD, OTHER, MERGE % ("custom:mine", 2)], 2, "custom:mine"),
        ([STREAM, RECORD, OTHER, MERGE % ("odd", 2)], 3, "no merge policy 'odd'"),
        ([STREAM, RECORD, OTHER, MERGE % ("select", 2)], 7, "parents of a merge"),
        (
            [STREAM, RECORD, OTHER, (MERGE % ("append", 2)).replace('"name":"x"', '"name":"$A/x"')],
            2,
            "a layer's name",
        ),
        ([STREAM, RECORD, OTHER, (MERGE % ("append", 2)).replace('"policy":"append",', "")], 7, ""),
    ],
)
def test_what_cannot_be_imported_is_refused_before_anything_is_appended(
    lines: list[str], code: int, message: str, command: Command, tmp_path: Path
) -> None:
    done = command("import", stdin="\n".join(lines).encode())
    assert done.code == code, done
    assert message in done.error["message"]
    assert done.out == b""
    assert not (tmp_path / "store").exists() or command("streams").out == b""


@pytest.mark.parametrize(("policy", "inherited", "code"), [("append", 2, 0), ("append", 3, 7)])
def test_a_merge_that_would_come_out_otherwise_is_not_made(
    policy: str, inherited: int, code: int, command: Command
) -> None:
    lines = "\n".join([STREAM, RECORD, OTHER, MERGE % (policy, inherited)])
    done = command("import", stdin=lines.encode())
    assert done.code == code, done
    # What came before it is there, and told.
    assert [row["stream"] for row in done.rows][:2] == ["r", "q"]
    assert command("show", "x").code == (3 if code else 0)


def test_a_record_over_the_limit_is_refused(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRANSIT_LIMITS_RECORD_BYTES_MAX", "3")
    lines = f'{STREAM}\n{{"stream":"r","payload":"1234"}}\n'.encode()
    assert "record_bytes_max is 3" in command("import", stdin=lines).error["message"]
    endless = STREAM.encode() + b"\n" + b"x" * (2 << 20)
    assert "longer than" in command("import", stdin=endless).error["message"]


def test_export_takes_streams_or_all(command: Command, store: Path) -> None:
    assert command("export").code == 2
    assert command("export", "a", "--all").code == 2
    assert command("export", "none").code == 3
    assert command("export", "a", "a").rows == command("export", "a").rows


def test_one_process_exports_and_another_imports(store: Path, tmp_path: Path) -> None:
    exported = transit(store, "export", "--all", "--as", "chain").out
    done = transit(tmp_path / "copy", "import", "-", stdin=exported)
    assert done.code == 0
    assert content(tmp_path / "copy") == content(store)


def test_streams_of_layers_come_along_with_all_but_for_those_made_again(
    command: Command, tmp_path: Path
) -> None:
    with engine.open(tmp_path / "store", durability="os") as log:
        run = log.create("run")
        run.append(b"r")
        trace = log.layer("trace")
        trace.create("artifact/1", {"byte_length": 4}).append(b"same")
        trace.branch(run, "copy").append(b"c")
        log.layer("views").create("totals", derived=True).append(b"1")
    exported = command("export", "--all").out
    assert b"$views" not in exported
    for target, into in (("other", ""), ("other", "again-"), ("third", "p-")):
        store = str(tmp_path / target)
        given = ["import", "--store", store, *(["--into", into, "--new-uids"] if into else [])]
        lines = exported
        if into == "again-":
            # A layer's streams have one name each; only such as are the same may be there already.
            lines = b"".join(x for x in exported.splitlines(True) if b"$trace/copy" not in x)
        done = command(*given, stdin=lines)
        assert done.code == 0, done
    with engine.open(tmp_path / "other", mode="read") as log:
        assert [s.name for s in log.streams()] == ["run", "again-run"]
        found = {s.name: [r.payload for r in s] for s in log.streams("$")}
        assert found == {"$trace/artifact/1": [b"same"], "$trace/copy": [b"r", b"c"]}
        assert log.stream("$trace/copy").parents == (engine.Position("run", 0),)
    changed = exported.replace(b'"byte_length":4', b'"byte_length":5')
    refused = command("import", "--store", str(tmp_path / "third"), "--into", "q-", stdin=changed)
    assert "'$trace/artifact/1' exists" in refused.error["message"]
    own = b'{"type":"stream","name":"$cursors/1/c","kind":"root"}\n'
    refused = command("import", "--store", str(tmp_path / "third"), stdin=own)
    assert refused.code == 2, refused


def test_verbs_read_a_layers_stream_and_list_it_when_asked(
    command: Command, tmp_path: Path
) -> None:
    with engine.open(tmp_path / "store", durability="os") as log:
        log.create("run")
        log.layer("trace").create("artifact/1").append(b"bytes")
    assert [row["stream"] for row in command("streams").rows] == ["run"]
    assert [row["stream"] for row in command("streams", "$").rows] == ["$trace/artifact/1"]
    assert command("read", "$trace/artifact/1").rows[0]["payload"] == "bytes"


def test_a_merge_in_a_layer_is_imported_as_it_was(command: Command, tmp_path: Path) -> None:
    with engine.open(tmp_path / "first") as log:
        for number, name in enumerate(("a", "b")):
            log.create(name).append(name.encode(), timestamp=number)
        room = log.layer("room")
        room.merge("m", ["a", "b"], policy="interleave", metadata={"k": 1}).append(b"own")
        room.merge("n", ["$room/m", "b"], policy="select", params={"selected": "$room/m"})
    exported = command("export", "--all", "--store", str(tmp_path / "first")).out
    for into in ("", "copy/"):
        store = tmp_path / f"second{into.strip('/')}"
        given = ["import", "--store", str(store), *(["--into", into] if into else [])]
        done = command(*given, stdin=exported)
        assert done.code == 0, done
        with engine.open(store, mode="read") as log:
            merged = log.layer("room").stream("m")
            assert [r.payload for r in merged] == [b"a", b"b", b"own"]
            assert merged.metadata == {"k": 1}
            assert merged.parents == (
                engine.Position(f"{into}a", 0), engine.Position(f"{into}b", 0),
            )  # fmt: skip
            assert len(log.stream("$room/n")) == 3
            assert log.verify().ok


# Uids


def uids(path: Path) -> dict[str, str]:
    with engine.open(path, mode="read") as log:
        return {stream.name: stream.uid for stream in [*log.streams(), *log.streams("$")]}


def check_uids(command: Command, store: Path, tmp_path: Path, form: str) -> None:
    """What is exported and imported has the uids it had, and a copy has others."""
    exported = command("export", "--all", "--as", form).out
    assert command("import", "--store", tmp_path / "other", stdin=exported).code == 0
    before = uids(store)
    assert uids(tmp_path / "other") == before
    again = command("import", "--into", "copy/", stdin=exported)
    assert again.code == 4
    assert again.error["kind"] == "already_exists"
    assert f"'a' is here already, as 'a': uid {before['a']}" in again.error["message"]
    assert "--new-uids" in again.error["hint"]
    assert uids(store) == before
    assert command("import", "--into", "copy/", "--new-uids", stdin=exported).code == 0
    after = uids(store)
    assert {name: after[name] for name in before} == before
    assert len(set(after.values())) == 2 * len(before)
    # A branch that is exported whole, as a root, is the same stream.
    whole = command("export", "b", "--as", form).out
    assert command("import", "--store", tmp_path / "third", stdin=whole).code == 0
    assert uids(tmp_path / "third") == {"b": before["b"]}


@pytest.mark.parametrize("form", ["jsonl", "chain"])
def test_a_stream_keeps_its_uid_from_store_to_store(
    form: str, command: Command, store: Path, tmp_path: Path
) -> None:
    check_uids(command, store, tmp_path, form)


def test_a_stream_that_is_there_hidden_is_told(command: Command, store: Path) -> None:
    exported = command("export", "a").out
    assert command("hide", "a").code == 0
    refused = command("import", stdin=exported)
    assert "'a' is here already, as 'a', hidden" in refused.error["message"]


@pytest.mark.parametrize("uid", [b'"0"', b"7", b'"%s"' % (b"A" * 32), b'"%s\\n"' % (b"0" * 31)])
def test_a_line_with_what_is_no_uid_is_refused(
    uid: bytes, command: Command, tmp_path: Path
) -> None:
    refuse(command, b'{"type":"stream","name":"h","kind":"root","uid":%s}\n' % uid, tmp_path)


def test_two_lines_with_one_uid_are_refused(command: Command, tmp_path: Path) -> None:
    line = '{"type":"stream","name":"%s","kind":"root","uid":"%s"}\n'
    lines = "".join(line % (name, "0" * 32) for name in "hi").encode()
    done = refuse(command, lines, tmp_path)
    assert done.error["expected"] == "a uid that no other stream has"


def test_show_and_streams_tell_the_uid(command: Command, store: Path) -> None:
    known = uids(store)
    assert command("show", "b").rows[0]["uid"] == known["b"]
    assert {row["stream"]: row["uid"] for row in command("streams").rows} == known


@pytest.mark.parametrize("form", ["jsonl", "chain"])
@pytest.mark.parametrize(
    ("owner", "name", "wrong"),
    [
        ("transit.cli.importing.Plan", "uid", lambda plan, entry: None),
        ("transit.cli.importing.Plan", "_check_free", lambda plan, log, entry: None),
        ("transit.engine.stream.Stream", "uid", property(lambda stream: f"{stream.id:032x}")),
        ("transit.cli.importing.Plan", "uid", lambda plan, entry: entry.uid),
    ],
    ids=["dropped by import", "not looked for", "made from the id", "kept by a copy"],
)
def test_a_planted_bug_is_found(
    owner: str,
    name: str,
    wrong: object,
    form: str,
    command: Command,
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(f"{owner}.{name}", wrong)
    with pytest.raises(AssertionError):
        check_uids(command, store, tmp_path, form)


@pytest.mark.parametrize("form", ["jsonl", "chain"])
def test_hidden_streams_with_the_name_of_another_come_back_hidden(
    form: str, command: Command, tmp_path: Path
) -> None:
    long = "long" * 128
    with engine.open(tmp_path / "store") as log:
        olds = [log.create(name) for name in ("a", long)]
        for old in olds:
            old.append_many([b"one", b"two"])
        branch = olds[0].branch("branch", at=0)
        branch.append(b"own")
        for old in olds:
            log.hide(old)
        news = [log.create(old.name) for old in olds]
        for new in news:
            new.append(b"new")
        log.merge("merge", [*olds, *news, branch], policy="append")
        # One base is of the hidden stream, one of the other of its name.
        log.merge("based", [olds[0], branch], policy="append", base=engine.Position("branch", 0))
        fork = news[0].branch("fork")
        fork.append(b"forked")
        log.merge("anew", [news[0], fork], policy="append", base=engine.Position("fork", 0))
        bases = {name: log.stream(name).merge_plan for name in ("based", "anew")}
        records = {stream.name: [r.payload for r in stream] for stream in log.streams()}
    exported = command("export", "--all", "--as", form)
    assert exported.code == 0, exported.err
    done = command("import", "--store", tmp_path / "copy", stdin=exported.out)
    assert done.code == 0, done.err
    with engine.open(tmp_path / "copy", mode="read") as log:
        assert {s.name: [r.payload for r in s] for s in log.streams()} == records
        assert {stream.uid for stream in log.hidden()} == {old.uid for old in olds}
        assert log.stream("merge").parent_uids[:2] == tuple(old.uid for old in olds)
        for name, uid in (("based", olds[0].uid), ("anew", news[0].uid)):
            for plan in (bases[name], log.stream(name).merge_plan):
                assert plan is not None
                assert plan.base_uid == uid
    again = command("export", "--all", "--as", form, "--store", tmp_path / "copy")
    assert again.out == exported.out
