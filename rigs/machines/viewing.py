"""Rules about views: folded at any offset of any stream, saved, opened anew, lost, in every mode.

What a view says is compared with plain loops over the model's records (`rigs.machines.folds`).
Views stay open from one rule to the next, so that what they hold in memory is tried too; savepoints
are three records apart.
"""

from __future__ import annotations

import shutil
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition

import transit
from rigs.machines.compare import outcome
from rigs.machines.fates import Fates
from rigs.machines.folds import FOLDS, Fold, by_lookup, rows_of
from rigs.machines.machine import World, step
from rigs.machines.tiers import Tiers
from rigs.machines.values import SMALL, payloads, spots
from transit import views
from transit.testing.model import ModelStream

PERSIST: Final = ("logged", "logged", "stateful", "ephemeral")
EVERY: Final = 3
folds = st.sampled_from(FOLDS)
persists = st.sampled_from(PERSIST)
policies = st.sampled_from(["append", "interleave", "base", "select", "fast-forward"])
cuts = st.one_of(st.none(), spots)


class Viewing(World):
    """Views of the store's streams."""

    def __init__(self) -> None:
        # By handle, program and the way they keep states.
        self.views: dict[tuple[int, str, str], views.View] = {}
        # What subscribers made of changes: rows by table and key.
        self.heard: dict[tuple[str, str, str], dict[tuple[str, object], object]] = {}
        super().__init__()

    def stop(self) -> None:
        """Close every handle; the views are gone with them."""
        super().stop()
        self.views.clear()

    def view(self, fold: Fold, persist: str) -> views.View:
        """A view in the handle whose turn it is."""
        key = (self.turn % len(self.logs), fold.reducer.spec.id, persist)
        if key not in self.views:
            self.views[key] = views.open(
                self.log, fold.reducer, persist=persist, savepoint_records=EVERY
            )
        return self.views[key]

    def noted(self) -> None:
        """A rule that may have written savepoints ends."""

    @step(fold=folds, persist=persists, spot=spots, cut=cuts)
    def look(self, fold: Fold, persist: str, spot: int, cut: int | None) -> None:
        """A state at any offset, or at the head."""
        model = self.picked(spot)
        at = None if cut is None else cut % (len(model.records) + 1)
        check(self.view(fold, persist), fold, self.stream(model.name), model, at)
        self.noted()

    @step(fold=folds, persist=persists, spot=spots, cuts=st.lists(spots, max_size=4))
    def look_back(self, fold: Fold, persist: str, spot: int, cuts: list[int]) -> None:
        """States at several offsets, in any order, one after another, and what lies between."""
        model = self.picked(spot)
        view, stream = self.view(fold, persist), self.stream(model.name)
        stop = fold.model(model.records).stop
        found = [view.of(stream, cut % (stop + 1)) for cut in cuts]
        for state in found:
            expected = fold.model(model.records[: state.position])
            assert rows_of(state) == expected.rows
        for before, after in pairwise(found):
            rows = dict(_keyed(before))
            for change in before.diff(after):
                assert rows.get((change.table, change.key)) == change.before
                rows[change.table, change.key] = change.after
            assert _there(rows) == dict(_keyed(after))
        self.noted()

    @step(fold=folds, persist=persists, spot=spots)
    def save(self, fold: Fold, persist: str, spot: int) -> None:
        """A savepoint at the head, where the view comes so far."""
        model = self.picked(spot)
        view, stream = self.view(fold, persist), self.stream(model.name)
        expected = fold.model(model.records)
        saved = outcome(lambda: view.save(stream))
        if expected.stop < len(model.records):
            assert saved is views.ReducerError
        else:
            assert isinstance(saved, views.State), saved
            assert rows_of(saved) == expected.rows
            assert view.savepoints(stream)[-1:] == ((expected.stop,) if expected.stop else ())
        self.noted()

    @step(fold=folds, persist=persists, spot=spots)
    def open_anew(self, fold: Fold, persist: str, spot: int) -> None:
        """A view that knows nothing yet goes on from what is kept."""
        self.views.pop((self.turn % len(self.logs), fold.reducer.spec.id, persist), None)
        model = self.picked(spot)
        check(self.view(fold, persist), fold, self.stream(model.name), model, None)
        self.noted()

    @step(fold=folds, spot=spots)
    def lose_packs(self, fold: Fold, spot: int) -> None:
        """Files with nodes go, while views that read them are open."""
        view = self.view(fold, "stateful")
        view.of(self.pick_sound(fold, spot))
        for file in self.folder.rglob("*.pack"):
            file.unlink()
        model = self.picked(spot)
        check(self.view(fold, "stateful"), fold, self.stream(model.name), model, None)
        self.noted()

    @step(fold=folds, persist=persists, spot=spots, cut=cuts)
    def look_at_all(self, fold: Fold, persist: str, spot: int, cut: int | None) -> None:
        """Every stream there is, hidden ones too, in one view."""
        view = self.view(fold, persist)
        hidden = dict(zip(self.model.hidden, self.log.hidden(), strict=True))
        for key, model in self.model.known.items():
            at = None if cut is None else cut % (len(model.records) + 1)
            check(view, fold, hidden.get(key) or self.log.stream(key), model, at)
        self.noted()

    @step(fold=folds, spot=spots)
    def look_as_a_reader(self, fold: Fold, spot: int) -> None:
        """A view in mode "read" says the same and writes nothing."""
        self.frame()
        model = self.picked(spot)
        with self.open("read") as log:
            before = log.status().records
            view = views.open(log, fold.reducer, savepoint_records=EVERY)
            check(view, fold, log.stream(model.name), model, None)
            assert log.status().records == before

    @step(fold=folds, spot=spots, sample=st.sampled_from([0.3, 1.0]))
    def fold_again(self, fold: Fold, spot: int, sample: float) -> None:
        """Savepoints written anew by code that reads otherwise come to the same roots."""
        model = self.picked(spot)
        view, stream = self.view(fold, "logged"), self.stream(model.name)
        points = view.points(stream)
        fresh = views.open(self.log, fold.reducer, persist="ephemeral", savepoint_records=1_000)
        for point in points[:: 1 if sample == 1.0 else 3]:
            again = fresh.of(stream, point.next)
            assert (again.root, again.applied) == (point.root, point.applied)

    @precondition(lambda self: not self.ATTACHED)
    @step(fold=folds, spot=spots, name=st.sampled_from(["a", "b"]), most=st.integers(1, 9))
    def subscribe(self, fold: Fold, spot: int, name: str, most: int) -> None:
        """A subscriber makes rows of changes, and they are the view's."""
        model = self.picked(spot)
        view, stream = self.view(fold, "logged"), self.stream(model.name)
        rows = self.heard.setdefault((view.id, stream.uid, name), {})
        stop = fold.model(model.records).stop
        changes, refused = view.changes(stream, name), -1
        while True:
            try:
                change = next(changes)
            except StopIteration:
                break
            except views.ReducerError as error:
                refused = error.offset
                break
            place = (change.table, change.key)
            assert rows.get(place) == change.before
            rows[place] = change.after
            change.done()
            most -= 1
            if not most:
                return
        assert refused == (stop if stop < len(model.records) else -1)
        assert _there(rows) == dict(_keyed(view.of(stream, stop)))

    def pick_sound(self, fold: Fold, spot: int) -> str:
        """A stream that the view comes to the end of, or one without records."""
        model = self.picked(spot)
        if fold.model(model.records).stop == len(model.records):
            return model.name
        name = self.fresh("sound")
        self.model.create(name)
        self.log.create(name)
        return name


