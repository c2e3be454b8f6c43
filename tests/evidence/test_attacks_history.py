"""Attacks on a published history, each refused beside a control that is accepted.

The numbers are those of the threat table in INTEGRITY.md. Each attack is made on the remote by
somebody who may write everywhere in it and computes all checksums, roots and trees again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

import transit
from transit.engine import plans
from transit.format.commit import Commit
from transit.proof.checkpoint import add_signatures, sign
from transit.proof.files import ConsistencyFile, check_pair
from transit.proof.notes import Note, parse_note
from transit.proof.witness import Latest, decide

from .attempts import (
    DAMAGED,
    FINDING,
    Attack,
    Attempt,
    accepted_with_kept,
    audited,
    command,
    judge_all,
    refused_with_kept,
)
from .published import Published, key_of, write

Suffixes = tuple[tuple[transit.Record, ...], ...]
NOW = 1_800_000_000


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return Published(tmp_path_factory.mktemp("whole") / "made")


def changed(commit: Commit) -> Commit:
    return msgspec.structs.replace(commit, write_id="0" * 32)


def twin(published: Published, to: Path, rounds: int = 1) -> Published:
    """The same store at the second round, gone another way and published elsewhere."""
    to.mkdir()
    transit.restore(published.remote, to / "a", at=1)
    other = object.__new__(Published)
    vars(other).update(vars(published))
    other.base, other.folder, other.remote, other.notes = to, to / "a", to / "remote", []
    return other


def go_on(other: Published, *names: str) -> Published:
    """Some more streams, each with a commit of its own, up to as many as the store has."""
    with other.open() as log:
        for name in names:
            log.create(name).append(b"another history")
            log.seal()
        log.publish()
    return other


# Rows


def rolled_back(published: Published, to: Path) -> Iterator[Attempt]:
    yield from accepted_with_kept(published, to, published.kept)
    published.roll_back(2)
    # Without memory nothing is wrong with it.
    yield Attempt(lambda: published.audit(keys=published.vkey), None)
    yield Attempt(audited(published), 0)
    yield from refused_with_kept(published, to, published.kept, "6 commits, and 3 are there")


def newest_commits_deleted(published: Published, to: Path) -> Iterator[Attempt]:
    yield Attempt(published.audit, None)
    yield Attempt(audited(published), 0)
    published.cut(4)
    yield Attempt(published.audit, FINDING, "a checkpoint over 6 commits")
    yield Attempt(audited(published), DAMAGED)
    yield from refused_with_kept(published, to, published.kept, "6 commits, and 4 are there")


def split_view(published: Published, to: Path) -> Iterator[Attempt]:
    to.mkdir()
    other = go_on(twin(published, to / "twin"), "x", "y", "z", "w")
    note = other.sign_chain(published.key)
    assert transit.Checkpoint.parse(parse_note(note).text).size == 6
    policy = transit.Policy.of([published.key.verifying])
    yield Attempt(lambda: check_pair(note, note, policy, now=NOW), None)
    yield Attempt(lambda: other.audit(keys=published.vkey), None)
    yield Attempt(
        lambda: check_pair(note, published.kept, policy, now=NOW),
        transit.SplitViewError,
        "SPLIT VIEW, two roots for size 6",
    )
    yield from refused_with_kept(published, to / "one", note, "of another history")
    yield from refused_with_kept(other, to / "other", published.kept, "of another history")


def split_view_of_two_sizes(published: Published, to: Path) -> Iterator[Attempt]:
    to.mkdir()
    other = go_on(twin(published, to / "twin"), *"xyzwuvst")
    policy = transit.Policy.of([published.key.verifying])
    with other.open() as log:
        first, second = published.notes[-1].note, log.checkpoint(published.key).note
        own = log.prove_growth(published.notes[1].note, second)
        yield Attempt(
            lambda: ConsistencyFile.parse(own).check(published.notes[1].note, policy, now=NOW),
            None,
        )
        yield Attempt(lambda: log.prove_growth(first), transit.SplitViewError, "of another history")
    claimed = ConsistencyFile(6, ConsistencyFile.parse(own).hashes, second)
    yield Attempt(lambda: claimed.check(first, policy, now=NOW), transit.ProofError, "consistency")
    yield from refused_with_kept(other, to / "other", first, "of another history")


def written_anew_and_signed(published: Published, to: Path) -> Iterator[Attempt]:
    yield from accepted_with_kept(published, to, published.kept)
    latest = {published.key.verifying.name: Latest(4, published.notes[3].checkpoint.root, b"")}
    with published.open() as log:
        grown = log.prove_growth(published.notes[3])
    witness = transit.SigningKey.generate("w.example/1", role="witness")

    def asked(body: bytes) -> int:
        logs = {published.key.verifying.name: [published.key.verifying]}
        return decide(body, latest, logs=logs, keys=[witness], now=NOW).status

    yield Attempt(lambda: asked(grown), 200)
    published.rewrite(3, changed, signed_by=published.key)
    yield Attempt(lambda: published.audit(keys=published.vkey), None)
    note = (published.remote / "checkpoint").read_bytes()
    forged = ConsistencyFile(4, ConsistencyFile.parse(grown).hashes, note).encode()
    yield Attempt(lambda: asked(forged), 422)
    yield from refused_with_kept(published, to, published.kept, "of another history")


def written_anew_under_the_old_checkpoint(published: Published, to: Path) -> Iterator[Attempt]:
    yield Attempt(audited(published), 0)
    published.rewrite(3, changed)
    yield Attempt(published.audit, FINDING, "of the first 4 of 6 commits")
    yield Attempt(audited(published), DAMAGED)
    yield from refused_with_kept(published, to, published.kept, "of another history")


def another_branch_under_the_old_checkpoint(published: Published, to: Path) -> Iterator[Attempt]:
    to.mkdir()
    yield Attempt(lambda: published.audit(keys=published.vkey), None)
    other = twin(published, to / "twin")
    with other.open() as log:
        # The genuine branch is of record 2 of run-1.
        log.stream("run-0").branch("other-branch", at=1).append(b"only here")
        log.seal()
    other = go_on(other, "x", "y", "z")
    for name in ("checkpoints", "tile"):
        shutil.copytree(published.remote / name, other.remote / name)
    write(other.remote / "checkpoint", published.kept)
    yield Attempt(other.audit, FINDING, "of the first 6 of 6 commits")
    yield Attempt(audited(other), DAMAGED)
    stranger = key_of(published.store_id)
    other.sign_chain(stranger)
    # A root and tiles that fit: only the keys tell.
    yield Attempt(other.audit, None)
    yield Attempt(
        lambda: other.audit(keys=published.vkey), FINDING, "not signed by a known key of its log"
    )
    yield Attempt(audited(other, "--vkey", published.vkey), DAMAGED)


def signed_by_the_key_of_another_origin(published: Published, to: Path) -> Iterator[Attempt]:
    yield Attempt(lambda: published.audit(keys=published.vkey), None)
    genuine = parse_note(published.kept)
    # A line that verifies, of a key with another name.
    other = transit.SigningKey.generate("example.com/other")
    head = published.notes[-1].checkpoint
    line = sign(transit.Checkpoint("example.com/other", head.size, head.root), [other])
    note = Note(genuine.text, line.signatures).encode()
    published.put_note(head.size, note)
    write(published.remote / "checkpoint", note)
    for key in (published.vkey, other.verifying.to_text()):
        audit = partial(published.audit, keys=key)
        yield Attempt(audit, FINDING, "not signed by a known key")
        yield Attempt(audited(published, "--vkey", key), DAMAGED)
    both = add_signatures(genuine, line.signatures).encode()
    published.put_note(head.size, both)
    write(published.remote / "checkpoint", both)
    yield Attempt(lambda: published.audit(keys=published.vkey), None)


def names_exchanged(published: Published, to: Path) -> Iterator[Attempt]:
    to.mkdir()
    other = go_on(twin(published, to / "twin"), "run-3", "run-2", "run-4", "run-5")
    other.sign_chain(published.key)
    yield Attempt(lambda: other.audit(keys=published.vkey), None)
    yield from refused_with_kept(other, to, published.kept, "of another history")
    with other.open() as log, transit.open(published.folder, mode="read") as genuine:
        made = log.prove("run-2", 0, checkpoint=(other.remote / "checkpoint").read_bytes())
        shown = transit.check_proof(made, published.vkey).shown
        # It holds for whoever knows nothing; uid and id say that it is another stream.
        assert shown.stream == "run-2"
        known = genuine.stream("run-2")
        assert (shown.uid, shown.stream_id) != (known.uid, genuine.prove("run-2").shown.stream_id)


def a_merge_that_skips_a_record(published: Published, to: Path) -> Iterator[Attempt]:
    def all_of(suffixes: Suffixes, params: object) -> list[transit.Record]:
        return [record for suffix in suffixes for record in suffix]

    transit.register_policy("whole", all_of)
    with published.open() as log:
        log.merge("sound", [log.stream("run-3"), log.stream("run-4")], policy="custom:whole")
        log.publish()
        yield Attempt(log.verify, None)
    yield Attempt(published.audit, None)
    transit.register_policy("whole", lambda suffixes, params: all_of(suffixes, params)[1:])
    with published.open() as log:
        log.merge("skips", [log.stream("run-3"), log.stream("run-5")], policy="custom:whole")
        log.publish()
    transit.register_policy("whole", all_of)
    try:
        with published.open() as log:
            yield Attempt(log.verify, FINDING, "$lineage@")
        yield Attempt(published.audit, FINDING, "$lineage@")
        yield Attempt(audited(published), DAMAGED)
        yield Attempt(command("verify", "--store", published.folder), DAMAGED)
    finally:
        del plans._custom["whole"]


def a_policy_that_nobody_has(published: Published, to: Path) -> Iterator[Attempt]:
    transit.register_policy("lost", lambda suffixes, params: [r for s in suffixes for r in s])
    with published.open() as log:
        log.merge("merged", [log.stream("run-3"), log.stream("run-4")], policy="custom:lost")
        log.checkpoint(published.key)
        proof = log.prove("merged", 0)
    yield Attempt(lambda: _not_rerun(published.audit(), 0), None)
    del plans._custom["lost"]
    yield Attempt(lambda: _not_rerun(published.audit(), 1), None)
    yield Attempt(audited(published), 0)
    assert transit.check_proof(proof, published.vkey).shown.merged == ("merged",)


def _not_rerun(report: transit.Report, count: int) -> transit.Report:
    assert report.counts["merges_not_rerun"] == count
    return report


def checkpoint_of_another_store(published: Published, to: Path) -> Iterator[Attempt]:
    to.mkdir()
    other = Published(to / "other", rounds=6)
    yield from accepted_with_kept(published, to / "sound", published.kept)
    yield from refused_with_kept(published, to / "a", other.kept, other.store_id)
    published.put_note(6, other.kept)
    write(published.remote / "checkpoint", other.kept)
    yield Attempt(published.audit, FINDING, f"an origin that ends in /{published.store_id}")
    yield Attempt(audited(published), DAMAGED)
    with published.open() as log:
        yield Attempt(
            lambda: log.prove("run-0", 0, checkpoint=other.kept),
            transit.ProofError,
            f"not of store {published.store_id}",
        )


def format_of_another_store(published: Published, to: Path) -> Iterator[Attempt]:
    to.mkdir()
    other = Published(to / "other", rounds=1)
    yield from accepted_with_kept(published, to / "sound", published.kept)
    write(published.remote / "FORMAT", (other.remote / "FORMAT").read_bytes())
    yield Attempt(published.audit, FINDING, other.store_id)
    yield Attempt(audited(published), DAMAGED)
    yield Attempt(published.open, transit.InvalidInputError, f"holds store {other.store_id}")
    yield Attempt(published.read, transit.CorruptError, f"store {other.store_id}")
    yield from refused_with_kept(published, to, published.kept, other.store_id)


def format_2(published: Published, to: Path) -> Iterator[Attempt]:
    yield from accepted_with_kept(published, to, published.kept)
    data = (published.remote / "FORMAT").read_bytes()
    write(published.remote / "FORMAT", data.replace(b'"format":1', b'"format":2'))
    before = sorted(published.remote.rglob("*"))
    yield Attempt(published.audit, FINDING, "format version 2")
    yield Attempt(audited(published), DAMAGED)
    for use in (
        published.read,
        published.open,
        lambda: published.open("new"),
        lambda: transit.restore(published.remote, to / "restored"),
    ):
        yield Attempt(use, transit.UnsupportedVersionError)
    yield Attempt(command("restore", published.remote, to / "restored"), DAMAGED)
    assert sorted(published.remote.rglob("*")) == before


ATTACKS: dict[str, Attack] = {
    "1 rolled back": rolled_back,
    "2 newest commits deleted": newest_commits_deleted,
    "3 split view": split_view,
    "4 split view of two sizes": split_view_of_two_sizes,
    "5 written anew and signed": written_anew_and_signed,
    "6 written anew under the old checkpoint": written_anew_under_the_old_checkpoint,
    "15 another branch, not signed": another_branch_under_the_old_checkpoint,
    "16 signed by the key of another origin": signed_by_the_key_of_another_origin,
    "17 names exchanged": names_exchanged,
    "18 a merge that skips a record": a_merge_that_skips_a_record,
    "19 a policy that nobody has": a_policy_that_nobody_has,
    "20 checkpoint of another store": checkpoint_of_another_store,
    "21 FORMAT of another store": format_of_another_store,
    "22 FORMAT 2": format_2,
}


@pytest.mark.parametrize("row", ATTACKS)
def test_an_attack_on_the_published_history_is_refused(
    whole: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: str
) -> None:
    monkeypatch.chdir(tmp_path)
    published = whole.copy(tmp_path / "copy")
    attempts = ATTACKS[row](published, tmp_path / "work")
    judge_all(attempts, ends_well=ATTACKS[row] is a_policy_that_nobody_has)
