"""A published store with checkpoints, and what an attacker does to its remote."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import transit
from transit.format.commit import Commit, decode_commit, encode_commit, root_of
from transit.format.names import commit_name
from transit.proof.checkpoint import sign
from transit.proof.tree import CompactRange, leaf_hash

SETTINGS = transit.Settings(remote_timeout_s=60.0)
NAME = "example.com/runs"


def key_of(store_id: str, name: str = NAME) -> transit.SigningKey:
    return transit.SigningKey.generate(f"{name}/{store_id}")


def commit_files(folder: Path) -> list[Path]:
    return sorted((folder / "commits").glob("*.json"))


def commits_of(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in commit_files(folder)]


def tree_over(commits: list[bytes]) -> CompactRange:
    tree = CompactRange(0, ())
    for data in commits:
        tree = tree.append(leaf_hash(data))
    return tree


def write(path: Path, data: bytes) -> None:
    """Put bytes in the place of a file, whatever its rights are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(data)


class Published:
    """A store in folder `a`, published to folder `remote`, with a checkpoint after each round.

    Afterwards the store is closed, and everything is as an attacker finds it.
    """

    def __init__(self, base: Path, rounds: int = 6) -> None:
        self.base, self.folder, self.remote = base, base / "a", base / "remote"
        self.notes: list[transit.SignedCheckpoint] = []
        with self.open() as log:
            self.store_id = log.store_id
            self.key = key_of(log.store_id)
            for number in range(rounds):
                self.write_round(log, number)
                self.notes.append(log.checkpoint(self.key))

    @staticmethod
    def write_round(log: transit.Log, number: int) -> None:
        run = log.create(f"run-{number}")
        for n in range(5):
            run.append(b"%d of %d" % (n, number))
        if number == 1:
            run.branch("branch", at=2).append(b"only here")
            log.merge("merge", [log.stream("run-0"), run], policy="interleave")
        log.seal()

    def open(self, name: str = "a", **options: object) -> transit.Log:
        return transit.open(
            self.base / name, remote=self.remote, settings=SETTINGS, durability="os",
            **options,  # type: ignore[arg-type]
        )  # fmt: skip

    @cached_property
    def vkey(self) -> str:
        return self.key.verifying.to_text()

    @property
    def kept(self) -> bytes:
        """The newest checkpoint, as somebody kept it."""
        return self.notes[-1].note

    def copy(self, to: Path) -> Published:
        """The same store, to be changed."""
        shutil.copytree(self.base, to, symlinks=True)
        other = object.__new__(Published)
        vars(other).update(vars(self))
        other.base, other.folder, other.remote = to, to / "a", to / "remote"
        return other

    # What an attacker who may write everywhere in the remote does

    def rewrite(
        self,
        start: int,
        change: Callable[[Commit], Commit],
        *,
        stop: int | None = None,
        signed_by: transit.SigningKey | None = None,
    ) -> None:
        """Write the chain anew: commit `start` changed, all after it linked to what is there then.

        Checksums, roots and tree states are those of the new chain. stop: no commits from this one
        on. signed_by: also make the newest checkpoint, and its tiles, those of the new chain.
        """
        old = commits_of(self.remote)
        commits, previous, tree = old[:start], root_of(old[start - 1]) if start else "", None
        for number in range(start, len(old) if stop is None else stop):
            tree = tree_over(commits)
            commit = decode_commit(old[number], "the old chain")
            state = type(commit.tree)(
                size=tree.size, range=tuple(node.hex() for node in tree.hashes)
            )
            fields = {name: getattr(commit, name) for name in commit.__struct_fields__}
            fields |= {"previous": previous, "tree": state, "checksum": ""}
            commit = Commit(**fields)
            commits.append(encode_commit(change(commit) if number == start else commit))
            previous = root_of(commits[-1])
        self.put_chain(commits)
        if signed_by is not None:
            self.sign_chain(signed_by)

    def put_chain(self, commits: list[bytes]) -> None:
        for path in commit_files(self.remote):
            path.unlink()
        for number, data in enumerate(commits):
            write(self.remote / "commits" / commit_name(number), data)
        (self.remote / "HEAD").unlink(missing_ok=True)

    def sign_chain(self, key: transit.SigningKey) -> bytes:
        """Make the remote's only checkpoint one of the chain that is there now, with its tiles."""
        commits = commits_of(self.remote)
        for name in ("checkpoints", "tile"):
            shutil.rmtree(self.remote / name, ignore_errors=True)
        tree = tree_over(commits)
        head = transit.Checkpoint(key.verifying.name, tree.size, tree.root())
        note = sign(head, [key]).encode()
        self.put_tiles(commits)
        self.put_note(head.size, note)
        write(self.remote / "checkpoint", note)
        return note

    def put_note(self, size: int, note: bytes) -> None:
        write(self.remote / "checkpoints" / f"{size:020}", note)

    def put_tiles(self, commits: list[bytes]) -> None:
        # Fewer commits than a tile has hashes: one tile, and one bundle.
        assert len(commits) < 256
        part = f"000.p/{len(commits)}"
        write(self.remote / f"tile/0/{part}", b"".join(leaf_hash(each) for each in commits))
        bundle = b"".join(len(each).to_bytes(2, "big") + each for each in commits)
        write(self.remote / f"tile/entries/{part}", bundle)

    def cut(self, count: int) -> None:
        """Leave the first `count` commits, as if the newest had never been."""
        self.put_chain(commits_of(self.remote)[:count])

    def roll_back(self, round_number: int) -> None:
        """Everything as it was after a round, its genuine checkpoint with it."""
        size = self.notes[round_number].checkpoint.size
        self.cut(size)
        for path in (self.remote / "checkpoints").iterdir():
            if int(path.name) > size:
                path.unlink()
        write(self.remote / "checkpoint", self.notes[round_number].note)
        for path in (self.remote / "tile").rglob("*"):
            if path.is_file() and int(path.name) > size:
                path.unlink()

    # What those do who look at it

    def audit(self, level: str = "bodies", **options: object) -> transit.Report:
        return transit.audit(self.remote, level, settings=SETTINGS, **options)  # type: ignore[arg-type]

    def read(self, **options: object) -> transit.Log:
        """A reader that has no folder."""
        address = f"file://{self.remote}"
        return transit.open(address, mode="read", settings=SETTINGS, **options)  # type: ignore[arg-type]


def findings(report: transit.Report) -> str:
    """All that a report says is wrong, as one text."""
    return json.dumps([[each.place, each.expected, each.found] for each in report.findings])
