"""What a tick of a reconciler costs, and how late it is, beside a job of APScheduler.

Eight loops, due each 100 ms, do nothing but say that they did (`transit`), or have nothing to do
(`transit-noop`). APScheduler runs eight jobs at the same interval, which do nothing, from a store
in memory (`apscheduler`) and from SQLite where SQLAlchemy is installed (`apscheduler-sqlite`): a
tick of ours is durable, so the second is the nearer peer. Each is measured twice: with all eight
due at one moment, and one after the other, 12.5 ms apart, as threads that sleep are most of what is
paid then: eight ticks at one moment wake them once. `append` is no scheduler: a thread that appends
as much as a tick does, and sleeps. Contenders take turns. Costs are CPU time of all threads of the
process, a tick; lag is from when a tick was due to when its body began, and depends on what else
the machine does. Bytes are those of the WAL.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from itertools import product
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
# From the due of one loop to that of the next.
SPREADS: Final = {"together": 0.0, "apart": PERIOD_S / LOOPS}
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
    """Ours, in a store of its own; `body`: what each tick does. apart_s: from due to due."""

    version = transit.__version__

    def __init__(
        self, folder: str, apart_s: float, durability: str, body: Callable[[Tick], object]
    ) -> None:
        super().__init__()
        path = os.path.join(folder, f"{durability}-{body.__name__}-{apart_s:g}")
        self._log = transit.open(path, durability=durability)
        self._loops = [self._loop(number, apart_s, body) for number in range(LOOPS)]
        self._runner = runner(self._log, self._loops)

    def _loop(self, number: int, apart_s: float, body: Callable[[Tick], object]) -> Reconciler:
        def measured(tick: Tick) -> None:
            if tick.due is not None:
                self.lags.append(time.time_ns() - tick.due)
            body(tick)

        first = _FIRST + timedelta(seconds=number * apart_s)
        return reconciler(name=f"loop-{number}", every=PERIOD_S, start=first)(measured)

    def start(self) -> None:
        self._runner = runner(self._log, self._loops).__enter__()
        self._runner.start()

    def stop(self) -> None:
        self._runner.close()

    def written(self) -> int:
        return self._log.status().wal_bytes

    def close(self) -> None:
        self._log.close()


_FIRST: Final = datetime(2026, 1, 1, tzinfo=UTC)


class Appends(Contender):
    """What a tick writes, without a tick: a thread that appends it, and sleeps."""

    version = transit.__version__

    def __init__(self, folder: str, apart_s: float) -> None:
        super().__init__()
        self._log = transit.open(os.path.join(folder, f"appends-{apart_s:g}"), durability="os")
        self._stream = self._log.create("appends")
        # Each time so many, one after the other.
        self._count = 1 if apart_s else LOOPS
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        due, period = time.time_ns(), round(PERIOD_S * 1e9 / LOOPS * self._count)
        while not self._is_stopped.is_set():
            for _ in range(self._count):
                self.lags.append(time.time_ns() - due)
                self._stream.append(_RECORD, expect=self._stream.next_offset)
            due += period
            time.sleep(max(0, due - time.time_ns()) / 1e9)

    def start(self) -> None:
        self._is_stopped.clear()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._is_stopped.set()
        self._thread.join()

    def written(self) -> int:
        return self._log.status().wal_bytes

    def close(self) -> None:
        self._log.close()


# As long as a record of a tick that says that it ran.
_RECORD: Final = bytes(206)


class APScheduler(Contender):
    """Jobs of APScheduler; url: where they are kept, "" in memory. apart_s: from due to due."""

    def __init__(self, url: str, apart_s: float) -> None:
        super().__init__()
        # Loaded here: it is installed where peers are.
        from apscheduler.schedulers.background import BackgroundScheduler

        self.version = version("apscheduler")
        self._make: Callable[[], Any] = partial(BackgroundScheduler, timezone=UTC)
        self._url, self._apart_s = url, apart_s
        self._scheduler: Any = None
        # Jobs are kept by name, and find what they note here.
        self.lags = _lags

    def start(self) -> None:
        self._scheduler = self._make()
        if self._url:
            self._scheduler.add_jobstore("sqlalchemy", url=self._url)
        begin = datetime.now(UTC)
        for place in range(LOOPS):
            first = begin + timedelta(seconds=place * self._apart_s)
            self._scheduler.add_job(
                _job, "interval", [round(first.timestamp() * 1e6) * 1_000], seconds=PERIOD_S,
                id=f"{place}", replace_existing=True, next_run_time=first,
            )  # fmt: skip
        self._scheduler.start()

    def stop(self) -> None:
        self._scheduler.shutdown()


_lags: list[int] = []


def _job(first: int) -> None:
    # A job is not told for when it is: the last multiple of the interval.
    _lags.append((time.time_ns() - first) % round(PERIOD_S * 1e9))


def says(tick: Tick) -> None:
    tick.emit("ran")


def idle(tick: Tick) -> None:
    tick.noop()


CONTENDERS: Final[dict[str, Callable[[str, float], Contender]]] = {
    "apscheduler": lambda folder, apart_s: APScheduler("", apart_s),
    "apscheduler-sqlite": lambda folder, apart_s: APScheduler(
        f"sqlite:///{folder}/jobs-{apart_s:g}.sqlite", apart_s
    ),
    "transit-noop": lambda folder, apart_s: Reconcilers(folder, apart_s, "os", idle),
    "transit-os": lambda folder, apart_s: Reconcilers(folder, apart_s, "os", says),
    "transit-local": lambda folder, apart_s: Reconcilers(folder, apart_s, "local", says),
    "append": Appends,
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
    shapes = product(SPREADS.items(), CONTENDERS.items())
    for (shape, apart_s), (kind, make) in shapes:
        name = f"{kind}, {shape}"
        try:
            made[name] = make(folder, apart_s)
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
