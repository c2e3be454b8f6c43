"""A commit of a newer transit that says what it needs is told as that, and damage as damage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import transit
from transit.errors import CorruptError, UnsupportedVersionError
from transit.format import commit as commits
from transit.format import preview
from transit.format.checksum import checksum
from transit.format.commit import decode_commit

Change = Callable[[dict[str, Any]], None]
GOLDEN = (Path(__file__).parent / "golden" / "commits" / f"{1:020d}.json").read_bytes()


def of_a_newer(change: Change, data: bytes = GOLDEN) -> bytes:
    """The commit in `data` with `change` to it; canonical, and its checksum fits."""
    plain = json.loads(data)
    change(plain)
    plain["checksum"] = "0" * 16
    blank = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return blank.replace(b"0" * 16, b"%016x" % checksum(blank), 1)


def in_commit(*needs: object) -> Change:
    return lambda plain: plain.update(needs=list(needs))


def in_segment(*needs: object) -> Change:
    return lambda plain: plain["segments"][0].update(needs=list(needs))


def both(plain: dict[str, Any]) -> None:
    in_commit("encrypted", "erased")(plain)
    in_segment("erased", "ünknown")(plain)
    plain["segments"][0]["more"] = {"of": ["whatever"]}


TOLD: dict[str, tuple[Change, tuple[str, ...]]] = {
    "commit": (in_commit("encrypted"), ("encrypted",)),
    "segment": (in_segment("erased"), ("erased",)),
    "both": (both, ("encrypted", "erased", "ünknown")),
    "many": (in_commit(*map(str, range(100))), tuple("01234567")),
    "some that are no names": (in_commit("a", 7, None, "x" * 65), ("a",)),
}


def check_told() -> None:
    for change, needs in TOLD.values():
        with pytest.raises(UnsupportedVersionError) as caught:
            decode_commit(of_a_newer(change), "here")
        assert (caught.value.needs, caught.value.found, caught.value.supported) == (needs, 1, 1)
        assert all(repr(name) in str(caught.value) for name in needs)
        data = bytearray(of_a_newer(change))
        data[-20] ^= 1
        with pytest.raises(CorruptError):
            decode_commit(bytes(data), "here")


def test_what_a_newer_commit_needs_is_told() -> None:
    check_told()


@pytest.mark.parametrize(
    "change",
    [
        in_commit(),
        in_segment(),
        in_commit(7),
        in_commit(["a"]),
        in_commit("x" * 65),
        lambda plain: plain.update(needs="encrypted"),
        lambda plain: plain.update(heads={}),
    ],
)
def test_a_commit_that_needs_nothing_by_name_is_damage(change: Change) -> None:
    with pytest.raises(CorruptError):
        decode_commit(of_a_newer(change), "here")


@pytest.mark.parametrize("mode", ["exclusive", "read"])
def test_a_store_with_such_a_commit_is_refused_and_not_touched(mode: str, tmp_path: Path) -> None:
    with transit.open(tmp_path) as log:
        log.create("s").append(b"1")
        log.seal()
    (path,) = (tmp_path / "commits").glob("*.json")
    path.write_bytes(of_a_newer(in_segment("encrypted"), path.read_bytes()))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.*") if p.is_file()}
    with pytest.raises(UnsupportedVersionError, match="'encrypted'"):
        transit.open(tmp_path, mode=mode)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*.*") if p.is_file()} == before
    (finding,) = transit.audit(tmp_path, level="roots").findings
    assert "'encrypted'" in finding.found


# Planted bugs


def told_as_damage(patch: pytest.MonkeyPatch) -> None:
    """What a newer transit wrote is damage."""
    patch.setattr(commits, "refuse_needs", lambda data, place: None)


def segments_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    """Only what the commit itself needs is seen."""
    patch.setattr(preview, "segments_in", lambda plain: [])


def damage_told_as_newer(patch: pytest.MonkeyPatch) -> None:
    """The checksum is not compared."""
    patch.setattr(preview, "whole_commit", lambda data: json.loads(data.decode(errors="replace")))


@pytest.mark.parametrize("plant", [told_as_damage, segments_not_looked_at, damage_told_as_newer])
def test_a_planted_bug_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception, transit.TransitError, ValueError)):
        check_told()
