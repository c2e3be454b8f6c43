"""Attacks on the tiles and bundles of a published store: findings that name the object."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .attempts import DAMAGED, FINDING, Attack, Attempt, audited, judge_all
from .published import Published, commits_of, write

TILE, BUNDLE = "tile/0/000.p/6", "tile/entries/000.p/6"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return Published(tmp_path_factory.mktemp("whole") / "made")


def changing(key: str, change: Callable[[bytes], bytes | None], said: str) -> Attack:
    """The attack that replaces one object, or removes it."""

    def attack(published: Published, to: Path) -> Iterator[Attempt]:
        yield Attempt(published.audit, None)
        yield Attempt(audited(published), 0)
        data = change((published.remote / key).read_bytes())
        (published.remote / key).unlink()
        if data is not None:
            write(published.remote / key, data)
        for level in ("roots", "bodies"):
            yield Attempt(lambda level=level: published.audit(level), FINDING, said)  # type: ignore[misc]
            yield Attempt(lambda level=level: published.audit(level), FINDING, key)  # type: ignore[misc]
        yield Attempt(audited(published), DAMAGED)
        yield Attempt(audited(published, "--level", "roots"), DAMAGED)

    return attack


def exchanged(data: bytes) -> bytes:
    """Two entries of a bundle in the place of one another."""
    entries, at = [], 0
    while at < len(data):
        stop = at + 2 + int.from_bytes(data[at : at + 2], "big")
        entries.append(data[at:stop])
        at = stop
    return b"".join([entries[1], entries[0], *entries[2:]])


def an_old_tile_changed(published: Published, to: Path) -> Iterator[Attempt]:
    """A tile of an earlier checkpoint that is not the beginning of the newest one."""
    yield Attempt(published.audit, None)
    old = published.remote / "tile/0/000.p/3"
    write(old, old.read_bytes()[::-1])
    yield Attempt(published.audit, FINDING, "tile/0/000.p/3, hash 0")
    yield Attempt(audited(published), DAMAGED)


def a_full_tile_beside_a_partial_one(published: Published, to: Path) -> Iterator[Attempt]:
    """Hashes of a larger tree than there is: no part of it, counted and never read."""
    partial = (published.remote / TILE).read_bytes()
    yield Attempt(published.audit, None)
    write(published.remote / "tile/0/000", partial + bytes(250 * 32))
    report = published.audit()
    assert (report.ok, report.counts["unnamed_objects"]) == (True, 1)
    # It stands in for the partial one: what it has of that must fit.
    (published.remote / TILE).unlink()
    yield Attempt(published.audit, None)
    write(published.remote / "tile/0/000", bytes(256 * 32))
    yield Attempt(published.audit, FINDING, f"{TILE}, hash 0")
    yield Attempt(audited(published), DAMAGED)


def a_smaller_checkpoint(published: Published, to: Path) -> Iterator[Attempt]:
    """Only a checkpoint of 4 commits, beside the tiles of 6."""
    yield Attempt(published.audit, None)
    write(published.remote / "checkpoint", published.notes[3].note)
    report = published.audit(keys=published.vkey)
    assert report.ok
    assert report.counts["commits_checkpointed"] == 6
    shutil.rmtree(published.remote / "tile/0/000.p")
    write(published.remote / TILE, bytes(6 * 32))
    yield Attempt(published.audit, FINDING, "tile/0/000.p/4")
    yield Attempt(audited(published), DAMAGED)


def tiles_of_more_commits(published: Published, to: Path) -> Iterator[Attempt]:
    """The newest commits gone, and all that names them: their tiles are strangers."""
    yield Attempt(published.audit, None)
    six = {name: (published.remote / name).read_bytes() for name in (TILE, BUNDLE)}
    published.roll_back(3)
    for name, data in six.items():
        write(published.remote / name, data)
    report = published.audit()
    # With the segments of those commits.
    assert (report.ok, report.counts["unnamed_objects"]) == (True, 4)
    yield Attempt(lambda: published.audit(checkpoint=published.kept), FINDING, "and 4 are there")
    yield Attempt(lambda: 0 if len(commits_of(published.remote)) == 4 else 1, 0)


ATTACKS: dict[str, Attack] = {
    "39 a hash too many": changing(TILE, lambda data: data + data[:32], f"{TILE}"),
    "39 a hash too few": changing(TILE, lambda data: data[:-32], "expected 192 bytes"),
    "39 half a hash": changing(TILE, lambda data: data[:-16], "expected 192 bytes"),
    "39 another hash": changing(TILE, lambda data: data[32:64] + data[32:], "hash 0"),
    "39 gone": changing(TILE, lambda data: None, "no object"),
    "39 an old one changed": an_old_tile_changed,
    "39 a full one beside it": a_full_tile_beside_a_partial_one,
    "40 bytes after the end": changing(BUNDLE, lambda data: data + b"x", "bytes after its 6"),
    "40 a length beyond the end": changing(
        BUNDLE, lambda data: b"\xff\xff" + data[2:], "goes on beyond"
    ),
    "40 another order": changing(BUNDLE, exchanged, "commit 0"),
    "40 gone": changing(BUNDLE, lambda data: None, "no object"),
    "40 one byte changed": changing(
        BUNDLE, lambda data: data[:-5] + bytes([data[-5] ^ 1]) + data[-4:], "commit 5"
    ),
    "41 a smaller checkpoint": a_smaller_checkpoint,
    "41 tiles of more commits": tiles_of_more_commits,
}


@pytest.mark.parametrize("row", ATTACKS)
def test_an_attack_on_tiles_is_a_finding(
    whole: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: str
) -> None:
    monkeypatch.chdir(tmp_path)
    judge_all(ATTACKS[row](whole.copy(tmp_path / "copy"), tmp_path / "work"))
