"""References across stores: their text, imports that happen once, and the way between stores."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

import transit
from transit import fleet
from transit.fleet import importing, lineage
from transit.fleet.importing import Origin, import_stream, imported_from, origins
from transit.fleet.lineage import edges, why
from transit.fleet.references import (
    PARENT_REF,
    REF_HEADER,
    TEXT_MAX,
    Reference,
    record_digest,
    reference,
    resolve,
)

Opens = Callable[..., transit.Log]
Row = tuple[int, int, dict[str, str], bytes]


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[fleet.Fleet]:
    with fleet.create(str(tmp_path / "fleet")) as made:
        yield made


@pytest.fixture
def member(agents: fleet.Fleet, tmp_path: Path) -> Iterator[Opens]:
    """Opens a store of the fleet by a name; all are closed in the end."""
    opened: list[transit.Log] = []

    def record(name: str, **how: Any) -> transit.Log:
        log = agents.record(tmp_path / name, **{"name": name, "durability": "os", **how})
        opened.append(log)
        return log

    yield record
    for log in opened:
        log.close()


def rows(stream: transit.Stream, stop: int | None = None) -> list[Row]:
    return [(r.offset, r.timestamp, dict(r.headers), r.payload) for r in stream.read(0, stop)]


def filled(log: transit.Log, name: str, count: int = 3, size: int = 10) -> transit.Stream:
    stream = log.create(name, {"task": "fix"}, codec="json")
    for number in range(count):
        headers = {"n": str(number)} if number % 2 else {}
        stream.append(b'"%s"' % os.urandom(size).hex().encode(), headers=headers, timestamp=number)
    return stream


def own_place(log: transit.Log, stream: transit.Stream, offset: int) -> tuple[str, str, str, int]:
    """Where a record was appended, by the engine's word alone."""
    (span,) = (s for s in log.lineage.spans(stream) if s.first <= offset < s.first + s.count)
    return log.store_id, span.origin.stream, span.uid, span.origin.offset + offset - span.first


def place_in(table: tuple[Origin, ...], offset: int) -> tuple[str, str, str, int]:
    (each,) = (o for o in table if o.first <= offset < o.first + o.count)
    return each.store, each.stream, each.uid, each.offset + offset - each.first


# Their text

hex32 = st.text("0123456789abcdef", min_size=32, max_size=32)
hex64 = st.text("0123456789abcdef", min_size=64, max_size=64)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256)
counts = st.integers(0, 2**63 - 1)


@st.composite
def references(draw: st.DrawFn) -> Reference:
    commits = draw(counts)
    root = draw(hex64) if commits else ""
    return Reference(
        draw(hex32), draw(names), draw(hex32), draw(counts), draw(hex64), root, commits
    )


@settings(max_examples=300)
@given(references(), st.randoms(use_true_random=False))
def test_a_reference_is_what_its_text_says_and_has_one_text(
    ref: Reference, rng: random.Random
) -> None:
    text = str(ref)
    assert Reference.parse(text) == ref
    assert text.isascii()
    assert len(text) <= TEXT_MAX
    assert not set(text) & set(" \n\"'<>")
    assert msgspec.json.decode(msgspec.json.encode(ref), type=Reference) == ref
    at = rng.randrange(len(text))
    wrong = rng.choice(
        [
            text[:at],
            text[:at] + rng.choice("%@?&=/ A0é\n") + text[at + 1 :],
            text[:at] * 2,
            text + " ",
        ]
    )
    with suppress(transit.InvalidInputError):
        # Another reference, or none: never the same one spelled otherwise.
        assert str(Reference.parse(wrong)) == wrong


A, D, U = "a" * 32, "d" * 64, "b" * 32
GOOD = f"transit:{A}/run@1?digest={D}&uid={U}"


@pytest.mark.parametrize(
    "text",
    [
        "", "transit:", "x" * 10_000_000, GOOD.upper(), GOOD + "\n", " " + GOOD, GOOD[:-1], None, 7,
        GOOD.encode(), GOOD.replace("@1", "@01"), GOOD.replace("@1", "@-1"),
        GOOD.replace("@1", "@1٣"), GOOD.replace("@1", f"@{2**63}"), GOOD.replace("run", ""),
        GOOD.replace("run", "r@n"), GOOD.replace("run", "r?n"), GOOD.replace("run", "r n"),
        GOOD.replace("run", "%72un"), GOOD.replace("run", "%c3%a4"), GOOD.replace("run", "%ff"),
        GOOD.replace("run", "%ED%A0%80"), GOOD.replace("run", "%"), GOOD.replace("run", "ä"),
        GOOD.replace("run", "r" * 2000), GOOD.replace(f"&uid={U}", ""), GOOD + "&more=1",
        GOOD.replace("&uid", f"&root={D}&uid"), GOOD.replace("&uid", "&commits=1&uid"),
        GOOD.replace("&uid", f"&root={D}&commits=0&uid"), GOOD.replace(D, D[:-1]),
        f"transit:{A}/run@1?uid={U}&digest={D}",
    ],
)  # fmt: skip
def test_what_is_no_reference_is_refused(text: Any) -> None:
    assert Reference.parse(GOOD) == Reference(A, "run", U, 1, D)
    with pytest.raises(transit.InvalidInputError) as raised:
        Reference.parse(text)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    "fields",
    [
        {"store": "A" * 32}, {"store": ""}, {"store": 7}, {"uid": "b" * 31}, {"digest": D + "0"},
        {"stream": ""}, {"stream": "\ud800"}, {"stream": "x" * 1025}, {"stream": "ä" * 600},
        {"stream": None}, {"offset": -1}, {"offset": 2**63}, {"offset": True}, {"offset": "1"},
        {"root": D}, {"commits": 1}, {"root": "x", "commits": 1}, {"commits": -1, "root": D},
    ],
)  # fmt: skip
def test_a_reference_that_cannot_be_is_not_made(fields: dict[str, Any]) -> None:
    given: dict[str, Any] = {"store": A, "stream": "run", "uid": U, "offset": 1, "digest": D}
    with pytest.raises(transit.InvalidInputError):
        Reference(**{**given, **fields})
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**given, **fields}, Reference)