class Forking(Viewing, Fates):
    """Views of streams that branch, merge, are finished and hidden, and names bound again."""

    @step(spot=spots, cut=cuts, fold=folds, payload=payloads)
    def fork(self, spot: int, cut: int | None, fold: Fold, payload: bytes) -> None:
        """A branch anywhere is seen in a view that was open before, and goes its own way."""
        parent = self.picked(spot)
        view = self.view(fold, "logged")
        at = cut % len(parent.records) if parent.records and cut is not None else None
        name = self.fresh("fork")
        self.model.branch(parent.name, name, at)
        made = self.stream(parent.name).branch(name, at=at)
        check(view, fold, made, self.model.stream(name), None)
        for each in (parent.name, name):
            given = self.stream(each).append(payload).timestamp
            self.model.append(each, payload, given)
        for each in (parent.name, name):
            check(view, fold, self.stream(each), self.model.stream(each), None)

    @step(spots=st.lists(spots, min_size=2, max_size=3), policy=policies, fold=folds, cut=cuts)
    def join(self, spots: list[int], policy: str, fold: Fold, cut: int | None) -> None:
        """A merge is seen at every place of it."""
        parents = list(dict.fromkeys(self.pick(spot) for spot in spots))
        if len(parents) < 2:
            return
        name, view = self.fresh("join"), self.view(fold, "logged")
        params = {"selected": parents[0]} if policy == "select" else {}
        made = self.same(
            lambda: self.model.merge(name, parents, policy, params=params),
            lambda: self.log.merge(
                name, [self.stream(each) for each in parents], policy=policy, params=params
            ),
        )
        if isinstance(made, transit.Stream):
            model = self.model.stream(name)
            at = None if cut is None else cut % (len(model.records) + 1)
            check(view, fold, made, model, at)
            check(view, fold, made, model, None)


