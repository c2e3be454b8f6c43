"""What a tick of a reconciler costs, and how late it is, beside a job of APScheduler.

Eight loops, due each 100 ms, do nothing but say that they did (`transit`), or have nothing to do
(`transit-noop`). APScheduler runs eight jobs at the same interval, which do nothing, from a store
in memory (`apscheduler`) and from SQLite where SQLAlchemy is installed (`apscheduler-sqlite`): a
tick of ours is durable, so the second is the nearer peer. Contenders take turns. Costs are CPU time
of all threads of the process, a tick; lag is from when a tick was due to when its body began, and
depends on what else the machine does. Bytes are those of the WAL.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec

import transit
from benchmarks.commandline import working_folder
from benchmarks.report import Machine, aligned, number, to_json
from transit.views.loops.reconcile import Reconciler, reconciler
from transit.views.loops.running import runner
from transit.views.loops.ticks import Tick

LOOPS: Final = 8
PERIOD_S: Final = 0.1
TURNS: Final = 5
TURN_S: Final = 4.0
WARM_S: Final = 0.5
HEAD: Final = (
    "contender", "ticks a turn", "CPU µs a tick", "lag p50 ms", "lag p99 ms", "WAL bytes a tick"
)  # fmt: skip


class Turn(msgspec.Struct, frozen=True):
    """One turn: ticks, CPU time of one in µs, lags in ms, bytes and frames written by one."""

    ticks: int
    cpu_us: float
    lag_p50_ms: float
    lag_p99_ms: float
    bytes: float


class Row(msgspec.Struct, frozen=True):
    """One contender: the medians of its turns."""

    name: str
    version: str
    turn: Turn


class Ticks(msgspec.Struct, frozen=True):
    """Everything that is written as JSON."""

    machine: Machine
    turns: int
    rows: list[Row]


class Contender(ABC):
    """What calls eight loops each 100 ms; `lags` has how late each call was, ns."""

    version: str

    def __init__(self) -> None:
        self.lags: list[int] = []

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def stop(self) -> None: ...

    def written(self) -> int:
        """Bytes written so far."""
        return 0

    def close(self) -> None:
        """Nothing is open."""


class Reconcilers(Contender):
    """Ours, in a store of its own; `body`: what each tick does."""

    version = transit.__version__

    def __init__(self, folder: str, durability: str, body: Callable[[Tick], object]) -> None:
        super().__init__()
        path = os.path.join(folder, f"{durability}-{body.__name__}")
        self._log = transit.open(path, durability=durability)
        self._loops = [self._loop(f"loop-{number}", body) for number in range(LOOPS)]
        self._runner = runner(self._log, self._loops)

    def _loop(self, name: str, body: Callable[[Tick], object]) -> Reconciler:
        def measured(tick: Tick) -> None:
            if tick.due is not None:
                self.lags.append(time.time_ns() - tick.due)
            body(tick)

        return reconciler(name=name, every=PERIOD_S)(measured)

    def start(self) -> None:
        self._runner = runner(self._log, self._loops).__enter__()
        self._runner.start()

    def stop(self) -> None:
        self._runner.close()

    def written(self) -> int:
        return self._log.status().wal_bytes

    def close(self) -> None:
        self._log.close()


class APScheduler(Contender):
    """Jobs of APScheduler; url: where they are kept, "" in memory."""

    def __init__(self, url: str) -> None:
        super().__init__()
        # Loaded here: it is installed where peers are.
        from apscheduler.schedulers.background import BackgroundScheduler

        self.version = version("apscheduler")
        self._make: Callable[[], Any] = partial(BackgroundScheduler, timezone=UTC)
        self._url = url
        self._scheduler: Any = None
        # Jobs are kept by name, and find what they note here.
        self.lags = _lags

    def start(self) -> None:
        self._scheduler = self._make()
        if self._url:
            self._scheduler.add_jobstore("sqlalchemy", url=self._url)
        begin = datetime.now(UTC)
        _begun[:] = [round(begin.timestamp() * 1e6) * 1_000]
        for place in range(LOOPS):
            self._scheduler.add_job(
                _job, "interval", seconds=PERIOD_S, id=f"{place}", replace_existing=True,
                next_run_time=begin,
            )  # fmt: skip
        self._scheduler.start()

    def stop(self) -> None:
        self._scheduler.shutdown()


_begun: list[int] = [0]
_lags: list[int] = []


def _job() -> None:
    # A job is not told for when it is: the last multiple of the interval.
    _lags.append((time.time_ns() - _begun[0]) % round(PERIOD_S * 1e9))


def says(tick: Tick) -> None:
    tick.emit("ran")


def idle(tick: Tick) -> None:
    tick.noop()


CONTENDERS: Final[dict[str, Callable[[str], Contender]]] = {
    "apscheduler": lambda folder: APScheduler(""),
    "apscheduler-sqlite": lambda folder: APScheduler(f"sqlite:///{folder}/jobs.sqlite"),
    "transit-os": lambda folder: Reconcilers(folder, "os", says),
    "transit-local": lambda folder: Reconcilers(folder, "local", says),
    "transit-noop": lambda folder: Reconcilers(folder, "os", idle),
}


def turn(contender: Contender, seconds: float) -> Turn:
    """One turn, measured once it has begun."""
    contender.start()
    try:
        time.sleep(WARM_S)
        gc.collect()
        contender.lags.clear()
        before, begun = contender.written(), time.process_time_ns()
        time.sleep(seconds)
        cpu = time.process_time_ns() - begun
        lags, written = sorted(contender.lags), contender.written() - before
    finally:
        contender.stop()
    return Turn(
        ticks=len(lags),
        cpu_us=cpu / len(lags) / 1e3,
        lag_p50_ms=lags[len(lags) // 2] / 1e6,
        lag_p99_ms=lags[len(lags) * 99 // 100] / 1e6,
        bytes=written / len(lags),
    )


def measured(folder: str, turns: int, seconds: float) -> list[Row]:
    """Those that are installed, in turns; the first turns warm up."""
    made: dict[str, Contender] = {}
    for name, make in CONTENDERS.items():
        try:
            made[name] = make(folder)
            turn(made[name], min(seconds, 1.0))
        except ImportError as error:
            print(f"{name}: {error}", file=sys.stderr)
            made.pop(name, None)
    found: dict[str, list[Turn]] = {name: [] for name in made}
    for _ in range(turns):
        for name, contender in made.items():
            found[name].append(turn(contender, seconds))
    for contender in made.values():
        contender.close()
    return [Row(name, made[name].version, _middle(found[name])) for name in made]


def _middle(turns: Sequence[Turn]) -> Turn:
    values = {
        field: statistics.median(getattr(each, field) for each in turns)
        for field in Turn.__struct_fields__
    }
    return msgspec.convert({**values, "ticks": round(values["ticks"])}, Turn)


def main() -> int:
    made = argparse.ArgumentParser(prog="python -m benchmarks.ticks")
    made.add_argument("--runs", type=int, default=TURNS, help=f"turns of each ({TURNS})")
    made.add_argument("--seconds", type=float, default=TURN_S, help=f"of a turn ({TURN_S})")
    made.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    made.add_argument("--path", default=".", metavar="FOLDER", help="work below it (.)")
    arguments = made.parse_args()
    with working_folder(arguments.path) as (folder, here):
        rows = measured(folder, arguments.runs, arguments.seconds)
    if arguments.json is not None:
        arguments.json.write_bytes(to_json(Ticks(here, arguments.runs, rows)))
    print(aligned([HEAD, *map(_shown, rows)]))
    return 0


def _shown(row: Row) -> tuple[str, ...]:
    made = row.turn
    return (
        f"{row.name} ({row.version})",
        str(made.ticks),
        *map(number, (made.cpu_us, made.lag_p50_ms, made.lag_p99_ms, made.bytes)),
    )


if __name__ == "__main__":
    sys.exit(main())
