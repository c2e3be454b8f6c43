"""After an erasure, who has no keyring finds nothing wrong either."""

from __future__ import annotations

from pathlib import Path

import pytest

import transit


@pytest.mark.parametrize("encrypt", ["remote", "all"])
@pytest.mark.parametrize("keep", [False, True], ids=["all of it", "some of it"])
def test_what_was_erased_is_no_damage_without_the_keyring(
    tmp_path: Path, encrypt: str, keep: bool
) -> None:
    keyring = transit.Keyring.create(tmp_path / "keys", passphrase="p")
    store, remote = tmp_path / "store", tmp_path / "remote"
    with transit.open(
        store, remote=str(remote), encrypt=encrypt, keyring=keyring, durability="os"
    ) as log:
        gone = log.create("gone")
        gone.append(b"x")
        if keep:
            log.create("kept").append_many([b"y", b"z"])
        log.publish()
        gone.append(b"x")
        log.delete("gone", reason="asked to")
        log.erase()
        log.publish()
        assert log.verify().ok
    for place in (store, remote):
        for ring in (keyring, None):
            for level in ("roots", "bodies"):
                report = transit.audit(str(place), level=level, keyring=ring)
                assert report.findings == ()
    with transit.open(store, mode="read") as log:
        assert log.verify().findings == ()
