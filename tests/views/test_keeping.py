"""Ready-made reconcilers do what a person would type, and are noops where that changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import transit
from transit import InvalidInputError
from transit.views.loops import keeping
from transit.views.loops.due import ManualClock
from transit.views.loops.reconcile import Reconciler
from transit.views.loops.running import Runner, runner
from transit.views.loops.ticks import TickRecord

SETTINGS = transit.Settings(seal_bytes=4096)


@pytest.fixture
def log(path: Path, tmp_path: Path) -> Iterator[transit.Log]:
    remote = str(tmp_path / "remote")
    with transit.open(path, remote=remote, durability="os", settings=SETTINGS) as opened:
        opened.create("run-1").append(b"x" * 3_000)
        yield opened


def step(running: Runner, clock: ManualClock) -> list[tuple[str, str]]:
    clock.advance(86_400)
    return [(tick.result, first_action(tick)) for tick in running.run_due()]


def first_action(tick: TickRecord) -> str:
    return tick.actions[0].name if tick.actions else ""


def run(log: transit.Log, clock: ManualClock, *given: Reconciler) -> Runner:
    return runner(log, given, clock=clock)


def test_publish_publishes_what_is_new_and_not_its_own_ticks(
    log: transit.Log, clock: ManualClock
) -> None:
    with run(log, clock, keeping.publish()) as running:
        assert step(running, clock) == [("ok", "publish")]
        (tick,) = running.ticks("publish")
        assert tick.actions[0].fields["commits"]
        before = log.status().published
        for _ in range(5):
            assert step(running, clock) == [("noop", "")]
        assert log.status().published == before
        log.stream("run-1").append(b"more")
        assert step(running, clock) == [("ok", "publish")]


def test_publish_without_a_remote_fails_and_backs_off(path: Path, clock: ManualClock) -> None:
    with (
        transit.open(path / "x", durability="os") as log,
        run(log, clock, keeping.publish()) as running,
    ):
        assert step(running, clock) == [("failed", "")]
        assert running.ticks("publish")[0].error


def test_sign_and_publish_do_not_go_on_for_ever_about_each_other(
    log: transit.Log, clock: ManualClock
) -> None:
    heads: list[str] = []

    def signer(store: transit.Log) -> dict[str, object]:
        heads.append(store.status().head)
        return {"note": f"signed {heads[-1][:8]}"}

    with run(log, clock, keeping.publish(), keeping.sign(signer)) as running:
        for _ in range(8):
            step(running, clock)
        assert len(heads) == 1
        log.stream("run-1").append(b"more")
        for _ in range(8):
            step(running, clock)
        assert len(heads) == 2
        actions = [tick.actions[0].fields for tick in running.ticks("sign") if tick.actions]
        # What was published while a signer looked may be in what it saw already.
        assert [fields["note"] for fields in actions] == [f"signed {head[:8]}" for head in heads]


def test_a_signer_that_has_nothing_to_sign_is_asked_again(
    log: transit.Log, clock: ManualClock
) -> None:
    log.seal()
    asked = []
    with run(log, clock, keeping.sign(asked.append)) as running:  # type: ignore[arg-type]
        assert step(running, clock) == [("noop", "")]
        assert step(running, clock) == [("noop", "")]
    assert len(asked) == 2
    with pytest.raises(InvalidInputError):
        keeping.sign("key")  # type: ignore[arg-type]


def segments(log: transit.Log) -> list[Path]:
    return sorted((Path(log.path) / "segments").glob("*.seg"))


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    # In every block, wherever it lies.
    for place in range(100, len(data) - 400, 50):
        data[place] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


@pytest.mark.parametrize("sample", [None, 3])
def test_verify_tells_damage_and_does_not_hurry_to_look_again(
    path: Path, clock: ManualClock, sample: int | None
) -> None:
    if sample:
        pytest.importorskip("pyarrow")
    with transit.open(path / "x", durability="os", settings=SETTINGS) as log:
        for number in range(4):
            log.create(f"run-{number}").append(bytes(range(256)) * 12)
        log.seal()
        with run(log, clock, keeping.verify(sample=sample)) as running:
            assert step(running, clock) == [("ok", "verify")]
            for each in segments(log):
                damage(each)
            assert step(running, clock) == [("failed", "")]
            (_, tick) = running.ticks("verify")
            assert tick.error.startswith("CorruptError: ")
            assert [line.level for line in tick.lines][:1] == ["error"]
            assert tick.retry_at is None
            clock.advance(60)
            assert running.run_due() == []


def test_verify_a_sample_of_nothing_is_a_noop(path: Path, clock: ManualClock) -> None:
    with (
        transit.open(path / "x", durability="os") as log,
        run(log, clock, keeping.verify(sample=1)) as running,
    ):
        assert step(running, clock) == [("noop", "")]
    for sample in (0, 10_001, True, 1.0):
        with pytest.raises(InvalidInputError):
            keeping.verify(sample=sample)  # type: ignore[arg-type]


def test_evict_drops_what_is_published(log: transit.Log, clock: ManualClock) -> None:
    log.publish()
    with run(log, clock, keeping.evict(bytes_max=0)) as running:
        assert step(running, clock) == [("ok", "evict")]
        assert segments(log) == []
        assert step(running, clock) == [("noop", "")]
    assert log.stream("run-1")[0].payload == b"x" * 3_000
    with pytest.raises(InvalidInputError):
        keeping.evict()


def names(log: transit.Log) -> Sequence[str]:
    return [stream.name for stream in log.streams()]


def test_retain_hides_finished_streams_that_are_old_enough(
    log: transit.Log, clock: ManualClock
) -> None:
    log.create("run-2").append(b"x")
    log.create("run-3")
    log.create("other").append(b"x")
    for name in ("run-1", "run-3", "other"):
        log.stream(name).finish()
    with run(log, clock, keeping.retain(3_600.0, prefix="run-")) as running:
        assert step(running, clock) == [("noop", "")]
    with run(log, clock, keeping.retain(0.0, prefix="run-", name="now")) as running:
        assert step(running, clock) == [("ok", "hide")]
        assert names(log) == ["run-2", "run-3", "other"]
        assert step(running, clock) == [("noop", "")]
    with run(log, clock, keeping.retain(0.0, prefix="run-", which="all", name="all")) as running:
        assert step(running, clock) == [("ok", "hide")]
    assert names(log) == ["run-3", "other"]
    (hidden, _) = log.hidden("run-")
    log.show(hidden)
    assert names(log) == ["run-1", "run-3", "other"]
    with pytest.raises(InvalidInputError):
        keeping.retain(0.0, which="some")  # type: ignore[arg-type]


def test_retain_lets_go_what_the_limits_of_streams_let_go(
    log: transit.Log, clock: ManualClock
) -> None:
    limited = log.create("limited", retention=transit.Retention(count_max=2))
    limited.append_many([b"1", b"2", b"3", b"4", b"5"])
    with run(log, clock, keeping.retain(name="limits")) as running:
        assert step(running, clock) == [("ok", "retain")]
        (tick,) = running.ticks("limits")
        assert [each.fields for each in tick.actions] == [{"streams": 1, "records": 3}]
        assert limited.first_offset == 3
        assert step(running, clock) == [("noop", "")]
        limited.append(b"6")
        limited.hold("asked for")
        assert step(running, clock) == [("noop", "")]
    for given in ({"prefix": "run-"}, {"which": "all"}):
        with pytest.raises(InvalidInputError, match="older_than"):
            keeping.retain(**given)  # type: ignore[arg-type]


def test_sign_makes_checkpoints_with_a_key(log: transit.Log, clock: ManualClock) -> None:
    key = transit.SigningKey.generate(f"example.com/runs/{log.store_id}")
    log.seal()
    with run(log, clock, keeping.sign(key)) as running:
        assert step(running, clock) == [("ok", "sign")]
        assert step(running, clock) == [("noop", "")]
        log.stream("run-1").append(b"more")
        log.seal()
        assert step(running, clock) == [("ok", "sign")]
    assert transit.check_proof(log.prove("run-1", -1), key.verifying)
    for wrong in ([], ["key"], 5):
        with pytest.raises((InvalidInputError, TypeError)):
            keeping.sign(wrong)  # type: ignore[arg-type]


def test_retain_goes_on_where_it_left_off(
    log: transit.Log, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "LOOKED_MAX", 4)
    monkeypatch.setattr(keeping, "HIDDEN_MAX", 2)
    for number in range(2, 12):
        log.create(f"run-{number}").append(b"x")
    with run(log, clock, keeping.retain(0.0, which="all")) as running:
        for _ in range(12):
            step(running, clock)
    assert names(log) == []


def test_their_options_are_those_of_any_reconciler() -> None:
    pytest.importorskip("cronsim")
    made = keeping.publish(cron="0 2 * * *", zone="Europe/Berlin", labels={"host": "a"}, name="p")
    assert (made.name, made.definition.labels) == ("p", {"host": "a"})
