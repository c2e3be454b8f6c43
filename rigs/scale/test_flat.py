"""A process that opens, uses and closes stores over and over holds no more than at first.

CI looks at counts over a few lives; memory needs half an hour: `rigs.resources.soak`.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from rigs import resources
from rigs.resources import Sample
from transit.log.blocks import DecodedBlock


def test_lives_of_stores_leave_no_file_thread_or_object_behind(tmp_path: Path) -> None:
    warm = resources.lives(0, 1, tmp_path, print)[2:]
    problems = [each for each in resources.grown(warm) if not each.startswith("memory")]
    assert problems == []
    assert warm[-1].threads <= warm[0].threads
    assert warm[-1].descriptors <= warm[0].descriptors


def test_one_store_used_for_long_opens_no_more_files_and_threads(tmp_path: Path) -> None:
    with transit.open(
        tmp_path / "store", remote=tmp_path / "remote", settings=resources.SETTINGS
    ) as log:
        stream = log.create("s")
        samples = []
        for round_ in range(24):
            stream.append_many([b"x" * 1000] * 40, durability="os")
            stream.branch(f"branch {round_}").append(b"y", durability="os")
            list(stream.read(max(0, len(stream) - 100)))
            list(stream.tail(start=len(stream), timeout=0))
            log.seal()
            log.publish()
            log.evict(bytes_max=0)
            samples.append(resources.sample(0.0))
    for name in ("descriptors", "threads"):
        counts = [getattr(each, name) for each in samples]
        # The threads of the store, and what sealing has open when it is looked at.
        assert max(counts[12:]) <= max(counts[:12]) + 1, (name, counts)


def test_readers_restores_and_audits_leave_nothing_for_the_collector(tmp_path: Path) -> None:
    root, remote = tmp_path / "store", tmp_path / "remote"

    with transit.open(root, remote=remote, settings=resources.SETTINGS) as log:
        main = log.create("s")
        main.append_many([b"x" * 1000] * 40)
        log.merge("m", [main, main.branch("b")], policy="append")
        log.publish()

    def read_it(place: object) -> None:
        with transit.open(place, mode="read", settings=resources.SETTINGS) as log:  # type: ignore[arg-type]
            assert len(list(log.stream("m").read())) >= 40
            assert log.lineage.merge_base(log.stream("s"), log.stream("m")) is not None
            log.verify()

    uses: list[Callable[[], object]] = [
        lambda: transit.restore(remote, tmp_path / "copy"),
        lambda: transit.restore(remote, tmp_path / "lazy", lazy=True),
        lambda: read_it(tmp_path / "copy"),
        lambda: read_it(f"file://{remote}"),
        lambda: transit.audit(remote),
    ]
    gc.collect()
    before = resources.held()
    gc.disable()
    try:
        for each in uses:
            each()
            # What is as large as the history: all else is small.
            left = resources.held() - before
            assert [name for name in left if name.startswith("transit.log.")] == []
            gc.collect()
    finally:
        gc.enable()


def flat(**changes: int) -> list[Sample]:
    """Forty samples that say that nothing grows, but for `changes`: so much a sample."""
    noise = [0, 700_000, -300_000, 200_000]
    return [
        Sample(
            seconds=float(n),
            rss=50_000_000 + noise[n % 4] + n * changes.get("rss", 0),
            descriptors=9 + n * changes.get("descriptors", 0),
            threads=1 + n * changes.get("threads", 0),
            objects=30 + n * changes.get("objects", 0),
        )
        for n in range(40)
    ]


def test_what_is_flat_but_for_its_noise_is_called_flat() -> None:
    assert resources.grown(flat()) == []


@pytest.mark.parametrize(
    ("name", "step"), [("rss", 300_000), ("descriptors", 1), ("threads", 1), ("objects", 1)]
)
def test_what_grows_is_found(name: str, step: int) -> None:
    problems = resources.grown(flat(**{name: step}))
    assert len(problems) == 1
    assert problems[0].startswith("memory" if name == "rss" else name)


class _Waiting:
    """A thread that waits until it is closed."""

    def __init__(self) -> None:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._end.wait)
        self._thread.start()

    def close(self) -> None:
        self._end.set()
        self._thread.join()


def _waiting_thread() -> object:
    return _Waiting()


LEAKS: dict[str, Callable[[], object]] = {
    "descriptors": Path("/dev/null").open,
    "objects": lambda: DecodedBlock(b""),
    "threads": _waiting_thread,
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_planted_leak_is_found(name: str) -> None:
    kept: list[object] = []
    samples = []
    # What other tests left behind is not to end meanwhile.
    gc.collect()
    for _ in range(8):
        # More than such a thing could make up for.
        kept += [LEAKS[name]() for _ in range(4)]
        samples.append(resources.sample(0.0)._replace(seconds=float(len(samples))))
    for each in kept:
        # A block has nothing to close.
        getattr(each, "close", lambda: None)()
    assert any(each.startswith(name) for each in resources.grown(samples))
