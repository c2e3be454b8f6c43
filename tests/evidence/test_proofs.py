"""Proofs: what they show, checked from their files alone; and what does not hold is refused."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import transit
from transit.evidence.statement import STATEMENT_FILE, Statement, decode_statement, encode_statement

RUNS, RECORDS = 12, 9


def key_of(log: transit.Log, name: str = "example.com/runs") -> transit.SigningKey:
    return transit.SigningKey.generate(f"{name}/{log.store_id}")


class Signed:
    """A store with runs, a branch, a merge and several commits, and a checkpoint over them."""

    def __init__(self, path: Path) -> None:
        self.log = log = transit.open(path)
        self.runs = [log.create(f"run-{n}") for n in range(RUNS)]
        for run in self.runs:
            for n in range(RECORDS):
                run.append(b"%d of %s" % (n, run.name.encode()), headers={"n": str(n)})
        log.seal()
        self.branch = self.runs[3].branch("branch", at=4)
        self.branch.append(b"only here", writer="ada")
        self.merge = log.merge("merge", [self.runs[1], self.runs[2]], policy="interleave")
        log.seal()
        self.empty = log.create("empty")
        for _ in range(3):
            self.runs[5].append(b"more")
            log.seal()
        self.key = key_of(log)
        self.checkpoint = log.checkpoint(self.key)

    def check(self, proof: transit.Proof | dict[str, bytes]) -> transit.CheckedProof:
        return transit.check_proof(proof, self.key.verifying)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    made = Signed(tmp_path_factory.mktemp("evidence") / "store")
    yield made
    made.log.close()


NAMES = ["run-0", "run-3", "run-5", "branch", "merge", "empty"]


@pytest.mark.parametrize("name", NAMES)
def test_a_proof_of_a_record_shows_it_as_it_is_read(signed: Signed, name: str) -> None:
    stream = signed.log.stream(name)
    for record in stream:
        proof = signed.log.prove(stream, record.offset)
        (shown,) = signed.check(proof).records()
        assert (shown.offset, shown.timestamp, shown.written, shown.payload) == (
            record.offset, record.timestamp, record.written, record.payload,
        )  # fmt: skip
        assert (shown.writer, dict(shown.headers)) == (record.writer, dict(record.headers))
        assert (shown.origin_stream, shown.origin_offset) == record.origin
        assert proof["payload"] == record.payload


@pytest.mark.parametrize("name", NAMES)
def test_a_proof_of_a_stream_shows_all_of_it_and_that_there_is_no_more(
    signed: Signed, name: str
) -> None:
    stream = signed.log.stream(name)
    checked = signed.check(signed.log.prove(stream, records=(0, None), end=True))
    assert [record.payload for record in checked.records()] == [r.payload for r in stream]
    shown = checked.shown
    assert (shown.stream, shown.uid, shown.records, shown.end) == (
        name, stream.uid, (0, len(stream)), True,
    )  # fmt: skip
    assert shown.merged == (("merge",) if name == "merge" else ())


def test_a_proof_shows_other_streams_only_as_ids_and_digests(signed: Signed) -> None:
    proof = signed.log.prove("run-4", records=(0, None), end=True)
    everything = b"".join(proof.values())
    for other in [name for name in NAMES if name != "run-4"]:
        assert b" of " + other.encode() not in everything
        assert f'"{other}"'.encode() not in everything
    assert everything.count(b" of run-4") >= RECORDS


def test_a_record_that_came_after_the_checkpoint_cannot_be_proved(signed: Signed) -> None:
    offset = signed.runs[7].append(b"too late").offset
    with pytest.raises(transit.OffsetError, match=f"covers {RECORDS} records"):
        signed.log.prove(signed.runs[7], offset)
    late = signed.log.create("late")
    with pytest.raises(transit.InvalidInputError, match="make a new checkpoint"):
        signed.log.prove(late)


def test_an_end_is_not_shown_of_records_that_others_follow(signed: Signed) -> None:
    with pytest.raises(transit.InvalidInputError, match="are there too"):
        signed.log.prove("run-5", records=(0, 3), end=True)


def test_a_proof_without_a_checkpoint_is_refused(path: Path) -> None:
    with transit.open(path) as log:
        log.create("s").append(b"x")
        with pytest.raises(transit.InvalidInputError, match="no checkpoint"):
            log.prove("s", 0)


# What does not hold


@pytest.mark.parametrize("name", ["run-5", "branch", "merge"])
def test_a_proof_with_any_byte_changed_is_refused(signed: Signed, name: str) -> None:
    proof = dict(signed.log.prove(name, 5))
    del proof["HOW.txt"]
    signed.check(proof)
    for file, data in proof.items():
        # Every byte of the small files, and of the others enough that each column is met.
        step = 1 if len(data) < 600 else 7
        for place in range(0, len(data), step):
            changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
            with pytest.raises(transit.ProofError):
                signed.check({**proof, file: changed})


def test_a_proof_that_lacks_a_file_is_refused(signed: Signed) -> None:
    proof = dict(signed.log.prove("merge", records=(0, None), end=True))
    for file in proof:
        if file != "HOW.txt":
            with pytest.raises(transit.ProofError):
                signed.check({name: data for name, data in proof.items() if name != file})


def restated(proof: transit.Proof, **fields: object) -> dict[str, bytes]:
    statement = decode_statement(proof[STATEMENT_FILE])
    return {**proof, STATEMENT_FILE: encode_statement(msgspec.structs.replace(statement, **fields))}


def statement_of(proof: transit.Proof) -> Statement:
    return decode_statement(proof[STATEMENT_FILE])


def test_a_proof_cannot_say_more_than_its_leaves_show(signed: Signed) -> None:
    proof = signed.log.prove("run-5", records=(2, 5))
    signed.check(proof)
    for fields in (
        {"records": (0, 100)},
        {"records": (8, RECORDS + 1)},
        {"end": True},
        {"stream": 3},
        {"stream": 400},
        {"size": 2},
        {"origin": "example.com/other"},
        {"store": "0" * 32},
        {"leaves": ()},
    ):
        with pytest.raises(transit.ProofError):
            signed.check(restated(proof, **fields))


def test_an_end_cannot_be_shown_where_records_follow(signed: Signed) -> None:
    """Whatever subset of the leaves is given: run-5 has records in later segments."""
    proof = signed.log.prove("run-5", records=(0, None), end=True)
    leaves = statement_of(proof).leaves
    wrong = restated(proof, records=(0, RECORDS))
    with pytest.raises(transit.ProofError):
        signed.check(wrong)
    for left_out in range(len(leaves)):
        some = leaves[:left_out] + leaves[left_out + 1 :]
        with pytest.raises(transit.ProofError):
            signed.check(restated(proof, records=(0, RECORDS), leaves=some))
        with pytest.raises(transit.ProofError):
            signed.check(restated(proof, leaves=some))


@pytest.mark.parametrize("field", ["index", "size", "segment", "commit", "first", "count"])
@pytest.mark.parametrize("by", [-1, 1])
def test_a_leaf_in_another_place_is_refused(signed: Signed, field: str, by: int) -> None:
    proof = signed.log.prove("run-5", records=(0, None), end=True)
    leaves = statement_of(proof).leaves
    for place, leaf in enumerate(leaves):
        value = getattr(leaf, field) + by
        if value < (field in ("size", "count")):
            continue
        alone = [each.commit for each in leaves].count(leaf.commit) == 1
        if field == "size" and alone:
            # What one path says of the size is only whether its leaf is the last.
            continue
        moved = msgspec.structs.replace(leaf, **{field: value})
        changed = (*leaves[:place], moved, *leaves[place + 1 :])
        with pytest.raises(transit.ProofError):
            signed.check(restated(proof, leaves=changed))


def test_another_key_does_not_vouch_for_a_proof(signed: Signed) -> None:
    proof = signed.log.prove("run-1", 0)
    with pytest.raises(transit.ProofError, match="not signed by a known key"):
        transit.check_proof(proof, key_of(signed.log).verifying)


# Standard tools


by_hand = pytest.mark.skipif(
    bool(missing := [tool for tool in ("b3sum", "xxd", "openssl") if not shutil.which(tool)]),
    reason=f"{', '.join(missing)} is not here",
)


@by_hand
def test_the_payload_is_cut_out_where_its_record_is(path: Path, tmp_path: Path) -> None:
    """Others in the chunk have the same payload, and a larger one came before."""
    with transit.open(path) as log:
        stream = log.create("s")
        stream.append_many([b"same", b"another, longer", b"same", b"same"])
        log.checkpoint(key := key_of(log))
        for offset in range(4):
            proof = log.prove(stream, offset, end=False)
            assert b"that of record %d of stream" % offset in proof["HOW.txt"]
            proof.save(str(tmp_path / str(offset)))
            subprocess.run(
                ["sh", "HOW.txt", key.verifying.to_text()],
                cwd=tmp_path / str(offset),
                check=True,
                timeout=120,
            )
        places = {
            line.split()[2]
            for offset in range(4)
            for line in (tmp_path / str(offset) / "HOW.txt").read_text().splitlines()
            if line.startswith("head -c ") and "leaves/" in line
        }
        assert len(places) == 4


@by_hand
@pytest.mark.parametrize(
    ("name", "records", "end"),
    [("run-4", (3, 4), False), ("branch", (0, None), True), ("merge", (0, None), True)],
)
def test_standard_tools_check_a_proof_by_its_how_txt(
    signed: Signed, tmp_path: Path, name: str, records: tuple[int, int | None], end: bool
) -> None:
    proof = signed.log.prove(name, records=records, end=end)
    proof.save(str(tmp_path / "proof"))
    transit.check_proof(str(tmp_path / "proof"), signed.key.verifying.to_text())

    def judged(vkey: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "HOW.txt", vkey],
            cwd=tmp_path / "proof",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    done = judged(signed.key.verifying.to_text())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("holds: ") > len(statement_of(proof).leaves)
    assert "DOES NOT HOLD" not in done.stdout
    assert judged(key_of(signed.log).verifying.to_text()).returncode == 1
    leaf = max((tmp_path / "proof" / "leaves").iterdir())
    leaf.write_bytes(leaf.read_bytes() + b"\0")
    assert "DOES NOT HOLD: the bytes of that leaf" in judged(signed.key.verifying.to_text()).stdout
