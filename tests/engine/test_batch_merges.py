"""Merges in a batch and in layers: what they are made from, beside what, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest

import transit
from transit import Position, Record
from transit.engine.plans import Parents
from transit.engine.staging import TRIES, Staging, WantedMerge


@pytest.fixture
def log(log: transit.Log) -> transit.Log:
    """Streams "a" (times 1, 3) and "b" (2), with nothing in common."""
    log.create("a").append_many([b"a0", b"a1"], timestamps=[1, 3])
    log.create("b").append_many([b"b0"], timestamps=[2])
    return log


def payloads(stream: transit.Stream) -> list[bytes]:
    return [record.payload for record in stream]


def write(log: transit.Log, *steps: Callable[[transit.WriteBatch], object]) -> None:
    with log.batch() as batch:
        for step in steps:
            step(batch)


def whole(log: transit.Log, path: Path) -> None:
    """The merge is what its policy makes of its parents, to a verifier too, sealed or not."""
    assert log.verify().ok
    log.seal()
    report = log.verify()
    assert report.ok, report.findings


EXPECTED: dict[str, list[bytes]] = {
    "append": [b"a0", b"a1", b"a2", b"b0", b"b1"],
    "interleave": [b"a0", b"b0", b"a1", b"b1", b"a2"],
    "base": [],
    "select": [b"b0", b"b1"],
}


@pytest.mark.parametrize("policy", EXPECTED)
def test_a_merge_in_a_batch_has_what_the_batch_appends_to_its_parents_before_it(
    log: transit.Log, path: Path, policy: str
) -> None:
    params = {"selected": "b"} if policy == "select" else None
    records = log.status().records
    with log.batch() as batch:
        batch.append("a", b"a2", timestamp=9)
        batch.append("b", b"b1", timestamp=4)
        merged = batch.merge("m", ["a", log.stream("b")], policy=policy, params=params)
        batch.append("a", b"after")
        batch.append(merged, b"own")
        batch.finish(merged)
        batch.hide("b")
    assert log.status().records == records + 4 + 1 + 2  # One frame: records, lineage, lives.
    assert payloads(merged.stream) == [*EXPECTED[policy], b"own"]
    assert merged.stream.parents == (Position("a", 2), Position("b", 1))
    assert merged.stream.finished
    assert "b" not in log
    whole(log, path)


def test_a_batch_merges_what_it_makes(log: transit.Log, path: Path) -> None:
    with log.batch() as batch:
        left = batch.branch("a", "a/left", at=0)
        right = batch.branch("a", "a/right", at=0)
        batch.append(left, b"l", timestamp=7)
        batch.append_many(right, [b"r0", b"r1"])
        first = batch.merge("m", [left, "a/right"], policy="interleave", base=Position("a", 0))
        second = batch.merge(
            "mm",
            [first, Position("a/left", 0), "b"],
            policy="append",
            metadata={"k": 1},
        )
        forked = batch.branch(second, "mm/fork", at=1)
    assert payloads(first.stream) == [b"a0", b"l", b"r0", b"r1"]
    assert payloads(second.stream) == [b"a0", b"l", b"r0", b"r1", b"b0"]
    assert payloads(forked.stream) == [b"a0", b"l"]
    assert first.stream.merge_plan is not None
    assert first.stream.merge_plan.base == ("a", 0)
    assert second.stream.metadata == {"k": 1}
    whole(log, path)
    with transit.open(path, mode="read") as reader:
        assert payloads(reader.stream("mm")) == payloads(second.stream)


def test_a_fast_forward_in_a_batch_has_the_records_staged_for_the_branch(
    log: transit.Log, path: Path
) -> None:
    with log.batch() as batch:
        child = batch.branch("a", "a/child")
        batch.append(child, b"more")
        merged = batch.merge("m", ["a", child], policy="fast-forward")
    assert payloads(merged.stream) == [b"a0", b"a1", b"more"]
    with pytest.raises(transit.NotFastForwardError):
        write(
            log,
            lambda batch: batch.append("a", b"a2"),
            lambda batch: batch.merge("n", ["a", "a/child"], policy="fast-forward"),
        )
    assert len(log.stream("a")) == 2
    assert "n" not in log
    whole(log, path)


def test_a_merge_in_a_layer_is_there_and_not_among_the_users(log: transit.Log, path: Path) -> None:
    room = log.layer("room")
    merged = room.merge("m", ["a", "b"], policy="interleave", merge_id="1")
    assert room.merge("m", ["a"], policy="squash", merge_id="1") == merged == room.stream("m")
    with log.batch() as batch:
        staged = batch.merge("n", ["$room/m", "a"], policy="append", layer="room")
    assert staged.name == "$room/n"
    assert payloads(merged) == [b"a0", b"b0", b"a1"]
    assert payloads(staged.stream) == [b"a0", b"a1", b"b0"]
    assert [stream.name for stream in log.streams()] == ["a", "b"]
    for name in ("cursors", "names", "Ä", ""):
        with pytest.raises(transit.InvalidInputError), log.batch() as batch:
            batch.merge("x", ["a", "b"], policy="append", layer=name)
    whole(log, path)


# Made before


def test_a_merge_that_was_made_before_is_found_and_the_rest_of_the_batch_is_written(
    log: transit.Log, path: Path
) -> None:
    made = log.merge("m", ["a", "b"], policy="append", merge_id="id")
    log.hide("b")
    with log.batch() as batch:
        again = batch.merge("m", ["nobody"], policy="squash", merge_id="id", expect=[99])
        batch.append(again, b"more")
    assert again.stream == made
    assert payloads(made) == [b"a0", b"a1", b"b0", b"more"]
    records = log.status().records
    with log.batch() as batch:
        batch.merge("m", [], policy="append", merge_id="id")
    assert batch.receipts == []
    assert log.status().records == records
    for name, merge_id in (("other", "id"), ("m", "other")):
        asked = partial(
            transit.WriteBatch.merge,
            name=name,
            parents=["a", made],
            policy="append",
            merge_id=merge_id,
        )
        with pytest.raises(transit.AlreadyExistsError):
            write(log, lambda batch: batch.append("a", b"lost"), asked)
    assert len(log.stream("a")) == 2
    log.hide(made)
    with pytest.raises(transit.AlreadyExistsError, match="hidden"), log.batch() as batch:
        batch.merge("m", ["a"], policy="append", merge_id="id")
    whole(log, path)


@pytest.mark.parametrize("merge_id", ["id", None])
def test_a_merge_asked_for_twice_in_a_batch_is_made_once(
    log: transit.Log, path: Path, merge_id: str | None
) -> None:
    with log.batch() as batch:
        first = batch.merge("m", ["a", "b"], policy="append", merge_id=merge_id)
        second = batch.merge("m", ["a", "b"], policy="append", merge_id=merge_id)
    assert first.stream == second.stream == log.stream("m")
    whole(log, path)


# Conditions

BATCHES: dict[str, Callable[[transit.Log, transit.WriteBatch, int], object]] = {
    "branch": lambda log, batch, n: batch.branch("a", "new", expect=n),
    "branch, at": lambda log, batch, n: batch.branch("a", "new", 0, expect=n),
    "merge": lambda log, batch, n: batch.merge(
        "new", ["b", "a"], policy="append", expect=[None, n]
    ),
    "merge, a position": lambda log, batch, n: batch.merge(
        "new", [Position("a", 0), "b"], policy="interleave", expect=(n, 1)
    ),
    "show": lambda log, batch, n: batch.show(log.stream("a"), expect=n),
    "hide": lambda log, batch, n: batch.hide("a", expect=n),
    "finish": lambda log, batch, n: batch.finish("a", expect=n),
}


@pytest.mark.parametrize("call", BATCHES)
def test_a_condition_in_a_batch_is_about_the_stream_with_what_is_staged_for_it(
    log: transit.Log, call: str
) -> None:
    records = log.status().records
    appended = partial(transit.WriteBatch.append, stream="a", payload=b"a2")
    with pytest.raises(transit.ConflictError) as caught:
        write(log, appended, lambda batch: BATCHES[call](log, batch, 2))
    error = caught.value
    assert (error.stream, error.expected, error.found) == ("a", 2, 3)
    assert log.status().records == records
    write(log, appended, lambda batch: BATCHES[call](log, batch, 3))
    assert log.status().records > records


CALLS: dict[str, Callable[[transit.Log, int], object]] = {
    "branch": lambda log, n: log.stream("a").branch("new", expect=n),
    "merge": lambda log, n: log.merge("new", ["a", "b"], policy="append", expect=[n, None]),
    "layer, branch": lambda log, n: log.layer("l").branch("a", "new", expect=n),
    "layer, merge": lambda log, n: log.layer("l").merge(
        "new", ["a", "b"], policy="append", expect=[n, None]
    ),
    "show": lambda log, n: log.show("a", expect=n),
}


@pytest.mark.parametrize("call", CALLS)
def test_the_same_conditions_outside_of_a_batch(log: transit.Log, call: str) -> None:
    with pytest.raises(transit.ConflictError) as caught:
        CALLS[call](log, 5)
    assert (caught.value.stream, caught.value.found) == ("a", 2)
    CALLS[call](log, 2)


@pytest.mark.parametrize("expect", [1, [1], [1, 2, 3], "ab", [1, -1], [1, 1.5], {"a": 2, "b": 1}])
def test_expectations_that_are_not_one_a_parent_are_refused(
    log: transit.Log, expect: Sequence[int | None]
) -> None:
    with pytest.raises(transit.InvalidInputError):
        log.merge("m", ["a", "b"], policy="append", expect=expect)
    with pytest.raises(transit.InvalidInputError), log.batch() as batch:
        batch.merge("m", ["a", "b"], policy="append", expect=expect)


# Policies of the user


@pytest.fixture
def custom() -> list[Callable[[], object]]:
    """Policy "custom:newest-first", and what is called before each time it works."""
    before: list[Callable[[], object]] = []

    def order(
        suffixes: tuple[tuple[Record, ...], ...], params: Mapping[str, object]
    ) -> list[Record]:
        for call in before:
            call()
        together = [record for suffix in suffixes for record in suffix]
        return sorted(together, key=lambda record: -record.timestamp)

    transit.register_policy("newest-first", order)
    return before


def test_a_custom_policy_in_a_batch_works_outside_of_the_turn_and_once(
    log: transit.Log, path: Path, custom: list[Callable[[], object]]
) -> None:
    asked: list[int] = []
    # In the turn it would be refused.
    custom.append(lambda: asked.append(log.create(f"made by the policy {len(asked)}").id))
    with log.batch() as batch:
        batch.append("b", b"later", timestamp=99)
        merged = batch.merge("m", ["a", Position("b", 0)], policy="custom:newest-first")
        batch.append(merged, b"own")
    assert payloads(merged.stream) == [b"a1", b"b0", b"a0", b"own"]
    assert len(asked) == 1
    custom.clear()
    whole(log, path)


def test_a_custom_policy_is_asked_again_when_its_parents_went_on(
    log: transit.Log, path: Path, custom: list[Callable[[], object]]
) -> None:
    left = [b"a2", b"a3"]
    custom.append(lambda: left and log.stream("a").append(left.pop(0), timestamp=5))
    with log.batch() as batch:
        merged = batch.merge("m", ["a", "b"], policy="custom:newest-first")
    assert payloads(merged.stream) == [b"a2", b"a3", b"a1", b"b0", b"a0"]
    custom.clear()
    whole(log, path)


@pytest.mark.parametrize("policy", ["append", "interleave"])
def test_a_merge_by_itself_is_worked_out_before_the_turn_and_staged_in_it_alone(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    steps: list[tuple[str, bool]] = []
    for name in ("_work_out", "create"):
        right = getattr(Staging, name)

        def noted(
            staging: Staging, *given: object, name: str = name, right: Callable[..., object] = right
        ) -> object:
            steps.append((name, staging._prepared.asking))
            return right(staging, *given)

        monkeypatch.setattr(Staging, name, noted)
    assert len(log.merge("m", ["a", "b"], policy=policy)) == 3
    assert steps == [("_work_out", True), ("create", False)]


def test_parents_that_go_on_whenever_a_custom_policy_works_are_a_conflict(
    log: transit.Log, custom: list[Callable[[], object]]
) -> None:
    custom.append(lambda: log.stream("a").append(b"more"))
    with pytest.raises(transit.ConflictError, match="give positions"):
        write(
            log,
            lambda batch: batch.create("lost"),
            lambda batch: batch.merge("m", ["a", "b"], policy="custom:newest-first"),
        )
    assert len(log.stream("a")) == 2 + TRIES
    assert "lost" not in log
    # By itself a merge is of the heads there were when it was called.
    assert len(log.merge("m", ["a", "b"], policy="custom:newest-first")) == 3 + TRIES


def test_a_custom_policy_takes_no_record_that_its_batch_is_about_to_write(
    log: transit.Log, custom: list[Callable[[], object]]
) -> None:
    steps: list[tuple[str, Callable[[transit.WriteBatch], object]]] = [
        ("new", lambda batch: batch.branch("a", "new")),
        ("a", lambda batch: batch.append("a", b"a2")),
    ]
    for parent, step in steps:
        merge = partial(
            transit.WriteBatch.merge, name="m", parents=[parent, "b"], policy="custom:newest-first"
        )
        with pytest.raises(transit.InvalidInputError, match="positions"):
            write(log, step, merge)
        assert "new" not in log


# Beside other writers, and too large


def test_a_merge_in_a_batch_has_what_others_append_before_the_turn_begins(
    log: transit.Log, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, asked = Parents.timestamps, []

    def slow(parents: Parents, span: object) -> list[int]:
        asked.append(span)
        times = right(parents, span)  # type: ignore[arg-type]
        if len(asked) == 1:
            log.stream("a").append(b"meanwhile", timestamp=2)
        return times

    monkeypatch.setattr(Parents, "timestamps", slow)
    with log.batch() as batch:
        batch.append("a", b"staged", timestamp=1)
        merged = batch.merge("m", ["a", "b"], policy="interleave")
    assert payloads(merged.stream) == [b"a0", b"b0", b"a1", b"meanwhile", b"staged"]
    # What was read before the turn is not read in it again: only what came in between.
    assert [getattr(span, "count", None) for span in asked] == [2, 1, 1]
    monkeypatch.undo()
    whole(log, path)


def test_a_plan_that_is_too_large_for_a_frame_with_others_is_refused_and_fits_by_itself(
    path: Path,
) -> None:
    small = transit.Settings(frame_bytes_max=1024, record_bytes_max=512, seal_bytes=64 * 1024)
    with transit.open(path, durability="os", settings=small) as log:
        for name in ("a", "b"):
            stream = log.create(name)
            for number in range(200):
                stream.append(b"x", timestamp=2 * number + (name == "b"))
        with pytest.raises(transit.InvalidInputError, match="frame_bytes_max"):
            write(
                log,
                lambda batch: batch.append("a", b"lost"),
                lambda batch: batch.merge("m", ["a", "b"], policy="interleave"),
            )
        assert "m" not in log
        assert len(log.stream("a")) == 200
        assert len(log.merge("m", ["a", "b"], policy="interleave")) == 400


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_what_one_handle_merges_in_a_batch_another_finds(path: Path, mode: str) -> None:
    with transit.open(path, mode=mode, durability="os") as log:
        for name in ("a", "b"):
            log.create(name).append(name.encode())
        other = transit.open(path, mode="shared" if mode == "shared" else "read")
        if mode == "shared":
            other.stream("a").append(b"others")
        with log.batch() as batch:
            batch.append("b", b"mine")
            batch.merge("m", ["a", "b"], policy="append")
        expected = [b"a", b"others", b"b", b"mine"] if mode == "shared" else [b"a", b"b", b"mine"]
        assert payloads(other.stream("m")) == expected
        assert log.verify().ok
        other.close()


# Planted bugs, which the tests above must find


def _heads_without_staged(
    staging: Staging, place: tuple[object, int | None], lowest: int
) -> object:
    state, offset = place
    return state.id, state.next_offset - 1 if offset is None else offset  # type: ignore[attr-defined]


def _timestamps_all_zero(parents: Parents, span: object) -> list[int]:
    return [0] * span.count  # type: ignore[attr-defined,no-any-return]


def _never_behind(right: Callable[..., object]) -> Callable[..., object]:
    def wrong(staging: Staging, wanted: WantedMerge, heads: object, base: object) -> object:
        records: dict[object, object] = staging._prepared.records  # type: ignore[assignment]
        if id(wanted) not in records:
            records[id(wanted)] = right(staging, wanted, heads, base)
        return records[id(wanted)]

    return wrong


PLANTS: dict[str, tuple[str, Callable[..., object], Callable[..., None]]] = {
    "staged records are not in the heads": (
        "transit.engine.staging.Staging._head",
        _heads_without_staged,
        lambda log, path, custom: (
            test_a_merge_in_a_batch_has_what_the_batch_appends_to_its_parents_before_it(
                log, path, "append"
            )
        ),
    ),
    "staged records have no times": (
        "transit.engine.staging.StagedParents.timestamps",
        _timestamps_all_zero,
        lambda log, path, custom: (
            test_a_merge_in_a_batch_has_what_the_batch_appends_to_its_parents_before_it(
                log, path, "interleave"
            )
        ),
    ),
    "a policy is not asked again": (
        "transit.engine.staging.Staging._merge_record",
        _never_behind(Staging._merge_record),
        test_a_custom_policy_is_asked_again_when_its_parents_went_on,
    ),
    "a condition is not looked at": (
        "transit.engine.staging.check_expected",
        lambda tail, expect: None,
        lambda log, path, custom: (
            test_a_condition_in_a_batch_is_about_the_stream_with_what_is_staged_for_it(log, "merge")
        ),
    ),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_planted_bugs_in_staged_merges_are_found(
    log: transit.Log,
    path: Path,
    custom: list[Callable[[], object]],
    plant: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target, wrong, held_by = PLANTS[plant]
    monkeypatch.setattr(target, wrong)
    with pytest.raises((AssertionError, pytest.fail.Exception, transit.TransitError)):
        held_by(log, path, custom)
