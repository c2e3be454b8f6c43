"""A process that folds and saves on a recording file system; what crashes leave is judged."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import transit
from rigs.crash.judge import write_image
from rigs.crash.recorded import Change, Marked, read_trace
from rigs.crash.recording_fs import recorded
from rigs.crash.states import Content, Disk, Image
from rigs.views.programs import event, everything
from rigs.views.roots import EVERY, judge
from rigs.views.states_planted import plant
from transit import views

SMALL: Final = transit.Settings(seal_bytes=6 * 1024, block_bytes=4 * 1024, flush_interval_ms=60_000)
_TIMEOUT_S: Final = 120


def session(path: str, seed: int) -> None:
    """Append, fold, branch, merge and save."""
    chance = random.Random(seed)
    with transit.open(path, durability="local", settings=SMALL) as log:
        streams = [log.create("root")]
        view = views.open(log, everything, savepoint_records=EVERY)
        for turn in range(6):
            stream = chance.choice(streams)
            stream.append_many([event(chance) for _ in range(chance.randrange(1, 9))])
            view.of(stream)
            if chance.random() < 0.5:
                view.save(stream)
            if turn == 2:
                streams.append(stream.branch("branch", at=len(stream) // 2))
            if turn == 4:
                streams.append(log.merge("merge", streams, policy="interleave"))
                view.save("merge")


def crashed(folder: Path, states_max: int, seed: int, planted: str = "") -> tuple[int, list[str]]:
    """How many states a crash may leave were judged, and what is wrong with some of them."""
    with recorded(folder / "recording") as recording:
        done = subprocess.run(
            [sys.executable, "-m", __name__, str(recording.root / "store"), str(seed), planted],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(done.stderr)
    images = _images(read_trace(recording.trace), seed)
    chosen = images[:: max(1, len(images) // states_max)]
    problems = [problem for image in chosen if (problem := _judged(image, folder))]
    return len(chosen), problems


def _images(trace: list[Change], seed: int) -> list[Image]:
    """The different states after each change, in order."""
    disk = Disk(seed)
    found: dict[frozenset[tuple[str, Content]], Image] = {}
    for change in trace:
        if isinstance(change, Marked) or not disk.concerns(change):
            continue
        disk.apply(change)
        for state in disk.states():
            found.setdefault(frozenset(state.image.items()), state.image)
    return list(found.values())


def _judged(image: Image, folder: Path) -> str:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        root = Path(place) / "root"
        write_image(root, image)
        if not (root / "store").is_dir():
            return ""
        with transit.open(root / "store", settings=SMALL) as log:
            return judge(log)


if __name__ == "__main__":
    plant(sys.argv[3])
    session(sys.argv[1], int(sys.argv[2]))