# Digests


def canonical(timestamp: int, headers: dict[str, str], payload: bytes) -> bytes:
    """The bytes of the table in the module's docstring, made by hand."""
    data = b"transit record 1" + timestamp.to_bytes(8, "little", signed=True)
    data += len(headers).to_bytes(4, "little")
    for key in sorted(headers, key=lambda each: each.encode()):
        for text in (key.encode(), headers[key].encode()):
            data += len(text).to_bytes(4, "little") + text
    return data + struct.pack("<Q", len(payload)) + payload


def digest(timestamp: int, headers: dict[str, str], payload: bytes) -> str:
    made = transit.Record(0, timestamp, payload, headers, None, 0)  # type: ignore[arg-type]
    return record_digest(made)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
records = st.tuples(
    st.integers(-(2**63), 2**63 - 1),
    st.dictionaries(texts, texts, max_size=3),
    st.binary(max_size=9),
)


@settings(max_examples=200)
@given(records, records)
def test_a_digest_is_of_the_bytes_of_the_table(
    one: tuple[int, dict[str, str], bytes], other: tuple[int, dict[str, str], bytes]
) -> None:
    assert digest(*one) == blake3(canonical(*one)).hexdigest()
    assert (digest(*one) == digest(*other)) is (one == other)


def test_a_digest_is_the_same_for_ever() -> None:
    expected = "16ce8a5fc2372336ac0289f703ac893d853c605d862bcd16cbcbc26f8ba05fdc"
    assert digest(-5, {"b": "1", "a": "ü", "": ""}, b"payload") == expected
    assert digest(0, {"a": "bc"}, b"") != digest(0, {"ab": "c"}, b"")
    assert digest(0, {}, b"a") != digest(0, {"a": ""}, b"")


# Made and resolved


def test_a_reference_names_a_record_and_where_it_is_sealed(
    agents: fleet.Fleet, member: Opens
) -> None:
    log = member("a")
    stream = filled(log, "run/ä@1")
    early = reference(log, stream)
    assert (early.offset, early.root, early.commits, early.head) == (2, "", 0, None)
    assert early.digest == record_digest(stream[2])
    for ref in (early, str(early)):
        with pytest.raises(transit.NotFoundError):
            resolve(agents, ref)
    log.publish()
    assert resolve(agents, early) == stream[2]
    late = reference(log, transit.Position("run/ä@1", 1))
    assert late.head == log.sealed().head
    assert resolve(agents, str(late)) == stream[1]
    assert reference(log, "run/ä@1", -1).record == early.record
    with agents.open("a") as published:
        assert reference(published, stream, 1) == late
    stream.append(b"more")
    log.publish()
    assert resolve(agents, late).payload == stream[1].payload
    assert reference(log, stream, 1).record == late.record
    branch = stream.branch("branch")
    # What it inherits is sealed; that it does is not.
    assert reference(log, branch, 0).head is None
    with pytest.raises(transit.OffsetError):
        reference(log, stream, 9)
    with pytest.raises(transit.OffsetError):
        reference(log, log.create("empty"))
    with pytest.raises(transit.NotFoundError):
        reference(log, "none")
    for wrong in ((transit.Position("branch", 0), 1), (("a", 1, 2), None), (7, None)):
        with pytest.raises(transit.InvalidInputError):
            reference(log, *wrong)  # type: ignore[arg-type]


