"""What evidence costs in requests: long chains, checkpoints, and proofs straight from a bucket."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

import transit
from transit.format.commit import decode_commit, encode_commit, root_of
from transit.handle.read_side import Reading
from transit.proof.paths import LeafHashes
from transit.proof.tiles import tiles_of
from transit.proof.tree import leaf_hash
from transit.store import open_store
from transit.testing.doors import FaultDoor

from .published import commits_of, key_of, write

COMMITS = 600
# 2 bundles of 256, and one of what is left.
LAST = f"tile/entries/002.p/{COMMITS - 512}"
LOST = 7


class Long:
    """A store of 600 commits in a remote, with a checkpoint over all of them."""

    def __init__(self, base: Path) -> None:
        self.folder, self.remote = base / "a", base / "remote"
        with transit.open(self.folder, remote=self.remote, durability="os") as log:
            self.key = key_of(log.store_id)
            runs = [log.create(f"run-{n}") for n in range(20)]
            for number in range(COMMITS):
                for run in runs[number % 10 :: 10]:
                    run.append(b"%d of %s" % (number, run.name.encode()))
                log.seal()
            self.checkpoint = log.checkpoint(self.key)
        # Without a hint where a snapshot is, a reader needs all commits.
        (self.remote / "HEAD").unlink()
        self.commits = commits_of(self.folder)

    def door(self) -> FaultDoor:
        return FaultDoor(open_store(self.remote))


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Long:
    return Long(tmp_path_factory.mktemp("long"))


@pytest.fixture
def copied(long: Long, tmp_path: Path) -> Long:
    """A remote to be changed."""
    other = object.__new__(Long)
    vars(other).update(vars(long))
    other.remote = tmp_path / "remote"
    shutil.copytree(long.remote, other.remote, copy_function=shutil.copyfile)
    return other


def of_commits(door: FaultDoor) -> list[str]:
    """The requests that were made to read commits."""
    return [key for kind, key in door.requests if key.startswith(("commits/", "tile/", "checkp"))]


def test_a_restore_of_a_long_chain_reads_its_commits_in_ten_requests(
    long: Long, tmp_path: Path
) -> None:
    door = long.door()
    assert transit.restore(door, tmp_path / "r", lazy=True).commits == COMMITS
    assert len(of_commits(door)) <= 10
    assert commits_of(tmp_path / "r") == long.commits


def test_without_a_checkpoint_each_commit_is_a_request(copied: Long, tmp_path: Path) -> None:
    (copied.remote / "checkpoint").unlink()
    door = copied.door()
    assert transit.restore(door, tmp_path / "r", lazy=True).commits == COMMITS
    assert len(of_commits(door)) > COMMITS


def test_a_reader_and_a_new_writer_of_a_long_chain_read_bundles(
    long: Long, copied: Long, tmp_path: Path
) -> None:
    door = long.door()
    with transit.open(tmp_path / "new", remote=copied.remote, durability="os") as log:
        assert len(log.stream("run-0")) == COMMITS // 10
    assert commits_of(tmp_path / "new")[:COMMITS] == long.commits
    reader = transit.audit(door, "roots")
    assert reader.ok, reader.findings
    assert reader.counts["commits_bundled"] >= COMMITS - 3
    # The commits once, and once more when the bundles themselves are looked at, and the tiles.
    assert len(of_commits(door)) < 30


def test_a_reader_without_a_folder_takes_up_a_long_chain_in_few_requests(long: Long) -> None:
    door = long.door()
    side = Reading(f"file://{long.remote}", transit.Settings(), door)
    assert side.catalog.commits.count == COMMITS
    # One, eight, the bundles with the commit that binds them, and eight that are absent.
    assert len(of_commits(door)) <= 24
    side.close()


def test_an_audit_of_bodies_reads_every_commit_at_its_own_key(long: Long) -> None:
    door = long.door()
    assert transit.audit(door, keys=long.key.verifying).stage == "checkpoint"
    assert {key for key in of_commits(door) if key.startswith("commits/")} >= {
        f"commits/{number:020}.json" for number in range(COMMITS)
    }


def entries(commits: list[bytes]) -> bytes:
    return b"".join(len(each).to_bytes(2, "big") + each for each in commits)


def forged(commits: list[bytes], start: int) -> list[bytes]:
    """Another chain from `start` on, that holds together."""
    made = commits[:start]
    for data in commits[start:]:
        commit = decode_commit(data, "")
        previous = root_of(made[-1]) if made else ""
        made.append(
            encode_commit(
                msgspec.structs.replace(commit, previous=previous, write_id="0" * 32, checksum="")
            )
        )
    return made


def damaged_bundles(long: Long) -> Iterator[tuple[str, str, bytes | None]]:
    commits = long.commits
    first, last = "tile/entries/000", LAST
    yield "is gone", first, None
    yield "is empty", first, b""
    yield "has bytes after its end", first, entries(commits[:256]) + b"\0"
    yield "has a length beyond its end", last, b"\xff\xff" + entries(commits[512:])[2:]
    yield "has one entry less", last, entries(commits[512:-1])
    yield "has entries in another order", first, entries(commits[:256][::-1])
    yield "has two entries exchanged", last, entries([*commits[512:-2], commits[-1], commits[-2]])
    yield "is another chain from one commit on", last, entries(forged(commits, 550)[512:])
    yield "is another chain", first, entries(forged(commits, 0)[:256])
    changed = bytearray(entries(commits[:256]))
    changed[40_000] ^= 1
    yield "has a changed byte", first, bytes(changed)
    yield (
        "is another store's",
        first,
        entries(
            [
                encode_commit(
                    msgspec.structs.replace(decode_commit(each, ""), store="0" * 32, checksum="")
                )
                for each in commits[:256]
            ]
        ),
    )


@pytest.mark.parametrize("number", range(11))
def test_a_bundle_that_is_not_the_chain_s_is_not_used(
    copied: Long, tmp_path: Path, number: int
) -> None:
    said, key, data = list(damaged_bundles(copied))[number]
    if data is None:
        (copied.remote / key).unlink()
    else:
        write(copied.remote / key, data)
    transit.restore(copied.remote, tmp_path / "r", lazy=True)
    assert commits_of(tmp_path / "r") == copied.commits, said
    report = transit.audit(copied.remote, "roots")
    assert [each.place for each in report.findings if key in each.place], said
    # Asked for in vain once, the reader finds its tree by the commits.
    with transit.open(f"file://{copied.remote}", mode="read", checkpoint=copied.checkpoint) as log:
        assert len(log.stream("run-0")) == COMMITS // 10


@pytest.mark.parametrize("lost", [b"", b"garbage", b"\xff" * 200])
def test_a_checkpoint_that_is_none_stops_no_restore(
    copied: Long, tmp_path: Path, lost: bytes
) -> None:
    write(copied.remote / "checkpoint", lost)
    transit.restore(copied.remote, tmp_path / "r", lazy=True)
    assert commits_of(tmp_path / "r") == copied.commits


# Checkpoints


def puts(door: FaultDoor, start: int) -> list[str]:
    return [key for kind, key in door.requests[start:] if kind in ("put", "create")]


def test_what_a_checkpoint_costs(tmp_path: Path) -> None:
    """Nothing where nothing is new; else a tile, a bundle and two notes, whatever was sealed."""
    door = FaultDoor(open_store(tmp_path / "remote"))
    with transit.open(tmp_path / "a", remote=door, durability="os") as log:
        key, run = key_of(log.store_id), log.create("run")
        for number in range(4):
            run.append(b"x")
            log.publish()
            start = len(door.requests)
            note = log.checkpoint(key).note
            made = puts(door, start)
            assert sorted(made) == [
                "checkpoint", f"checkpoints/{number + 1:020}",
                f"tile/0/000.p/{number + 1}", f"tile/entries/000.p/{number + 1}",
            ]  # fmt: skip
            start = len(door.requests)
            for _ in range(3):
                assert log.checkpoint(key).note == note
            assert door.requests[start:] == []
    with transit.open(tmp_path / "a", remote=door, durability="os") as log:
        start = len(door.requests)
        assert log.checkpoint(key).note == note
        assert puts(door, start) == []


# Proofs without a folder


def asked(log: transit.Log) -> int:
    """How many requests an open store has made."""
    traffic = log.metrics().remote
    assert traffic is not None
    return sum(traffic.requests.values())


def test_a_proof_straight_from_a_bucket_takes_four_requests(long: Long) -> None:
    with transit.open(f"file://{long.remote}", mode="read") as log:
        run = log.stream("run-3")
        cold: list[int] = []
        warm: list[int] = []
        for offset in (7, 20, 40, 41):
            for made in (cold, warm):
                start = asked(log)
                proof = log.prove(run, offset)
                made.append(asked(log) - start)
                checked = transit.check_proof(proof, long.key.verifying)
                assert next(checked.records()).payload == run[offset].payload
        # The first proof needs what all others have too: the note and the tiles.
        assert max(cold[1:] + warm) <= 4, (cold, warm)
        assert cold[0] <= 8


def lying(long: Long) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Tiles and bundles of another history, in the place of those that are there."""
    others = forged(long.commits, 0)
    hashes = LeafHashes(leaf_hash(each) for each in others)
    tiles = dict(tiles_of(hashes.hash_at, 0, COMMITS))
    head = transit.Checkpoint(long.key.verifying.name, COMMITS, hashes.root())
    yield "a bundle", {"tile/entries/000": entries(others[:256])}
    yield "tiles", tiles
    lines = long.checkpoint.note.partition(b"\n\n")[2]
    yield "tiles and a checkpoint", {**tiles, "checkpoint": head.text().encode() + b"\n" + lines}


