"""The chain of commits in a folder: what it takes, what it refuses, and where it then stands."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from transit.errors import ConflictError, CorruptError
from transit.format.commit import (
    COMMIT_BYTES_MAX,
    Commit,
    IndexRef,
    SegmentRef,
    TreeState,
    decode_commit,
    encode_commit,
    root_of,
)
from transit.format.names import commit_name
from transit.log.commits import CommitChain

STORE = bytes(range(16))
INDEX = IndexRef(digest="77" * 32, bytes=9)


class Chains:
    """A folder of commits, and chains that begin to read it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path / "commits"
        self.folder.mkdir(parents=True)

    def chain(self, store_id: bytes = STORE) -> CommitChain:
        """A chain that has read nothing yet."""
        return CommitChain(str(self.path), store_id)

    def loaded(self) -> CommitChain:
        """A chain that has read all there is."""
        chain = self.chain()
        list(chain.load())
        return chain

    def file(self, number: int) -> Path:
        """Where commit `number` is kept."""
        return self.folder / commit_name(number)

    def made(self, count: int) -> CommitChain:
        """A chain that has made `count` commits."""
        chain = self.chain()
        for _ in range(count):
            assert add(chain) is not None
        return chain


def add(chain: CommitChain, epoch: int = 1, index: IndexRef | None = None) -> Commit | None:
    return chain.add((segment_after(chain.next_lsn),), epoch, index)


def segment_after(lsn: int) -> SegmentRef:
    return SegmentRef(
        digest="ab" * 32,
        footer="cd" * 32,
        chunks="0a" * 32,
        bytes=1234,
        records=10,
        streams=2,
        lsn=(lsn, lsn + 9),
        time=(-5, 7),
        written=(3, 9),
    )


def state(chain: CommitChain) -> tuple[Any, ...]:
    """Where a chain stands."""
    return chain.count, chain.next_lsn, chain.root, chain.head, chain.indexed


@pytest.fixture
def chains(tmp_path: Path) -> Chains:
    return Chains(tmp_path)


def changed(data: bytes, **changes: Any) -> bytes:
    """A commit's bytes with other values, and a checksum that fits them."""
    return encode_commit(msgspec.structs.replace(decode_commit(data, "here"), **changes))


# Where it stands


def test_a_chain_of_nothing_stands_at_the_start(chains: Chains) -> None:
    chain = chains.loaded()
    assert state(chain) == (0, 0, "", None, None)
    assert chain.read(0) is None


def test_each_commit_made_follows_the_one_before_and_is_kept_as_it_is(chains: Chains) -> None:
    chain = chains.chain()
    root = ""
    for number in range(9):
        commit = add(chain)
        assert commit is not None
        data = chains.file(number).read_bytes()
        assert decode_commit(data, "here") == msgspec.structs.replace(
            commit, checksum=decode_commit(data, "here").checksum
        )
        assert (commit.number, commit.previous, commit.store) == (number, root, STORE.hex())
        assert commit.tree.size == number
        root = root_of(data)
        assert state(chain) == (number + 1, 10 * number + 10, root, commit, None)
        assert chain.read(number) == data


def test_two_commits_of_the_same_segments_have_different_write_ids(tmp_path: Path) -> None:
    one, other = (add(Chains(tmp_path / name).chain()) for name in "ab")
    assert one is not None
    assert other is not None
    assert one.write_id != other.write_id
    assert len(bytes.fromhex(one.write_id)) == 16


def test_a_chain_that_reads_stands_where_the_one_that_wrote_does(chains: Chains) -> None:
    writer = chains.made(5)
    reader = chains.chain()
    assert [commit.number for commit in reader.load()] == [0, 1, 2, 3, 4]
    assert state(reader)[:3] == state(writer)[:3]
    assert list(reader.load()) == []
    add(writer)
    add(writer)
    assert [commit.number for commit in reader.load()] == [5, 6]
    assert state(reader)[:3] == state(writer)[:3]
    # It knows the tree too, which the next commit says.
    following = add(reader)
    assert following is not None
    assert [commit.number for commit in writer.load()] == [7]