def test_what_a_reference_says_and_its_store_does_not_have_is_told(
    agents: fleet.Fleet, member: Opens, tmp_path: Path
) -> None:
    log, target = member("a"), member("b")
    filled(log, "first")
    log.publish()
    before = log.sealed().head
    stream = filled(log, "run")
    log.publish()
    ref = reference(log, stream, 1)
    stream.append(b"x")
    log.publish()
    last = reference(log, stream)
    with pytest.raises(transit.CorruptError, match="among the first"):
        resolve(agents, msgspec.structs.replace(last, root=ref.root, commits=ref.commits))
    away = msgspec.structs.replace(ref, store="0" * 32)
    for error, changes in (
        (transit.CorruptError, {"digest": "0" * 64}),
        (transit.CorruptError, {"root": "0" * 64}),
        (transit.CorruptError, {"root": before.root, "commits": before.commits}),
        (transit.CorruptError, {"offset": 0}),
        (transit.NotFoundError, {"offset": 4, "root": "", "commits": 0}),
        (transit.NotFoundError, {"uid": "0" * 32}),
        (transit.NotFoundError, {"commits": 99}),
        (transit.NotFoundError, {"store": "0" * 32}),
    ):
        wrong = msgspec.structs.replace(ref, **changes)  # type: ignore[arg-type]
        for act in (
            lambda ref: resolve(agents, ref),
            lambda ref: import_stream(agents, target, ref),
            lambda ref: why(agents, ref),
        ):
            with pytest.raises(error):
                act(wrong)
    assert not list(target.streams()) + list(target.hidden())
    stores = tmp_path / "fleet" / "stores"
    shutil.copytree(stores / log.store_id, stores / away.store)
    with pytest.raises(transit.CorruptError, match="store"):
        resolve(agents, away)
    log.delete(stream, reason="no reason")
    log.publish()
    with pytest.raises(transit.ErasedError):
        resolve(agents, ref)
    with pytest.raises(transit.ErasedError):
        import_stream(agents, target, ref)
    assert not list(target.streams("")) + list(target.hidden())


# Imports


def grown(log: transit.Log, rng: random.Random) -> None:
    """Streams, branches and merges; some with names of others, which are hidden."""
    for _ in range(rng.randrange(6, 14)):
        streams = list(log.streams())
        if not streams or rng.random() < 0.4:
            name = f"s{rng.randrange(5)}"
            if name in log:
                log.hide(name)
            filled(log, name, rng.randrange(1, 8))
            continue
        parent = rng.choice(streams)
        number = f"{len(streams)}-{rng.random()}"
        branch = parent.branch(
            f"branch-{number}", at=rng.choice([None, rng.randrange(len(parent))])
        )
        branch.append(b'"%d"' % rng.randrange(99), headers={"b": "1"})
        if rng.random() < 0.5:
            parent.append(b'"more"')
        if rng.random() < 0.6:
            policy = rng.choice(["append", "interleave"])
            log.merge(f"merge-{number}", [parent, branch], policy=policy)
    log.publish()