@pytest.mark.parametrize("number", range(3))
def test_a_bucket_whose_tiles_lie_is_read_by_its_commits(copied: Long, number: int) -> None:
    said, objects = list(lying(copied))[number]
    for key, data in objects.items():
        write(copied.remote / key, data)
    kept = copied.checkpoint
    with transit.open(f"file://{copied.remote}", mode="read", checkpoint=kept) as log:
        for offset in (7, 40):
            proof = log.prove("run-3", offset, checkpoint=kept)
            checked = transit.check_proof(proof, copied.key.verifying)
            assert next(checked.records()).payload == log.stream("run-3")[offset].payload, said
    assert not transit.audit(copied.remote, "roots").ok


def test_threads_make_proofs_from_a_bucket_at_once(long: Long) -> None:
    with transit.open(f"file://{long.remote}", mode="read") as log:
        with ThreadPoolExecutor(8) as pool:
            asked_for = [(run, offset) for run in range(8) for offset in (0, 31, 59)]
            made = pool.map(lambda each: log.prove(f"run-{each[0]}", each[1]), asked_for)
            for (run, offset), proof in zip(asked_for, made, strict=True):
                checked = transit.check_proof(proof, long.key.verifying)
                assert next(checked.records()).payload == log.stream(f"run-{run}")[offset].payload
        assert log.prove_growth(long.checkpoint) == log.prove_growth(long.checkpoint)