def test_the_head_moves_to_each_commit_in_turn(chains: Chains) -> None:
    chains.made(3)
    chain = chains.chain()
    for commit in chain.load():
        assert chain.head is commit
        assert chain.count == commit.number + 1


def test_the_last_commit_that_names_a_snapshot_is_remembered(chains: Chains) -> None:
    chain = chains.chain()
    add(chain)
    assert chain.indexed is None
    indexed = add(chain, index=INDEX)
    add(chain)
    assert chain.indexed is indexed
    reader = chains.loaded()
    assert reader.indexed is not None
    assert (reader.indexed.number, reader.indexed.index) == (1, INDEX)


def test_an_epoch_is_never_lower_than_the_one_before(chains: Chains) -> None:
    chain = chains.chain()
    epochs = [add(chain, epoch) for epoch in (3, 5, 2, 7, 0)]
    assert [commit.epoch for commit in epochs if commit] == [3, 5, 5, 7, 7]
    assert chains.loaded().count == 5


def test_a_first_epoch_is_taken_as_it_is(chains: Chains) -> None:
    first = add(chains.chain(), 0)
    assert first is not None
    assert first.epoch == 0


# Two writers


def test_the_second_to_make_a_number_gets_none_and_changes_nothing(chains: Chains) -> None:
    winner, loser = chains.made(1), chains.loaded()
    assert add(winner) is not None
    kept, before = chains.file(1).read_bytes(), state(loser)
    assert add(loser) is None
    assert chains.file(1).read_bytes() == kept
    assert state(loser) == before
    assert [commit.number for commit in loser.load()] == [1]
    following = add(loser)
    assert following is not None
    assert following.number == 2


# What is refused


@pytest.mark.parametrize(
    ("number", "changes", "expected"),
    [
        (0, {"store": "00" * 16}, "expected store"),
        (0, {"store": "ff" * 16}, "expected store"),
        (1, {"previous": "12" * 32}, "previous root"),
        (1, {"epoch": 0}, "epoch 1 or later"),
        (1, {"segments": (segment_after(11),)}, "LSN 10 next"),
        (2, {"tree": TreeState(size=2, range=("12" * 32,))}, "tree of the commits before"),
    ],
    ids=["a store", "another store", "another root", "lower epoch", "gap in LSN", "another tree"],
)
def test_a_commit_that_does_not_follow_is_refused_and_the_head_stays(
    chains: Chains, number: int, changes: dict[str, Any], expected: str
) -> None:
    chains.made(3)
    file = chains.file(number)
    file.write_bytes(changed(file.read_bytes(), **changes))
    chain = chains.chain()
    with pytest.raises(CorruptError, match=expected) as caught:
        list(chain.load())
    assert caught.value.place == str(file)
    assert chain.count == number


def test_a_commit_file_over_the_limit_is_refused(chains: Chains) -> None:
    chains.made(1)
    chains.file(0).write_bytes(b"[" * (COMMIT_BYTES_MAX + 100))
    with pytest.raises(CorruptError, match=str(COMMIT_BYTES_MAX)):
        chains.loaded()


# A gap


def test_no_gap_is_seen_where_there_is_none(chains: Chains) -> None:
    chain = chains.made(3)
    (chains.folder / "notes.txt").write_text("not a commit")
    chain.check_no_gap()
    chains.loaded().check_no_gap()


@pytest.mark.parametrize("missing", [0, 1])
def test_a_commit_that_is_missing_before_another_is_told(chains: Chains, missing: int) -> None:
    chains.made(3)
    chains.file(missing).unlink()
    chain = chains.loaded()
    assert chain.count == missing
    with pytest.raises(CorruptError, match=f"there is commit {missing + 1}") as caught:
        chain.check_no_gap()
    assert caught.value.place == str(chains.file(missing))