@pytest.mark.parametrize("is_small", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_an_import_has_the_records_and_says_where_they_are_from(
    agents: fleet.Fleet, member: Opens, monkeypatch: pytest.MonkeyPatch, seed: int, is_small: bool
) -> None:
    if is_small:
        monkeypatch.setattr(importing, "PART_BYTES", 200)
        monkeypatch.setattr(importing, "_METADATA_BYTES", 100)
        monkeypatch.setattr(importing, "_SPANS", 2)
    rng = random.Random(seed)
    source, target = member("a"), member("b")
    grown(source, rng)
    for number, stream in enumerate([*source.streams(), *source.hidden()]):
        stop = rng.randrange(len(stream)) + 1
        ref = reference(source, stream, stop - 1)
        copy = import_stream(agents, target, ref, f"copy-{number}")
        assert rows(copy) == rows(stream, stop)
        assert (copy.kind, copy.codec, copy.hidden) == ("root", stream.codec, False)
        ours = {PARENT_REF: str(ref), importing.IMPORT_ORIGINS: copy.metadata["import_origins"]}
        assert copy.metadata == {**stream.metadata, **ours}
        assert imported_from(copy) == ref
        assert reference(target, copy, stop - 1).digest == ref.digest
        table = origins(target, copy)
        for offset in range(stop):
            assert place_in(table, offset) == own_place(source, stream, offset)
        assert import_stream(agents, target, ref, f"copy-{number}") == copy
        assert len(copy) == stop
        # It goes on from there.
        copy.append(b'"own"')
        own = (target.store_id, copy.name, copy.uid, stop)
        assert place_in(origins(target, copy), stop) == own
        branch = copy.branch(f"again-{number}")
        assert place_in(origins(target, branch), 0) == own_place(source, stream, 0)
    assert not list(target.hidden())
    target.publish()
    assert agents.audit().ok


def test_the_uid_says_which_of_two_streams_of_one_name(agents: fleet.Fleet, member: Opens) -> None:
    source, target = member("a"), member("b")
    old = filled(source, "run", 4)
    old_ref = reference(source, old)
    source.hide(old)
    new = filled(source, "run", 2)
    new_ref = reference(source, new)
    source.publish()
    assert rows(import_stream(agents, target, old_ref, "old")) == rows(old)
    assert rows(import_stream(agents, target, new_ref)) == rows(new)
    assert resolve(agents, old_ref) == old[3]
    with pytest.raises(transit.AlreadyExistsError, match="another name"):
        import_stream(agents, target, old_ref)
    walk = why(agents, old_ref)
    assert (walk.legs[0].provenance, walk.steps[0].step.stream) == (None, "run")
    assert walk.origin.uid == old.uid


def test_an_import_of_an_import_names_the_first_store(
    agents: fleet.Fleet, member: Opens, tmp_path: Path
) -> None:
    a, b, c = member("a"), member("b"), member("c")
    first = filled(a, "run", 3)
    a.publish()
    second = import_stream(agents, b, reference(a, first))
    second.append(b"from b")
    branch = second.branch("branch")
    branch.append(b"from b's branch")
    # A history that has the middle of the import.
    early = second.branch("early", at=0)
    early.append(b"early")
    middle = b.merge("middle", [early, second], policy="append")
    assert [each.origin.offset for each in b.lineage.spans(middle)] == [0, 1, 1]
    b.publish()
    third = import_stream(agents, c, reference(b, branch), "third")
    table = origins(c, third)
    expected = [
        *[own_place(a, first, n) for n in range(3)],
        *[own_place(b, branch, n) for n in (3, 4)],
    ]
    assert [place_in(table, n) for n in range(5)] == expected
    of_middle = origins(c, import_stream(agents, c, reference(b, middle)))
    expected = [
        own_place(a, first, 0), own_place(b, early, 1), own_place(a, first, 1),
        own_place(a, first, 2), own_place(b, second, 3),
    ]  # fmt: skip
    assert [place_in(of_middle, n) for n in range(5)] == expected
    assert [each.count for each in of_middle] == [1, 1, 2, 1]
    for offset, (number, place) in enumerate(zip([3, 2, 3, 3, 2], expected, strict=True)):
        walk = why(agents, (c, transit.Position("middle", offset)))
        assert (walk.end, len(walk.legs)) == ("origin", number)
        assert place_in((walk.origin,), walk.origin.first) == place
    shutil.rmtree(tmp_path / "fleet" / "stores" / a.store_id)
    shutil.rmtree(tmp_path / "fleet" / "stores" / b.store_id)
    # No store needs another.
    assert rows(third) == rows(branch)
    assert origins(c, third) == table
    assert import_stream(agents, c, str(reference(b, branch)), "third") == third


def test_the_names_of_imports(agents: fleet.Fleet, member: Opens) -> None:
    source, target = member("a"), member("b")
    stream = filled(source, "run")
    source.publish()
    ref = reference(source, stream)
    made = import_stream(agents, target, ref)
    assert import_stream(agents, target, ref, "twice").name == "twice"
    for name in ("$layer/x", "", "x" * 600, "\ud800", 7):
        with pytest.raises(transit.InvalidInputError):
            import_stream(agents, target, ref, name)  # type: ignore[arg-type]
    with pytest.raises(transit.InvalidInputError, match="branch"):
        import_stream(agents, source, ref, "self")
    target.hide(made, reason="no use")
    with pytest.raises(transit.AlreadyExistsError, match="hidden since"):
        import_stream(agents, target, ref)
    target.show(made)
    assert import_stream(agents, target, ref) == made
    target.delete(made, reason="gone")
    with pytest.raises(transit.AlreadyExistsError, match="deleted since"):
        import_stream(agents, target, ref)
    # What only says that it goes on from there is no import.
    target.create("run", {PARENT_REF: str(ref)}).append(b"x")
    with pytest.raises(transit.AlreadyExistsError):
        import_stream(agents, target, ref)
    target.publish()
    with agents.open("a") as read, pytest.raises(transit.ReadOnlyError):
        import_stream(agents, read, reference(target, "run"), "no")


def test_an_import_is_as_durable_as_asked(agents: fleet.Fleet, member: Opens) -> None:
    source, target = member("a"), member("b")
    stream = filled(source, "run")
    source.publish()
    ref = msgspec.structs.replace(reference(source, stream), root="", commits=0)
    copy = import_stream(agents, target, ref)
    # As of when it was copied.
    assert imported_from(copy) == reference(source, stream)
    assert len(agents.find("run")) == 1
    import_stream(agents, target, ref, durability="tiered")
    assert {each.member.store for each in agents.find("run")} == {source.store_id, target.store_id}


# Large ones, killed and done at once


class KilledError(BaseException):
    """The process ends here."""


def killed_before(write: Callable[[], Any]) -> Any:
    raise KilledError


def killed_after(write: Callable[[], Any]) -> Any:
    write()
    raise KilledError


class Frames:
    """Counts the frames that are written; `act` writes the one with number `at`."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int, act: Callable[..., Any]) -> None:
        self.at, self.act, self.count = at, act, 0
        for kind, name in (
            (transit.Stream, "append_many"), (transit.Stream, "append"),
            (transit.WriteBatch, "__exit__"),
        ):  # fmt: skip
            patch.setattr(kind, name, self.counting(getattr(kind, name)))

    def counting(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **named: Any) -> Any:
            self.count += 1
            if self.count != self.at:
                return call(*given, **named)
            return self.act(lambda: call(*given, **named))

        return counted


def tiny(monkeypatch: pytest.MonkeyPatch, part_bytes: int = 700) -> None:
    monkeypatch.setattr(importing, "PART_BYTES", part_bytes)
    monkeypatch.setattr(importing, "_METADATA_BYTES", 100)
    monkeypatch.setattr(importing, "_SPANS", 2)


def tangled(log: transit.Log) -> transit.Stream:
    """A history of many spans, in several parts."""
    one = filled(log, "one", 4, 60)
    two = one.branch("two", at=1)
    for number in range(4):
        one.append(b'"%d"' % number * 60, timestamp=100 + 2 * number)
        two.append(b'"%d"' % number * 60, timestamp=101 + 2 * number)
    made = log.merge("run", [one, two], policy="interleave")
    made.append(b"last")
    log.publish()
    return made


@pytest.mark.parametrize("act", [killed_before, killed_after])
@pytest.mark.parametrize("part_bytes", [700, 1 << 20])
def test_an_import_that_is_killed_is_not_there_and_goes_on(
    agents: fleet.Fleet, member: Opens, act: Callable[..., Any], part_bytes: int
) -> None:
    source = member("a")
    stream = tangled(source)
    ref, expected = reference(source, stream), rows(stream)
    places = [own_place(source, stream, n) for n in range(len(expected))]
    number, killed = 0, True
    while killed:
        number += 1
        with pytest.MonkeyPatch.context() as patch, member(f"b{number}") as target:
            tiny(patch, part_bytes)
            Frames(patch, number, act)
            try:
                import_stream(agents, target, ref)
                killed = False
            except KilledError:
                pass
        with member(f"b{number}") as target:
            if "run" in target:
                # Killed after the last frame.
                assert rows(target.stream("run")) == expected
            with pytest.MonkeyPatch.context() as patch:
                tiny(patch, part_bytes)
                copy = import_stream(agents, target, ref)
            check_once(target, copy, expected, places)
    assert number > (8 if part_bytes == 700 else 5)


def check_once(
    log: transit.Log, copy: transit.Stream, expected: list[Row], places: list[Any]
) -> None:
    """Whether an import is there once, whole, and says where it is from."""
    assert rows(copy) == expected
    assert [each.name for each in log.streams()] == [copy.name]
    assert not list(log.hidden())
    table = origins(log, copy)
    assert [place_in(table, n) for n in range(len(expected))] == places
    assert sum(each.count for each in table) == len(expected)
    assert all(each.count for each in table)
    assert sum(each.count for each in importing._copied(log, copy)) == len(expected)


def test_frames_of_another_import_in_between_are_not_written_twice(
    agents: fleet.Fleet, member: Opens
) -> None:
    source = member("a")
    stream = tangled(source)
    ref, expected = reference(source, stream), rows(stream)
    places = [own_place(source, stream, n) for n in range(len(expected))]
    number, met = 0, True
    while met:
        number += 1
        target = member(f"b{number}")

        def other(write: Callable[[], Any], target: transit.Log = target) -> Any:
            import_stream(agents, target, ref)
            return write()

        with pytest.MonkeyPatch.context() as patch:
            tiny(patch)
            frames = Frames(patch, number, other)
            copy = import_stream(agents, target, ref)
            met = frames.count >= number
        check_once(target, copy, expected, places)
    assert number > 8


def test_one_that_is_not_whole_is_found_by_nobody_and_taken_for_no_other(
    agents: fleet.Fleet, member: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = member("a"), member("b")
    ref = reference(source, tangled(source))
    tiny(monkeypatch)
    with pytest.MonkeyPatch.context() as patch:
        Frames(patch, 7, killed_after)
        with pytest.raises(KilledError):
            import_stream(agents, target, ref)
    (part,) = target.hidden()
    assert 0 < len(part) <= ref.offset
    assert "run" not in target
    # Its name is not kept for it.
    other = target.create("run")
    with pytest.raises(transit.AlreadyExistsError):
        import_stream(agents, target, ref)
    target.hide(other)
    # Shown too early by somebody, it is still not whole.
    target.show(part)
    assert len(import_stream(agents, target, ref)) == ref.offset + 1
    assert target.stream("run") == part


def test_records_of_others_in_an_import_are_found(
    agents: fleet.Fleet, member: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = member("a"), member("b")
    ref = reference(source, tangled(source))
    tiny(monkeypatch)
    with pytest.MonkeyPatch.context() as patch:
        Frames(patch, 7, killed_after)
        with pytest.raises(KilledError):
            import_stream(agents, target, ref)
    (part,) = target.hidden()
    part.append(b"of another")
    with pytest.raises(transit.CorruptError, match="imported"):
        import_stream(agents, target, ref)


def _import_in_a_process(url: str, folder: Path, text: str, start: Any) -> None:
    importing.PART_BYTES = 700  # type: ignore[misc]
    importing._METADATA_BYTES = 100  # type: ignore[misc]
    importing._SPANS = 2  # type: ignore[misc]
    with fleet.open(url) as agents, transit.open(folder, mode="shared", durability="os") as log:
        start.wait(60)
        import_stream(agents, log, text)


def test_two_processes_that_import_the_same_make_one_stream(
    agents: fleet.Fleet, member: Opens, tmp_path: Path
) -> None:
    source = member("a")
    stream = tangled(source)
    transit.open(tmp_path / "b", durability="os").close()
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(3)
    given = (agents.url, tmp_path / "b", str(reference(source, stream)), start)
    running = [context.Process(target=_import_in_a_process, args=given) for _ in range(3)]
    for each in running:
        each.start()
    for each in running:
        each.join(120)
        assert each.exitcode == 0
    with transit.open(tmp_path / "b", durability="os") as target:
        assert [each.name for each in target.streams()] == ["run"]
        assert not list(target.hidden())
        assert rows(target.stream("run")) == rows(stream)
        table = origins(target, "run")
        assert place_in(table, 3) == own_place(source, stream, 3)


@pytest.mark.parametrize("is_tiny", [False, True])
def test_threads_that_import_the_same_make_one_stream(
    agents: fleet.Fleet, member: Opens, monkeypatch: pytest.MonkeyPatch, is_tiny: bool
) -> None:
    source, target = member("a"), member("b")
    stream = tangled(source)
    if is_tiny:
        tiny(monkeypatch)
    ref = reference(source, stream)
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda _: import_stream(agents, target, ref), range(6)))
    assert set(made) == {target.stream("run")}
    assert rows(made[0]) == rows(stream)
    assert not list(target.hidden())


def test_large_records_and_empty_ones(agents: fleet.Fleet, member: Opens) -> None:
    source = member("a")
    stream = source.create("run")
    limit = 1 << 20
    for size in (limit, 0, limit - 1, 3, limit, limit // 2):
        stream.append(random.Random(size).randbytes(size), headers={"k": "\n" * 100})
    source.publish()
    small = transit.Settings(record_bytes_max=limit, frame_bytes_max=limit)
    ref = reference(source, stream)
    for number, how in enumerate([{"settings": small}, {}]):
        target = member(f"b{number}", **how)
        copy = import_stream(agents, target, ref)
        assert rows(copy) == rows(stream)
        assert copy.metadata.keys() == {PARENT_REF, importing.IMPORT_ORIGINS}
    alone = source.create("alone")
    alone.append(bytes(limit))
    source.publish()
    # With what makes the stream it would be more than a frame.
    target = member("d", settings=small)
    assert rows(import_stream(agents, target, reference(source, alone))) == rows(alone)
    big = source.create("big")
    for seed in range(4):
        big.append(random.Random(seed).randbytes(5 << 20))
    source.publish()
    assert rows(import_stream(agents, member("e"), reference(source, big))) == rows(big)
    less = member("c", settings=transit.Settings(record_bytes_max=1000))
    with pytest.raises(transit.InvalidInputError, match="record_bytes_max"):
        import_stream(agents, less, ref)


def test_what_stands_in_the_way_is_told(
    agents: fleet.Fleet, member: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = member("a"), member("b")
    ref = reference(source, tangled(source))
    tiny(monkeypatch)
    uid = importing._Import(target, ref, "run")._uid
    target.layer("fleet").create(f"origins/{uid}")
    with pytest.raises(transit.AlreadyExistsError, match="origins"):
        import_stream(agents, target, ref)
    target.create("other", uid=importing._Import(target, ref, "mine")._uid)
    with pytest.raises(transit.AlreadyExistsError, match="other"):
        import_stream(agents, target, ref, "mine")


def test_metadata_that_leave_little_room(agents: fleet.Fleet, member: Opens) -> None:
    source, target = member("a"), member("b")
    for size in (40_000, 64_000):
        stream = source.create(f"s{size}", {"long": "x" * size})
        stream.append(b"x")
        source.publish()
        copy = import_stream(agents, target, reference(source, stream))
        assert copy.metadata["long"] == "x" * size
        assert copy.metadata[importing.IMPORT_ORIGINS] == "$fleet"
        assert place_in(origins(target, copy), 0) == own_place(source, stream, 0)
        # It is exported, and deleted, with the copy.
        kept = target.layer("fleet").stream(f"origins/{copy.uid}")
        assert kept.metadata == {"about_uid": copy.uid}
        target.delete(copy, reason="old")
        assert kept.deleted
    full = source.create("full", {"long": "x" * 65_500})
    full.append(b"x")
    source.publish()
    with pytest.raises(transit.InvalidInputError, match="metadata takes"):
        import_stream(agents, target, reference(source, full))


def test_what_was_trimmed_is_not_imported(agents: fleet.Fleet, member: Opens) -> None:
    source, target = member("a"), member("b")
    stream = filled(source, "run")
    stream.trim(before=1, reason="old")
    source.publish()
    with pytest.raises(transit.ErasedError):
        import_stream(agents, target, reference(source, stream))
    assert not list(target.streams()) + list(target.hidden())


def test_a_part_of_origins_says_where_it_begins() -> None:
    whole = (Origin(0, 5, A, "run", U, 10), Origin(5, 2, D[:32], "try", U, 0))
    expected = [Origin(2, 3, A, "run", U, 12), Origin(5, 1, D[:32], "try", U, 0)]
    assert list(importing._cut(whole, 2, 6)) == expected
    assert list(importing._cut(whole, 0, 7)) == list(whole)


@pytest.mark.parametrize("text", ["", "[]", "[[],[[1,0,0]]]", "[[],[[0,0,0]]]", "[[],[[1,-1,0]]]"])
def test_origins_that_say_nothing_are_told(member: Opens, agents: fleet.Fleet, text: str) -> None:
    log = member("a")
    stream = log.create("run", {PARENT_REF: GOOD, importing.IMPORT_ORIGINS: text})
    stream.append_many([b"x", b"y", b"z"])
    with pytest.raises(transit.CorruptError):
        origins(log, stream)
    walk = why(agents, (log, transit.Position("run", 0)))
    assert (walk.end, walk.origin.store) == ("away", log.store_id)


def test_an_encrypted_store_is_imported_with_its_keys(tmp_path: Path) -> None:
    keyring = transit.Keyring.create(tmp_path / "keys", passphrase="p")
    url = str(tmp_path / "fleet")
    with fleet.create(url, keyring=keyring) as agents:
        with agents.record(tmp_path / "a", encrypt="remote", durability="os") as source:
            ref = reference(source, filled(source, "run"))
            source.publish()
            expected = rows(source.stream("run"))
        with transit.open(tmp_path / "b", durability="os") as target:
            assert rows(import_stream(agents, target, ref)) == expected
            with fleet.open(url) as locked, pytest.raises(transit.SealedError):
                import_stream(locked, target, ref, "other")


# The way from store to store


def chain(agents: fleet.Fleet, member: Opens) -> list[transit.Log]:
    """Three stores: a record of the first is imported by the second, and named by the third."""
    a, b, c = member("a"), member("b"), member("c")
    run = filled(a, "run", 3)
    run.branch("try", at=1).append(b"tried")
    a.publish()
    copy = import_stream(agents, b, reference(a, "try", 1), "copy")
    copy.branch("review").append(b"reviewed")
    b.publish()
    named = str(reference(b, "review", 0))
    c.create("answer").append(b"see there", headers={REF_HEADER: named})
    c.publish()
    return [a, b, c]


def test_why_walks_through_three_stores(agents: fleet.Fleet, member: Opens) -> None:
    a, b, c = chain(agents, member)
    walk = why(agents, reference(c, "answer"))
    assert (walk.end, walk.next, walk.error) == ("origin", None, None)
    assert [(leg.store, leg.how) for leg in walk.legs] == [
        (c.store_id, "asked"), (b.store_id, "ref"), (a.store_id, "import"),
    ]  # fmt: skip
    assert [(each.store, each.step.stream) for each in walk.steps] == [
        (c.store_id, "answer"), (b.store_id, "review"), (b.store_id, "copy"),
        (a.store_id, "try"), (a.store_id, "run"),
    ]  # fmt: skip
    assert place_in((walk.origin,), walk.origin.first) == own_place(a, a.stream("run"), 0)
    assert all(leg.provenance is not None for leg in walk.legs)
    # What is not published yet is walked from the open store.
    c.stream("answer").append(b"again", headers={REF_HEADER: str(reference(b, "copy", 1))})
    local = why(agents, (c, transit.Position("answer", 1)))
    assert [leg.store for leg in local.legs] == [c.store_id, b.store_id, a.store_id]
    # What was appended after the import is the importing store's own.
    own = why(agents, (b, transit.Position("review", 2)))
    assert (own.end, len(own.legs), own.origin.store) == ("origin", 1, b.store_id)
    b.stream("copy").append(b"own")
    own = why(agents, (b, transit.Position("copy", 2)))
    assert (own.end, len(own.legs)) == ("origin", 1)
    # Any header may be called so.
    c.stream("answer").append(b"", headers={REF_HEADER: "refs/heads/main"})
    assert why(agents, (c, transit.Position("answer", 2))).end == "origin"
    for wrong in ("x", (c, "answer"), (c,), transit.Position("answer", 0), 7):
        with pytest.raises(transit.InvalidInputError):
            why(agents, wrong)  # type: ignore[arg-type]
    with pytest.raises(transit.OffsetError):
        why(agents, (c, transit.Position("answer", 9)))


def test_a_store_that_is_away_ends_the_walk_with_what_is_known(
    agents: fleet.Fleet, member: Opens, tmp_path: Path
) -> None:
    a, b, c = chain(agents, member)
    ref = reference(c, "answer")
    origin = why(agents, ref).origin
    stores = tmp_path / "fleet" / "stores"
    shutil.move(stores / a.store_id, tmp_path / "away")
    walk = why(agents, ref)
    assert (walk.end, len(walk.legs)) == ("away", 2)
    assert walk.next is not None
    assert (walk.next.store, walk.next.stream, walk.next.offset) == (a.store_id, "try", 0)
    assert isinstance(walk.error, transit.NotFoundError)
    # The import says where it was appended first.
    assert msgspec.structs.replace(walk.origin, first=0) == msgspec.structs.replace(origin, first=0)
    shutil.move(stores / b.store_id, tmp_path / "away too")
    walk = why(agents, ref)
    assert (walk.end, len(walk.legs), walk.origin.store) == ("away", 1, c.store_id)
    with pytest.raises(transit.NotFoundError):
        why(agents, reference(b, "copy", 0))


def test_what_is_not_as_it_was_ends_the_walk(agents: fleet.Fleet, member: Opens) -> None:
    a, b = member("a"), member("b")
    stream = filled(a, "run")
    a.publish()
    ref = reference(a, stream)
    # It says that it was imported, and has other records.
    metadata = {PARENT_REF: str(ref), importing.IMPORT_ORIGINS: "[[],[]]"}
    b.create("run", metadata).append_many([b"x", b"y", b"z"])
    walk = why(agents, (b, transit.Position("run", 1)))
    assert (walk.end, len(walk.legs)) == ("damaged", 1)
    assert isinstance(walk.error, transit.CorruptError)
    assert walk.next is not None
    stream.trim(before=3, reason="old")
    a.publish()
    copy = b.create("copy")
    copy.append(b"x", headers={REF_HEADER: str(ref)})
    walk = why(agents, (b, transit.Position("copy", 0)))
    assert (walk.end, type(walk.error)) == ("away", transit.ErasedError)


def test_a_walk_in_a_circle_and_one_without_end_are_bounded(
    agents: fleet.Fleet, member: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = member("a"), member("b")
    uids = {name: name * 32 for name in "ab"}
    for log, name, other in ((a, "a", b), (b, "b", a)):
        digest_of = digest(5, {}, b"same")
        ref = Reference(other.store_id, "run", uids["b" if name == "a" else "a"], 0, digest_of)
        metadata = {PARENT_REF: str(ref), importing.IMPORT_ORIGINS: "[[],[]]"}
        log.create("run", metadata, uid=uids[name]).append(b"same", timestamp=5)
        log.publish()
    walk = why(agents, (a, transit.Position("run", 0)))
    assert (walk.end, len(walk.legs)) == ("cycle", 2)
    assert walk.next is not None
    stores, named = [a, b, member("c")], ""
    for number in range(42):
        log = stores[number % 3]
        stream = log.stream("long") if "long" in log else log.create("long")
        stream.append(b"%d" % number, headers={REF_HEADER: named})
        log.publish()
        named = str(reference(log, stream))
    opened: list[transit.Log] = []

    def open_member(*given: Any) -> transit.Log:
        assert sum(not log.closed for log in opened) <= 2
        opened.append(open_store(*given))
        return opened[-1]

    open_store = lineage.open_member
    monkeypatch.setattr(lineage, "OPEN_MAX", 2)
    monkeypatch.setattr(lineage, "open_member", open_member)
    assert len(why(agents, named).legs) == 42
    assert len(opened) > 20
    assert all(log.closed for log in opened)
    monkeypatch.setattr(lineage, "LEGS_MAX", 7)
    walk = why(agents, named)
    assert (walk.end, len(walk.legs)) == ("bound", 7)
    assert walk.next is not None


# All edges


def test_the_edges_of_all_stores_are_one_table(
    agents: fleet.Fleet, member: Opens, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    assert edges(agents).table.num_rows == 0
    a, b, c = chain(agents, member)
    a.merge("both", ["run", "try"], policy="append")
    a.hide("try")
    ref = reference(a, "run", 0)
    c.create("begun", {PARENT_REF: str(ref), "import": 1})
    c.create("empty").branch("nothing")
    c.hide(c.create("hidden", {PARENT_REF: str(ref)}))
    c.create("other", {PARENT_REF: "no reference"})
    for log in (a, c):
        log.publish()
    agents.retire(c.store_id)
    found = edges(agents)
    assert found.missing == {}
    uids = {
        (log.store_id, s.name): s.uid for log in (a, b, c) for s in [*log.streams(), *log.hidden()]
    }

    def row(
        child: transit.Log, name: str, parent: transit.Log, of: str, offset: int, kind: str
    ) -> Any:
        one, two = (child.store_id, name), (parent.store_id, of)
        return (*one, uids[one], *two, uids[two], offset, kind)

    assert found.table.column_names == [
        "child_store", "child", "child_uid", "parent_store", "parent", "parent_uid", "offset",
        "kind",
    ]  # fmt: skip
    assert sorted(tuple(each.values()) for each in found.table.to_pylist()) == sorted([
        row(a, "try", a, "run", 1, "branch"),
        row(a, "both", a, "run", 2, "merge"),
        row(a, "both", a, "try", 2, "merge"),
        row(b, "copy", a, "try", 1, "import"),
        row(b, "review", b, "copy", 1, "branch"),
        row(c, "begun", a, "run", 0, "ref"),
        row(c, "nothing", c, "empty", -1, "branch"),
    ])  # fmt: skip
    shutil.rmtree(tmp_path / "fleet" / "stores" / a.store_id)
    less = edges(agents)
    assert set(less.missing) == {a.store_id}
    assert set(less.table["child_store"].to_pylist()) == {b.store_id, c.store_id}
