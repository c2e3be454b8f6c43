"""Proofs of what is left, after other records of the same segments were erased."""

from __future__ import annotations

from pathlib import Path

import pytest

import transit

from .published import key_of


def test_what_is_left_is_proved_at_checkpoints_of_before_and_after(tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    with transit.open(tmp_path / "a", remote=remote) as log:
        for number in range(6):
            log.create(f"run-{number}").append_many([b"%d %d" % (number, n) for n in range(9)])
        log.seal()
        log.stream("run-3").append(b"more")
        key = key_of(log.store_id)
        before = log.checkpoint(key)
        kept = log.prove("run-2", 4)
        log.delete("run-3", reason="asked", basis="gdpr-17")
        log.erase()
        after = log.checkpoint(key)
        for note in (before, after):
            for name in ("run-2", "run-4"):
                checked = transit.check_proof(log.prove(name, 4, checkpoint=note), key.verifying)
                (shown,) = checked.records()
                assert shown.payload == b"%s 4" % name[-1].encode()
        # A proof that was made before holds as it did.
        assert transit.check_proof(kept, key.verifying).records()
        with pytest.raises(transit.ErasedError):
            log.prove(log.stream(uid=next(log.hidden()).uid), 4)
        assert log.verify().findings == ()
    with transit.open(str(remote.as_uri()), mode="read") as reader:
        checked = transit.check_proof(reader.prove("run-2", 4, checkpoint=before), key.verifying)
        assert checked.records()
    report = transit.audit(remote, keys=[key.verifying], checkpoint=before)
    assert report.findings == ()
    assert report.counts["erased_records"] == 10