def test_a_commit_made_since_it_was_looked_for_is_no_gap(chains: Chains) -> None:
    reader = chains.loaded()
    chains.made(2)
    reader.check_no_gap()
    assert reader.count == 0


def test_a_folder_that_is_not_there_has_no_gap(tmp_path: Path) -> None:
    chain = CommitChain(str(tmp_path / "none"), STORE)
    chain.check_no_gap()
    assert list(chain.load()) == []


# Commits from elsewhere


def copies(chains: Chains, count: int) -> list[bytes]:
    chains.made(count)
    return [chains.file(number).read_bytes() for number in range(count)]


def test_an_adopted_commit_is_followed_and_kept_here(chains: Chains, tmp_path: Path) -> None:
    here = Chains(tmp_path / "here")
    chain = here.chain()
    for number, data in enumerate(copies(chains, 3)):
        assert chain.adopt(data, "there").number == number
        assert here.file(number).read_bytes() == data
        assert chain.count == number + 1
    assert state(here.loaded())[:3] == state(chains.loaded())[:3]


def test_adopting_what_is_here_already_is_no_conflict(chains: Chains) -> None:
    chain = chains.chain()
    for data in copies(chains, 2):
        chain.adopt(data, "there")
    assert chain.count == 2
    assert sorted(os.listdir(chains.folder)) == [commit_name(0), commit_name(1)]


def test_adopting_over_another_commit_is_a_conflict_and_overwrites_nothing(
    chains: Chains, tmp_path: Path
) -> None:
    here = Chains(tmp_path / "here")
    here.made(1)
    theirs, ours = copies(chains, 1)[0], here.file(0).read_bytes()
    # Whichever of the two sorts first.
    for kept, data in ((ours, theirs), (theirs, ours)):
        here.file(0).write_bytes(kept)
        with pytest.raises(ConflictError, match="another commit 0"):
            here.chain().adopt(data, "there")
        assert here.file(0).read_bytes() == kept


def test_adopting_what_does_not_follow_keeps_nothing(chains: Chains, tmp_path: Path) -> None:
    here = Chains(tmp_path / "here")
    chain = here.chain()
    with pytest.raises(CorruptError, match="number 0"):
        chain.adopt(copies(chains, 2)[1], "there")
    assert os.listdir(here.folder) == []
    assert state(chain) == (0, 0, "", None, None)


def test_following_a_commit_keeps_no_file(chains: Chains, tmp_path: Path) -> None:
    here = Chains(tmp_path / "here")
    chain = here.chain()
    first, second = copies(chains, 2)
    assert chain.follow(first, "there").number == 0
    assert chain.follow(second, "there").number == 1
    assert chain.root == root_of(second)
    assert os.listdir(here.folder) == []


def test_a_chain_may_begin_at_any_commit_and_goes_on_from_there(chains: Chains) -> None:
    datas = copies(chains, 7)
    for start in range(1, 6):
        chain = chains.chain()
        begun = chain.begin_at(datas[start], "there")
        assert (chain.head, begun.number, chain.root) == (begun, start, root_of(datas[start]))
        # The tree goes on as well: the commits after it say how it must look.
        assert [commit.number for commit in chain.load()] == list(range(start + 1, 7))
        assert state(chain)[:3] == state(chains.loaded())[:3]


def test_a_chain_that_begins_at_a_commit_with_a_snapshot_remembers_it(chains: Chains) -> None:
    writer = chains.made(1)
    add(writer, index=INDEX)
    chain = chains.chain()
    assert chain.begin_at(chains.file(1).read_bytes(), "there") == chain.indexed


def test_a_chain_does_not_begin_at_another_stores_commit(chains: Chains) -> None:
    data = copies(chains, 2)[1]
    chain = chains.chain(STORE[::-1])
    with pytest.raises(CorruptError, match=STORE[::-1].hex()):
        chain.begin_at(data, "there")
    assert state(chain) == (0, 0, "", None, None)
