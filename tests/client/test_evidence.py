"""Proofs over a connection: as those of the embedded store, and checked without believing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from rigs.server.serving import Serving
from transit import trace
from transit.client.connection import Connection
from transit.protocol.folders import pack_zip, unpack_zip
from transit.server.proving import Signing
from transit.trace.files.exhibits import check_exhibit, exhibit


@pytest.fixture
def key(opened: transit.Log) -> transit.SigningKey:
    return transit.SigningKey.generate(f"example.com/{opened.store_id}")


@pytest.fixture
def note(opened: transit.Log, key: transit.SigningKey) -> bytes:
    """A checkpoint over streams of all kinds."""
    stream = opened.create("s")
    stream.append_many([b"0", b"1", b"2"], headers={"k": "v"})
    stream.branch("s/branch", at=1).append(b"own")
    opened.merge("s/merge", ["s", "s/branch"], policy="interleave")
    opened.create("left").append(b"l")
    opened.create("right").append(b"r")
    opened.merge("chosen", ["left", "right"], policy="select", params={"selected": "left"})
    opened.create("empty")
    with trace.task(opened, "run") as task:
        task.message("user", "hello")
        task.artifact(b"diff " * 100, kind="patch")
    trace.annotate(opened, "run", "correct", score=1)
    return opened.checkpoint(key).note


ASKED: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (("s", 1), {}),
    (("s", -1), {}),
    (("s",), {}),
    (("s",), {"records": (0, 2)}),
    (("s",), {"records": (0, None), "end": True}),
    (("s",), {"end": True}),
    (("s", 2), {"end": True}),
    (("s/branch", 0), {}),
    (("s/merge",), {"records": (1, 3)}),
    (("empty",), {"end": True}),
]


@pytest.mark.parametrize(("given", "named"), ASKED)
def test_a_proof_is_the_same_as_that_of_the_embedded_store(
    log: transit.Log, opened: transit.Log, note: bytes, given: Any, named: Any
) -> None:
    here, there = opened.prove(*given, **named), log.prove(*given, **named)
    assert dict(there) == dict(here)
    assert there.shown == here.shown
    assert list(there.checked.records()) == list(here.checked.records())
    assert repr(there) == repr(here)
    stream = log.stream(given[0])
    assert dict(log.prove(stream, *given[1:], checkpoint=note, **named)) == dict(here)


WRONG: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (("s", 3), {}),
    (("s", -4), {}),
    (("s", 0), {"end": True}),
    (("s", 0), {"records": (0, 1)}),
    (("s",), {"records": (2, 1)}),
    (("s",), {"records": (0, 4)}),
    (("none", 0), {}),
    (("s", 0), {"checkpoint": b"no note"}),
    (("s", 0), {"checkpoint": "no bytes"}),
    (("later",), {}),
]


@pytest.mark.parametrize(("given", "named"), WRONG)
def test_what_cannot_be_proved_is_refused_as_in_the_embedded_store(
    log: transit.Log, opened: transit.Log, note: bytes, given: Any, named: Any
) -> None:
    opened.create("later")
    with pytest.raises(transit.TransitError) as here:
        opened.prove(*given, **named)
    with pytest.raises(type(here.value)):
        log.prove(*given, **named)


def test_checkpoints_growth_and_envelopes_are_the_same(
    log: transit.Log, opened: transit.Log, note: bytes, key: transit.SigningKey
) -> None:
    opened.create("later").append(b"x")
    newer = opened.checkpoint(key)
    assert log.checkpoints() == opened.checkpoints() == (1, 2)
    assert log.checkpoint_note() == opened.checkpoint_note() == newer.note
    assert log.checkpoint_note(1) == opened.checkpoint_note(1) == note
    for missing in (0, 3):
        for each in (log, opened):
            with pytest.raises(transit.NotFoundError, match=f"no checkpoint of {missing} commits"):
                each.checkpoint_note(missing)
    for each in (log, opened):
        with pytest.raises(transit.InvalidInputError):
            each.checkpoint_note(-1)
    assert log.prove_growth(note) == opened.prove_growth(note)
    assert log.prove_growth(note, newer) == opened.prove_growth(note, newer)
    for each in (log, opened):
        with pytest.raises(transit.InvalidInputError, match="does not follow"):
            each.prove_growth(newer, note)
    final = log.prove_finality("s", application_block="17", checkpoint=note)
    same = opened.prove_finality("s", application_block="17", checkpoint=note)
    assert dict(final) == dict(same)
    assert final.envelope == same.envelope
    assert dict(log.prove_fork_choice("chosen")) == dict(opened.prove_fork_choice("chosen"))
    for each in (log, opened):
        with pytest.raises(transit.InvalidInputError):
            each.prove_finality("s", checkpoint_kind="fork-choice")
        with pytest.raises(transit.InvalidInputError):
            each.prove_fork_choice("s/merge")


def test_an_exhibit_that_is_made_over_a_connection_is_the_same(
    log: transit.Log, opened: transit.Log, note: bytes, key: transit.SigningKey, tmp_path: Path
) -> None:
    exhibit(opened, "run", tmp_path / "here.zip")
    exhibit(log, "run", tmp_path / "there.zip")
    assert (tmp_path / "there.zip").read_bytes() == (tmp_path / "here.zip").read_bytes()
    assert check_exhibit(tmp_path / "there.zip", key.verifying).proof.shown.stream == "run"


def test_a_server_without_checkpoints_says_what_the_embedded_store_says(
    log: transit.Log, opened: transit.Log
) -> None:
    opened.create("s").append(b"x")
    for each in (log, opened):
        with pytest.raises(transit.InvalidInputError, match="no checkpoint"):
            each.prove("s", 0)
        with pytest.raises(transit.NotFoundError):
            each.checkpoint_note()
        assert each.checkpoints() == ()


# Whom to believe


@pytest.fixture
def connect(serving: Serving) -> Iterator[Callable[..., Any]]:
    logs = []

    def connected(**options: Any) -> Any:
        logs.append(transit.connect(serving.url, timeout_s=120, **options))
        return logs[-1]

    yield connected
    for each in logs:
        each.close()


def test_with_keys_only_what_they_signed_is_believed(
    connect: Callable[..., Any], note: bytes, key: transit.SigningKey, opened: transit.Log
) -> None:
    for trusted in (
        connect(keys=key.verifying),
        connect(keys=[key.verifying.to_text()]),
        connect(policy=transit.make_policy(key.verifying)),
    ):
        assert dict(trusted.prove("s", 1)) == dict(opened.prove("s", 1))
        assert trusted.checkpoint_note() == note
        assert trusted.prove_growth(note)
        assert trusted.prove_fork_choice("chosen")
    other = transit.SigningKey.generate(key.verifying.name)
    stranger = connect(keys=other.verifying)
    for ask in (
        lambda: stranger.prove("s", 1), stranger.checkpoint_note,
        lambda: stranger.prove_growth(note), lambda: stranger.prove_finality("s"),
        lambda: stranger.prove_fork_choice("chosen"),
    ):  # fmt: skip
        with pytest.raises(transit.ProofError, match="not signed by a known key"):
            ask()
    with pytest.raises(transit.InvalidInputError):
        connect(keys=key.verifying, policy=transit.make_policy(key.verifying))


def test_a_policy_whose_witness_did_not_cosign_is_not_met(
    connect: Callable[..., Any], note: bytes, key: transit.SigningKey
) -> None:
    witness = transit.SigningKey.generate("witness.example/w", role="witness").verifying
    text = (
        f"log {key.verifying.to_text()}\nwitness w {witness.to_text()}\n"
        "group enough 1 w\nquorum enough\n"
    )
    careful = connect(policy=transit.make_policy(text=text.encode()))
    with pytest.raises(transit.ProofError):
        careful.prove("s", 1)


def test_a_server_with_a_key_signs_when_it_is_asked(
    serving: Serving, connect: Callable[..., Any], note: bytes, key: transit.SigningKey,
    opened: transit.Log,
) -> None:  # fmt: skip
    with pytest.raises(transit.TransitError, match="the server has no key"):
        connect().sign_checkpoint()
    serving.app.evidence._signing = Signing((key,))
    opened.create("later").append(b"x")
    made = connect(keys=key.verifying).sign_checkpoint()
    assert made == opened.checkpoint_note(2)
    other = transit.SigningKey.generate(key.verifying.name)
    with pytest.raises(transit.ProofError):
        connect(keys=other.verifying).sign_checkpoint()


# A server that lies

Changed = Callable[[dict[str, bytes]], dict[str, bytes]]


@pytest.fixture
def lie(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[bytes], bytes]], None]:
    """A function that has all files from then on come changed."""
    honest = Connection.file

    def lying(change: Callable[[bytes], bytes]) -> None:
        def file(connection: Connection, *given: Any, **named: Any) -> bytes:
            return change(honest(connection, *given, **named))

        monkeypatch.setattr(Connection, "file", file)

    return lying


def zipped(change: Changed) -> Callable[[bytes], bytes]:
    return lambda data: pack_zip(change(unpack_zip(data)))


def test_a_proof_of_something_else_is_refused(
    log: transit.Log, opened: transit.Log, note: bytes, lie: Any, key: transit.SigningKey
) -> None:
    others = {
        "another stream": opened.prove("left", 0),
        "other records": opened.prove("s", 2),
        "more records": opened.prove("s", records=(1, 3)),
        "no record": opened.prove("s"),
    }
    opened.create("later").append(b"x")
    later = opened.checkpoint(key)
    # At the same offset, so that only the stream is another.
    lie(zipped(lambda files: dict(opened.prove("right", 0, checkpoint=note))))
    for which in ("left", log.stream("left")):
        with pytest.raises(transit.ProofError, match="about another stream"):
            log.prove(which, 0)
    for proof in others.values():
        lie(zipped(lambda files, proof=proof: dict(proof)))  # type: ignore[misc]
        with pytest.raises(transit.ProofError, match="the server gave a proof"):
            log.prove("s", 1)
        with pytest.raises(transit.ProofError, match="the server gave a proof"):
            log.prove(log.stream("s"), 1)
    lie(zipped(lambda files: dict(opened.prove("s", 1, checkpoint=later))))
    with pytest.raises(transit.ProofError, match="another checkpoint"):
        log.prove("s", 1, checkpoint=note)
    lie(zipped(lambda files: dict(opened.prove("s", records=(0, None), checkpoint=note))))
    with pytest.raises(transit.ProofError, match="other records"):
        log.prove("s", records=(0, None), end=True)


def test_a_proof_with_any_byte_changed_is_refused(
    log: transit.Log, opened: transit.Log, note: bytes, lie: Any, key: transit.SigningKey
) -> None:
    for name in opened.prove("s", 1):
        if name in ("payload", "HOW.txt"):
            continue

        def changed(files: dict[str, bytes], name: str = name) -> dict[str, bytes]:
            data = bytearray(files[name])
            data[len(data) // 3] ^= 1
            return {**files, name: bytes(data)}

        lie(zipped(changed))
        with pytest.raises(transit.ProofError):
            log.prove("s", 1)
        lie(zipped(lambda files, name=name: {k: v for k, v in files.items() if k != name}))  # type: ignore[misc]
        with pytest.raises(transit.ProofError):
            log.prove("s", 1)


def test_files_that_no_proof_needs_never_reach_the_program(
    log: transit.Log, opened: transit.Log, note: bytes, lie: Any
) -> None:
    honest = dict(opened.prove("s", 1))
    more = {
        "HOW.txt": b"rm -rf ~", "payload": b"not this", "evil.sh": b"rm -rf ~",
        "leaves/" + "0" * 64: b"junk",
    }  # fmt: skip
    lie(zipped(lambda files: {**files, **more}))
    assert dict(log.prove("s", 1)) == honest


def test_what_is_no_zip_of_a_proof_is_refused(log: transit.Log, note: bytes, lie: Any) -> None:
    for data in (b"", b"PK\x03\x04", b"<html>", pack_zip({}), pack_zip({"proof.json": b"{}"})):
        lie(lambda honest, data=data: data)
        for ask in (
            lambda: log.prove("s", 1),
            lambda: log.prove_finality("s"),
            lambda: log.prove_fork_choice("chosen"),
            lambda: log.prove_growth(note),
            log.checkpoint_note,
        ):
            with pytest.raises(transit.ProofError):
                ask()


def test_growth_that_is_not_that_of_the_checkpoints_is_refused(
    log: transit.Log, opened: transit.Log, note: bytes, lie: Any, key: transit.SigningKey
) -> None:
    notes = [note]
    for number in range(3):
        opened.create(f"later {number}").append(b"x")
        notes.append(opened.checkpoint(key).note)
    wrong = opened.prove_growth(notes[1], notes[3])
    lie(lambda honest: wrong)
    with pytest.raises(transit.ProofError, match="from another checkpoint"):
        log.prove_growth(notes[0], notes[3])
    with pytest.raises(transit.ProofError, match="to another checkpoint"):
        log.prove_growth(notes[1], notes[2])
    lie(lambda honest: honest.replace(honest.split(b"\n")[1], b"A" * 43 + b"="))
    with pytest.raises(transit.ProofError):
        log.prove_growth(notes[0], notes[3])


def test_a_document_that_its_proofs_do_not_bear_out_is_refused(
    log: transit.Log, opened: transit.Log, note: bytes, lie: Any
) -> None:
    for other in (
        opened.prove_finality("left"),
        opened.prove_finality("s", application_block="another"),
        opened.prove_finality("s", checkpoint_kind="published-result"),
    ):
        lie(zipped(lambda files, other=other: dict(other)))  # type: ignore[misc]
        with pytest.raises(transit.ProofError):
            log.prove_finality("s", application_block="mine")
    lie(zipped(lambda files: {**files, **{
        name.replace("heads/1", "heads/0"): data for name, data in files.items()
        if name.startswith("heads/1")
    }}))  # fmt: skip
    with pytest.raises(transit.ProofError):
        log.prove_fork_choice("chosen")


def test_a_checkpoint_of_another_size_or_store_is_refused(
    log: transit.Log, opened: transit.Log, note: bytes, lie: Any, tmp_path: Path,
    key: transit.SigningKey,
) -> None:  # fmt: skip
    opened.create("later").append(b"x")
    opened.checkpoint(key)
    lie(lambda honest: note)
    with pytest.raises(transit.ProofError, match="of 1 commits, not 2"):
        log.checkpoint_note(2)
    with transit.open(tmp_path / "other") as other:
        other.create("s").append(b"x")
        name = transit.SigningKey.generate(f"e.com/{other.store_id}")
        strange = other.checkpoint(name).note
    lie(lambda honest: strange)
    with pytest.raises(transit.ProofError, match="not of store"):
        log.checkpoint_note()
