"""How soon another process sees an append."""

from __future__ import annotations

from functools import partial

from benchmarks.contests.contest import ContestFacts, Fresh, Score
from benchmarks.latency import WARM_UP, percentile_us, raw_percentile_us, start_reader
from benchmarks.payloads import RECORD_BYTES
from benchmarks.places import STREAM
from benchmarks.systems.system import System


class Tail(Fresh):
    """Systems that do not notify readers are polled once a millisecond: see each `System.tail`."""

    def __init__(self, percentile: int) -> None:
        self._percentile = percentile
        self.facts = ContestFacts(
            name=f"tail-p{percentile}",
            work=f"append a record; another process has it: p{percentile}",
            raw="os.write to a file, another process reads it: inotify(7) by hand",
            unit="µs",
            better="less",
            level=None,
            records=500,
            payload_bytes=RECORD_BYTES,
        )

    def setup(self, folder: str, records: int) -> None:
        self._folder = folder
        self._count = records + WARM_UP

    def enter(self, system: System, folder: str) -> None:
        super().enter(system, folder)
        if "tail" in system.lacks:
            raise system.lack("tail")

    def raw(self) -> float:
        return raw_percentile_us(self._folder, "inotify", self._count, self._percentile)

    def work(self, system: System, folder: str) -> Score:
        append = partial(system.append_one, STREAM)
        # Some systems have nothing to open before the first record.
        append(b"%0256d" % 0)
        reader = start_reader(system.name, folder, self._count + 1)
        figure = percentile_us(append, reader, self._count, self._percentile)
        return Score(figure, self._count - WARM_UP)
