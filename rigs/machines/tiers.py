"""Rules about the remote: publish, append as "tiered", evict, restore, lose the disk, two writers.

A second writer is another folder on the same remote. It begins as a copy of ours, publishes, and
from then on what we publish is refused (`FencedError`), until we open again with nothing of our own
and adopt its history, rebase, or lose our disk.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import precondition

import transit
from rigs.machines.compare import compare_all, outcome
from rigs.machines.lives import Lives
from rigs.machines.machine import World, step, still
from rigs.machines.rebase import rebased
from rigs.machines.values import SMALL, Row, names, rows, spots
from transit.store import ObjectStore
from transit.testing.model import ModelLog

ROOTS_KEPT = 4
"""Published states that a restore may ask for."""


class Root(NamedTuple):
    """A state that was published: the root and number of its last commit, and its contents."""

    root: str
    commits: int
    model: ModelLog


class Rival(NamedTuple):
    """Another writer went on in the remote: what it shares with us, and what is there now."""

    common: ModelLog
    theirs: ModelLog


class Tiers(Lives):
    """A store with a remote, and at times another writer on the same remote."""

    ATTACHED: ClassVar[bool] = True

    def __init__(self) -> None:
        self.rival: Rival | None = None
        self.published = ModelLog()
        self.roots: list[Root] = []
        self.whole = True
        super().__init__()

    @property
    def store(self) -> ObjectStore:
        """The remote."""
        assert self.remote is not None
        return self.remote

    # Where we stand

    @property
    def has_own(self) -> bool:
        """Whether the folder has anything that the other writer has not."""
        return self.rival is not None and size_of(self.model) != size_of(self.rival.common)

    def told(self) -> bool:
        """Whether the handle whose turn it is knows that it was fenced off."""
        return self.log._handle.tiering.publisher.fenced is not None

    def was_published(self) -> None:
        """All that the model has is in the remote now."""
        status = self.log.status()
        self.published = self.model.copy()
        self.keep_root(status.head, status.commits)

    def keep_root(self, root: str, commits: int) -> None:
        """Remember a published state for restores of older ones."""
        if root and (not self.roots or self.roots[-1].root != root):
            self.roots = [*self.roots, Root(root, commits, self.published)][-ROOTS_KEPT:]

    def in_the_remote(self) -> ModelLog:
        """What a reader that has only the remote sees."""
        return self.published if self.rival is None else self.rival.theirs

    def start(self, mode: str) -> None:
        """Open; a store with nothing of its own takes up what another writer published."""
        super().start(mode)
        if self.rival is not None and mode == "exclusive" and not self.has_own:
            self.become(self.rival.theirs)

    def become(self, model: ModelLog) -> None:
        """The store holds what the remote holds: another writer's history is ours now."""
        # Of the same name there may be another stream now.
        same = {
            name
            for name, stream in model.streams.items()
            if name in self.model.streams and stream.parents == self.model.streams[name].parents
        }
        self.published = model
        self.model = model.copy()
        self.rival = None
        self.whole = False
        self.merges = {name: call for name, call in self.merges.items() if name in same}

    def copied(self) -> ModelLog:
        """A copy that is opened adopts as we would."""
        if self.rival is not None and not self.has_own:
            return self.rival.theirs
        return self.model

    def die(self) -> None:
        """With another writer about, what is lost would decide whose history it is."""
        if self.rival is not None:
            self.frame()
        super().die()

    # Publishing

    @step()
    def publish(self) -> None:
        """All of it is in the remote, or we are told whose history is."""
        if self.rival is not None and (self.has_own or self.told()):
            assert outcome(self.log.publish) is transit.FencedError
            assert self.told()
            assert self.log.status().remote_error
            return
        done = self.log.publish()
        status = self.log.status()
        assert (done.head, status.remote_error) == (status.head, "")
        assert status.published == status.commits
        if self.rival is None:
            self.was_published()

    def tiered(self, write: Callable[[], object], foresee: Callable[[], object]) -> None:
        """A write that waits for the remote; fenced off, it is in the local log or not even there.

        A writer that knows of it beforehand writes nothing. One that finds out in this call has
        the records in its folder.
        """
        told = self.told()
        found = outcome(write)
        if self.rival is None:
            assert not isinstance(found, type), found
            foresee()
            self.was_published()
            return
        assert found is transit.FencedError
        if not told:
            foresee()
        assert self.told()

    @step(spot=spots, row=rows, verb=st.integers(0, 3))
    def append_tiered(self, spot: int, row: Row, verb: int) -> None:
        """An append, alone or with others or later, that survives the machine."""
        name = self.pick(spot)
        payload, timestamp, header = row
        stream = self.stream(name)

        def batch() -> None:
            with self.log.batch(durability="tiered") as staged:
                staged.append(stream, payload, headers=header, timestamp=timestamp)

        def submit() -> object:
            done = stream.submit(payload, headers=header, timestamp=timestamp, durability="tiered")
            return done.result(timeout=60)

        ways: tuple[Callable[[], object], ...] = (
            lambda: stream.append(
                payload, headers=header, timestamp=timestamp, durability="tiered"
            ),
            lambda: stream.append_many(
                [payload],
                headers=header,
                timestamps=[timestamp],
                durability="tiered",
            ),
            batch,
            submit,
        )
        self.tiered(ways[verb], lambda: self.model.append(name, payload, timestamp, header))

    @step(spot=spots, name=names, verb=st.integers(0, 3))
    def make_tiered(self, spot: int, name: str, verb: int) -> None:
        """A stream, a branch, a merge or a cursor that survives the machine."""
        parent, name = self.picked(spot), self.fresh(name)
        stream = self.stream(parent.name)
        other = next(n for n in self.model.streams if n != parent.name)
        both = [parent.name, other]
        end = len(parent.records)
        model = self.model
        ways: tuple[tuple[Callable[[], object], Callable[[], object]], ...] = (
            (
                lambda: self.log.create(name, durability="tiered"),
                lambda: model.create(name),
            ),
            (
                lambda: stream.branch(name, durability="tiered"),
                lambda: model.branch(parent.name, name),
            ),
            (
                lambda: self.log.merge(
                    name,
                    [self.log.stream(each) for each in both],
                    policy="append",
                    durability="tiered",
                ),
                lambda: model.merge(name, both, "append"),
            ),
            (
                lambda: stream.cursor("tiered").advance(end, durability="tiered"),
                lambda: model.advance(parent.name, "tiered", end),
            ),
        )
        if verb == 3 and end == model.cursor(parent.name, "tiered").position:
            # Staying writes nothing, so that nothing need be published.
            return
        self.tiered(*ways[verb])

    @step()
    def sync_tiered(self) -> None:
        """Everything written so far survives the machine."""
        found = outcome(lambda: self.log.sync("tiered"))
        assert found is (transit.FencedError if self.has_own else None)
        if self.rival is None:
            self.was_published()

    @precondition(lambda self: self.rival is None)
    @step()
    def release(self) -> None:
        """Publish and close: the next writer goes on."""
        log = self.log
        self.published = self.model.copy()
        for other in self.logs:
            if other is not log:
                other.close()
        log.release()
        assert log.closed
        self.stop()
        self.reopen("exclusive")
        status = self.log.status()
        self.keep_root(status.head, status.commits)

    # Local copies

    @step(bytes_max=st.sampled_from([0, 0, 2000, 10**9]), aged=st.booleans())
    def evict(self, bytes_max: int, aged: bool) -> None:
        """Published segments go, and nothing changes for a reader."""
        done = self.log.evict(bytes_max=bytes_max, older_than=0.0 if aged else None)
        self.whole = self.whole and not done.segments
        self.compare()

    @step()
    def read_without_the_remote(self) -> None:
        """What is only there is out of reach, never shorter."""
        self.frame()
        with transit.open(self.folder, mode="read", settings=SMALL) as log:
            found = outcome(lambda: compare_all(log, self.model))
            assert found is None or (found is transit.RetentionGapError and not self.whole)

    # The remote alone

    @step(how=st.integers(0, 3), spot=spots)
    def restore_and_compare(self, how: int, spot: int) -> None:
        """The remote alone gives back what was published, whole, lazily, in part, or as it was."""
        target = self.root / "restored"
        model = self.in_the_remote()
        options: dict[str, object] = {}
        if not model.streams:
            return
        if how == 1:
            options = {"lazy": True}
        elif how == 2:
            options = {"streams": [list(model.streams)[spot % len(model.streams)]]}
        elif how == 3 and self.roots:
            root = self.roots[spot % len(self.roots)]
            model, options = root.model, {"at": (root.root, root.commits - 1)[spot % 2]}
        try:
            transit.restore(self.store, target, settings=SMALL, **options)  # type: ignore[arg-type]
            remote = self.store if how in (1, 2) else None
            with transit.open(target, mode="read", settings=SMALL, remote=remote) as log:
                compare_all(log, model)
        finally:
            shutil.rmtree(target, ignore_errors=True)

    @step()
    def read_the_bucket(self) -> None:
        """A reader that has the address alone sees what was published."""
        if not self.in_the_remote().streams:
            return
        with transit.open(self.store.url, mode="read", settings=SMALL) as log:
            compare_all(log, self.in_the_remote())
            assert log.refresh() == 0

    @step()
    def watch_the_bucket(self) -> None:
        """A reader of the remote sees more when it asks."""
        if not self.published.streams or self.rival is not None:
            return
        before = self.published
        with transit.open(self.store.url, mode="read", settings=SMALL) as log:
            compare_all(log, before)
            self.log.publish()
            self.was_published()
            compare_all(log, before)
            assert (log.refresh() > 0) == (size_of(before) != size_of(self.published))
            compare_all(log, self.published)

    @step(level=st.sampled_from(["roots", "bodies", "sample:0.5"]))
    def audit(self, level: str) -> None:
        """Nothing is wrong with the remote, and it holds the roots that were written down."""
        trusted = self.roots[-1].root if self.roots else None
        report = transit.audit(self.store, level=level, trusted_root=trusted, settings=SMALL)
        assert report.ok, report.findings

    @step(how=st.integers(0, 3))
    def lose_the_disk(self, how: int) -> None:
        """The machine is gone: what was published is there, in a new folder, and goes on."""
        model = self.in_the_remote()
        if not model.streams:
            return
        self.stop()
        shutil.rmtree(self.folder)
        if how == 1:
            transit.restore(self.store, self.folder, settings=SMALL)
        elif how == 2:
            transit.restore(self.store, self.folder, lazy=True, settings=SMALL)
        elif how == 3 and self.roots:
            transit.restore(self.store, self.folder, at=self.roots[0].root, settings=SMALL)
        self.become(model)
        self.whole = how == 1
        self.reopen("exclusive")

    # Two writers

    @precondition(lambda self: self.rival is None)
    @step(spot=spots, name=names, added=st.lists(rows, min_size=1, max_size=3))
    def rival_begins(self, spot: int, name: str, added: list[Row]) -> None:
        """A copy of our folder is opened elsewhere, written to, and published."""
        self.part(spot, name, added)

    def part(self, spot: int, name: str, added: list[Row]) -> None:
        """Have a rival from here on."""
        # Sealed first, so that the two part exactly here.
        self.log.seal()
        self.waiting.clear()
        copy = self.root / "rival"
        with still(self.logs):
            shutil.copytree(self.folder, copy)
        common = self.model.copy()
        theirs = self.write_elsewhere(copy, common.copy(), spot, name, added)
        self.rival = Rival(common, theirs)

    @step(spot=spots, name=names, added=st.lists(rows, min_size=1, max_size=3))
    def rival_goes_on(self, spot: int, name: str, added: list[Row]) -> None:
        """Another writer continues the remote from an empty folder elsewhere."""
        if self.rival is None:
            self.part(spot, name, added)
        assert self.rival is not None
        theirs = self.rival.theirs.copy()
        self.write_elsewhere(self.root / "rival", theirs, spot, name, added)
        self.rival = Rival(self.rival.common, theirs)

    def write_elsewhere(
        self, folder: Path, model: ModelLog, spot: int, name: str, added: list[Row]
    ) -> ModelLog:
        """Write and publish in another folder, which is gone afterwards; what it held."""
        target = list(model.streams)[spot % len(model.streams)]
        with transit.open(folder, durability="os", settings=SMALL, remote=self.remote) as log:
            for payload, timestamp, header in added:
                log.stream(target).append(payload, headers=header, timestamp=timestamp)
                model.append(target, payload, timestamp, header)
            if name not in model.streams:
                log.create(name).append(b"theirs", timestamp=1)
                model.create(name)
                model.append(name, b"theirs", 1)
            log.publish()
        shutil.rmtree(folder)
        return model

    @step(spot=spots, other=spots, name=names, row=rows)
    def write_while_fenced(self, spot: int, other: int, name: str, row: Row) -> None:
        """Fenced off or not, everything goes on in the folder: records, branches, merges."""
        parent, second = self.pick(spot), self.pick(other)
        child, merged = self.fresh(f"{name}/branch"), self.fresh(f"{name}/merge")
        payload, timestamp, header = row
        self.log.stream(parent).append(
            payload, timestamp=timestamp, headers=header, durability="local"
        )
        self.model.append(parent, *row)
        self.log.stream(parent).branch(child)
        self.model.branch(parent, child)
        self.log.stream(child).append(b"of the branch", timestamp=timestamp)
        self.model.append(child, b"of the branch", timestamp)
        both = [child, second]
        self.log.merge(merged, [self.log.stream(each) for each in both], policy="interleave")
        self.model.merge(merged, both, "interleave")

    @step()
    def rebase(self) -> None:
        """Adopt the other writer's history, and bring our own along as branches."""
        if self.rival is None:
            assert outcome(self.log.rebase_onto_remote) is transit.InvalidInputError
            return
        if self.mode != "exclusive":
            assert outcome(self.log.rebase_onto_remote) is transit.InvalidInputError
            self.close_and_reopen_exclusive()
            if self.rival is None:
                return
        common, theirs = self.rival
        done = self.log.rebase_onto_remote()
        tag = Path(done.kept).name
        model, moved = rebased(self.model, theirs, common, tag)
        assert dict(done.streams) == moved
        self.stop()
        self.published, self.rival = theirs, None
        self.model, self.merges, self.whole = model, {}, False
        World.start(self, "exclusive")
        self.compare()
        report = self.log.verify()
        assert report.ok, report.findings

    def close_and_reopen_exclusive(self) -> None:
        """What a rebase asks for in mode "shared"."""
        self.stop()
        self.reopen("exclusive")

    def again(self) -> None:
        """At the end the remote is audited too."""
        super().again()
        report = transit.audit(self.store, settings=SMALL)
        assert report.ok, report.findings


def size_of(model: ModelLog) -> tuple[int, int, int]:
    """What grows with every write that changes anything."""
    own = (len(stream.records) - stream.start for stream in model.streams.values())
    return len(model.streams), sum(own), sum(stands.position for stands in model.cursors.values())