class Publishing(Viewing, Tiers):
    """Views of a store with a remote, and at times another writer on it.

    Savepoints are records that the model does not count. So that both count what is there alike, a
    rule that wrote some appends a record that both have.
    """

    def noted(self) -> None:
        """Tell the model that something was written."""
        name = next(iter(self.model.streams))
        given = self.stream(name).append(b"beside").timestamp
        self.model.append(name, b"beside", given)

    @precondition(lambda self: self.rival is None)
    @step(fold=folds, spot=spots)
    def view_the_bucket(self, fold: Fold, spot: int) -> None:
        """A reader that has the address alone goes on from the savepoints that are there."""
        self.view(fold, "logged").of(self.pick_sound(fold, spot))
        self.noted()
        self.log.publish()
        self.was_published()
        with transit.open(self.store.url, mode="read", settings=SMALL) as log:
            view = views.open(log, fold.reducer, savepoint_records=EVERY)
            model = self.picked(spot)
            stream = log.stream(model.name)
            check(view, fold, stream, model, None)
            assert view.savepoints(stream) == self.view(fold, "logged").savepoints(model.name)

    @precondition(lambda self: self.rival is None)
    @step(fold=folds, spot=spots, lazy=st.booleans(), part=st.booleans())
    def view_a_restored_store(self, fold: Fold, spot: int, lazy: bool, part: bool) -> None:
        """A store that was restored, or a part of one, goes on from what came along."""
        self.log.publish()
        self.was_published()
        model = self.picked(spot)
        target = self.root / "viewed"
        options: dict[str, object] = {"lazy": True} if lazy else {}
        if part:
            options = {"streams": [model.name]}
        try:
            transit.restore(self.store, target, settings=SMALL, **options)  # type: ignore[arg-type]
            remote = self.store if lazy or part else None
            with transit.open(target, mode="read", settings=SMALL, remote=remote) as log:
                view = views.open(log, fold.reducer, savepoint_records=EVERY)
                check(view, fold, log.stream(model.name), model, None)
        finally:
            shutil.rmtree(target, ignore_errors=True)

    @step(fold=folds, persist=persists, spot=spots)
    def evict_and_look(self, fold: Fold, persist: str, spot: int) -> None:
        """What was published goes, packs too, and is fetched again."""
        done = self.log.evict(bytes_max=0)
        self.whole = self.whole and not done.segments
        self.open_view(fold, persist, spot)

    def open_view(self, fold: Fold, persist: str, spot: int) -> None:
        """A view that knows nothing yet."""
        self.views.pop((self.turn % len(self.logs), fold.reducer.spec.id, persist), None)
        model = self.picked(spot)
        check(self.view(fold, persist), fold, self.stream(model.name), model, None)
        self.noted()


def check(
    view: views.View, fold: Fold, stream: transit.Stream, model: ModelStream, at: int | None
) -> None:
    """What a view says of a stream at an offset, and what it says where it cannot be there."""
    stop = len(model.records) if at is None else at
    expected = fold.model(model.records[:stop])
    if expected.stop < stop:
        with pytest.raises(views.ReducerError) as refused:
            view.of(stream, at)
        assert refused.value.offset == expected.stop
    state = view.of(stream, expected.stop if expected.stop < stop else at)
    assert state.position == expected.stop
    assert rows_of(state) == expected.rows
    assert state.applied == expected.applied
    for place, wanted, found in by_lookup(state, expected.rows):
        assert found == wanted, place
    for name, rows in expected.rows.items():
        assert len(state.tables[name]) == len(rows)
    skipped = view.skipped(stream, state.position)
    assert [offset for offset, _ in skipped] == expected.skipped


def _keyed(state: views.State) -> list[tuple[tuple[str, object], object]]:
    found: list[tuple[tuple[str, object], object]] = []
    for name, table in state.tables.items():
        fields = table._declared.key
        for row in table:
            parts = tuple(getattr(row, field) for field in fields)
            found.append(((name, parts[0] if len(parts) == 1 else parts), row))
    return found


def _there(rows: dict[tuple[str, object], object]) -> dict[tuple[str, object], object]:
    """Without those that went."""
    return {key: row for key, row in rows.items() if row is not None}
