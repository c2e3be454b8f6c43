"""References across stores: their text, their digests, and what they name."""

from __future__ import annotations

import random
import shutil
import struct
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
from transit.fleet import importing
from transit.fleet.importing import Origin, import_stream, origins
from transit.fleet.lineage import why
from transit.fleet.references import (
    PARENT_REF,
    TEXT_MAX,
    Reference,
    record_digest,
    reference,
    resolve,
)

from .stores import Opens, filled

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


# What an import says of origins


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
