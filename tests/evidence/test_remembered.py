"""A checkpoint that was kept: what does not extend it is refused, before anything is used."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import transit

from .published import SETTINGS, Published, findings, key_of


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return Published(tmp_path_factory.mktemp("whole") / "made")


@pytest.fixture
def published(whole: Published, tmp_path: Path) -> Published:
    return whole.copy(tmp_path / "copy")


def test_a_sound_history_is_accepted_by_all(published: Published, tmp_path: Path) -> None:
    for note in published.notes:
        for kept in (note, note.note):
            report = published.audit(checkpoint=kept, keys=published.vkey)
            assert report.ok, report.findings
            assert report.stage == "checkpoint"
            with published.read(checkpoint=kept) as log:
                assert log.stream("run-0")[4].payload == b"4 of 0"
            with published.open(checkpoint=kept) as log:
                assert log.verify(keys=published.vkey).stage == "checkpoint"
            with transit.open(published.folder, mode="read", checkpoint=kept) as log:
                assert log.verify().stage == "tree"
    restored = transit.restore(published.remote, tmp_path / "r", checkpoint=published.kept)
    assert restored.commits == published.notes[-1].checkpoint.size


def test_without_keys_no_stage_of_signatures_is_reached(published: Published) -> None:
    assert published.audit().stage == "tree"
    assert published.audit(checkpoint=published.kept).stage == "tree"
    assert published.audit(keys=published.vkey).stage == "checkpoint"


def refused_by_all(published: Published, kept: bytes, tmp_path: Path, said: str) -> None:
    """Nobody who kept `kept` uses the remote."""
    report = published.audit(checkpoint=kept)
    assert not report.ok
    assert report.stage == ""
    assert said in findings(report)
    with pytest.raises(transit.SplitViewError, match=said):
        published.read(checkpoint=kept)
    with pytest.raises(transit.SplitViewError, match=said):
        transit.restore(published.remote, tmp_path / "restored", checkpoint=kept, settings=SETTINGS)
    assert not (tmp_path / "restored/FORMAT").exists()
    with pytest.raises(transit.SplitViewError, match=said):
        published.open("new", checkpoint=kept)
    assert not list((published.base / "new/commits").iterdir())


def test_a_remote_that_was_rolled_back_is_refused(published: Published, tmp_path: Path) -> None:
    older, newer = published.notes[2].checkpoint.size, published.notes[-1].checkpoint.size
    published.roll_back(2)
    control = published.audit(keys=published.vkey)
    assert control.ok, control.findings
    refused_by_all(published, published.kept, tmp_path, f"covers {newer} commits, and {older} are")


@pytest.mark.parametrize("start", [0, 2, 4])
def test_a_history_written_anew_is_refused(
    published: Published, tmp_path: Path, start: int
) -> None:
    published.rewrite(
        start,
        lambda commit: msgspec.structs.replace(commit, write_id="0" * 32),
        signed_by=published.key,
    )
    control = published.audit(keys=published.vkey)
    assert control.ok, control.findings
    with published.read() as log:
        assert log.stream("run-0")[0].payload == b"0 of 0"
    for note in published.notes:
        if note.checkpoint.size <= start:
            with published.read(checkpoint=note) as log:
                assert log.stream("run-0")[0].payload == b"0 of 0"
    refused_by_all(published, published.kept, tmp_path, "of another history")


def test_a_restore_of_an_earlier_state_looks_at_what_comes_after(
    published: Published, tmp_path: Path
) -> None:
    done = transit.restore(published.remote, tmp_path / "r", at=2, checkpoint=published.kept)
    assert done.commits == 3
    published.rewrite(4, lambda commit: msgspec.structs.replace(commit, write_id="0" * 32))
    with pytest.raises(transit.SplitViewError, match="of another history"):
        transit.restore(published.remote, tmp_path / "s", at=2, checkpoint=published.kept)


def test_a_folder_that_is_an_older_copy_is_refused_and_left_alone(
    published: Published, tmp_path: Path
) -> None:
    transit.restore(published.remote, tmp_path / "older", at=2)
    for mode in ("read", "exclusive", "shared"):
        with pytest.raises(transit.SplitViewError, match="and 3 are there: an older state"):
            transit.open(tmp_path / "older", mode=mode, checkpoint=published.kept)
    # With its remote it is brought up to the checkpoint.
    with transit.open(
        tmp_path / "older", mode="read", remote=published.remote, checkpoint=published.kept
    ) as log:
        assert log.stream("run-5")[0].payload == b"0 of 5"
    with transit.open(
        tmp_path / "older", remote=published.remote, checkpoint=published.kept, settings=SETTINGS
    ) as log:
        assert log.stream("run-5")[0].payload == b"0 of 5"


def test_a_reader_goes_on_from_what_it_checked(published: Published) -> None:
    with published.read(checkpoint=published.kept) as reader, published.open() as log:
        Published.write_round(log, 7)
        log.publish()
        assert reader.refresh() == 1
        assert reader.stream("run-7")[0].payload == b"0 of 7"


def test_a_checkpoint_of_another_store_is_refused_by_its_origin(
    published: Published, tmp_path: Path
) -> None:
    other = Published(tmp_path / "other", rounds=1)
    report = published.audit(checkpoint=other.kept)
    assert other.store_id in findings(report)
    for use in (
        lambda: published.read(checkpoint=other.kept),
        lambda: transit.open(published.folder, checkpoint=other.kept),
        lambda: published.open("new", checkpoint=other.kept),
        lambda: transit.open(tmp_path / "none", checkpoint=other.kept),
        lambda: transit.restore(published.remote, tmp_path / "r", checkpoint=other.kept),
    ):
        with pytest.raises(transit.SplitViewError, match=other.store_id):
            use()
    assert not (tmp_path / "none/FORMAT").exists()


@pytest.mark.parametrize("kept", [b"", b"not a note", 7, "text"])
def test_what_is_no_checkpoint_is_refused(published: Published, kept: object) -> None:
    with pytest.raises((transit.ProofError, transit.InvalidInputError)):
        published.audit(checkpoint=kept)
    with pytest.raises((transit.ProofError, transit.InvalidInputError)):
        published.read(checkpoint=kept)


def test_a_checkpoint_that_the_given_keys_did_not_sign_is_refused(published: Published) -> None:
    with pytest.raises(transit.ProofError, match="not signed by a known key"):
        published.audit(checkpoint=published.kept, keys=key_of(published.store_id).verifying)


def test_a_checkpoint_that_a_policy_judged_is_taken(published: Published) -> None:
    verdict = transit.Policy.of([published.key.verifying]).check(published.kept, now=0.0)
    assert published.audit(checkpoint=verdict).stage == "checkpoint"


def test_a_store_that_is_only_in_a_remote_is_verified_there(tmp_path: Path) -> None:
    """It looked at a folder that is not there, and found nothing wrong with it."""
    with transit.open(tmp_path / "store", remote=tmp_path / "bucket") as log:
        log.create("s").append(b"x" * 100)
        log.publish()
    address = (tmp_path / "bucket").as_uri()
    with transit.open(address, mode="read") as log:
        report = log.verify()
        assert (report.ok, report.level) == (True, "bodies")
        assert report.counts["commits"] == report.counts["segments"] == 1
        (segment,) = (tmp_path / "bucket" / "segments").iterdir()
        data = bytearray(segment.read_bytes())
        data[40] ^= 1
        segment.write_bytes(data)
        found = log.verify()
        assert not found.ok
        assert segment.name in found.findings[0].place
