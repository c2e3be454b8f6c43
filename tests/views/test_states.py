"""States at any offset equal a plain fold of the records before it."""

from __future__ import annotations

import random
import time

import pytest

import transit
from rigs.views.programs import Model, event, everything, folded, refused, root_of, rows_of
from transit import views

RECORDS = 120


def fill(stream: transit.Stream, count: int, chance: random.Random) -> None:
    """Append records drawn at random."""
    stream.append_many([event(chance) for _ in range(count)])


def models_of(stream: transit.Stream) -> list[Model]:
    """The plain fold after each record, the empty one first."""
    models = [Model()]
    for record in stream.read(0, len(stream)):
        models.append(models[-1].take(record.payload, record.offset))
    return models


@pytest.mark.parametrize("every", [1, 7, 50, 10_000])
def test_every_offset_in_any_order_is_the_plain_fold(
    every: int, persist: str, log: transit.Log, chance: random.Random
) -> None:
    stream = log.create("s")
    fill(stream, RECORDS, chance)
    view = views.open(log, everything, persist=persist, savepoint_records=every)
    models = models_of(stream)
    places = list(range(RECORDS + 1)) + chance.choices(range(RECORDS + 1), k=60)
    chance.shuffle(places)
    for at in places:
        state = view.of(stream, at)
        assert rows_of(state) == models[at].rows(), at
        assert state.root == root_of(models[at]), at
        assert state.position == state.applied == at


def test_a_state_has_one_root_however_it_was_come_to(
    log: transit.Log, chance: random.Random
) -> None:
    stream = log.create("s")
    fill(stream, RECORDS, chance)
    at = chance.randrange(1, RECORDS)
    roots = set()
    for every in (1, 3, 50, 10_000):
        view = views.open(log, everything, persist="ephemeral", savepoint_records=every)
        roots.add(view.of(stream, at).root)
        for _ in range(20):
            view.of(stream, chance.randrange(RECORDS))
        roots.add(view.of(stream, at).root)
    assert len(roots) == 1


def test_what_a_state_reads_is_what_its_rows_are(log: transit.Log, chance: random.Random) -> None:
    stream = log.create("s")
    fill(stream, RECORDS, chance)
    state = views.open(log, everything).of(stream)
    people, pairs = list(state.people), list(state.pairs)
    for row in people:
        assert state.people[row.id] == row
        assert row.id in state.people
        assert list(state.people.where(team=row.team)) == [r for r in people if r.team == row.team]
        if row.email is not None:
            assert list(state.people.where(email=row.email)) == [row]
    assert list(state.people.where(email=None)) == [r for r in people if r.email is None]
    assert list(state.people.range(0, 5)) == [r for r in people if 0 <= r.id < 5]
    assert list(state.people.range(5, 0)) == []
    for one in pairs:
        assert list(state.pairs.where(note=one.note, right=one.right)) == [
            r for r in pairs if (r.note, r.right) == (one.note, one.right)
        ]
        assert list(state.pairs.where(left=one.left)) == [r for r in pairs if r.left == one.left]
    assert (len(state.people), len(state.pairs)) == (len(people), len(pairs))


def test_a_reducer_that_raises_changes_nothing_and_earlier_states_stand(
    persist: str, log: transit.Log, chance: random.Random
) -> None:
    stream = log.create("s")
    fill(stream, 40, chance)
    stream.append(refused(chance))
    fill(stream, 10, chance)
    view = views.open(log, everything, persist=persist, savepoint_records=7)
    for at in (None, 51, 41, 45):
        with pytest.raises(views.ReducerError) as raised:
            view.of(stream, at)
        assert raised.value.offset == 40
        assert raised.value.__cause__ is not None
    models = models_of(log.stream("s").branch("to-there", at=39))
    for at in range(41):
        assert rows_of(view.of(stream, at)) == models[at].rows()
    aside = stream.branch("aside", at=39)
    fill(aside, 30, chance)
    assert rows_of(view.of(aside)) == folded(aside).rows()


def test_a_unique_value_that_the_reducer_does_not_catch_stops_the_view(log: transit.Log) -> None:
    stream = log.create("s")
    one = b'{"do":[{"name":"person","values":[1,"x@x"]}]}'
    two = b'{"do":[{"name":"person","values":[3]},{"name":"person","values":[2,"x@x"]}]}'
    stream.append_many([one, two])
    view = views.open(log, everything)
    with pytest.raises(views.ReducerError, match="same email") as raised:
        view.of(stream)
    assert raised.value.offset == 1
    assert [row.id for row in view.of(stream, 1).people] == [1]


def test_another_view_object_and_another_process_find_what_was_kept(
    log: transit.Log, chance: random.Random
) -> None:
    stream = log.create("s")
    fill(stream, RECORDS, chance)
    views.open(log, everything, savepoint_records=50).of(stream)
    models, path = models_of(stream), log.path
    places = chance.sample(range(RECORDS + 1), 40)
    cold = views.open(log, everything, savepoint_records=7)
    assert all(rows_of(cold.of(stream, at)) == models[at].rows() for at in places)
    log.close()
    with transit.open(path) as again:
        view = views.open(again, everything, savepoint_records=50)
        assert view.savepoints("s")[:2] == (50, 100)
        assert all(rows_of(view.of("s", at)) == models[at].rows() for at in places)
        assert view.verify("s").ok


def test_states_at_a_time_are_those_of_the_records_before_it(
    log: transit.Log, chance: random.Random
) -> None:
    stream = log.create("s")
    fill(stream, 30, chance)
    moment = stream[29].timestamp
    fill(stream, 30, chance)
    view = views.open(log, everything)
    assert 0 <= view.of(stream, time=moment).position <= 30
    assert view.of(stream, time=0).position == 0
    assert view.of(stream, time=time.time_ns()).position == 60
    with pytest.raises(transit.InvalidInputError, match="to come"):
        view.of(stream, time=2**62)


@pytest.mark.parametrize("at", [-1, 3, True, 1.0, "1", 2**70])
def test_an_offset_that_is_none_is_refused(at: object, log: transit.Log) -> None:
    stream = log.create("s")
    with pytest.raises(transit.InvalidInputError):
        views.open(log, everything).of(stream, at)  # type: ignore[arg-type]
