"""How much disk an agent's events take once nothing more comes."""

from __future__ import annotations

from benchmarks.contests.contest import ContestFacts, Levelled, Score, level_for
from benchmarks.payloads import event_blocks
from benchmarks.places import STREAM, folder_bytes
from benchmarks.systems.system import System
from benchmarks.workloads.size_on_disk import compressed_bytes


class Size(Levelled):
    """Everything below the store's folder, after settling and closing."""

    facts = ContestFacts(
        name="size-on-disk",
        work="JSON events of an agent, settled and closed; everything below the folder",
        raw="zstd level 3 of the same bytes, a frame for every 1,000 records",
        unit="bytes/record",
        better="less",
        level=None,
        records=200_000,
        payload_bytes=640,
        runs_max=1,
    )

    def setup(self, folder: str, records: int) -> None:
        self._records = records

    def raw(self) -> float:
        return sum(map(compressed_bytes, event_blocks(self._records))) / self._records

    def run(self, system: System, folder: str) -> Score:
        system.open(folder, level_for(system, None))
        try:
            for block in event_blocks(self._records):
                system.append_many(STREAM, block)
            system.settle()
        finally:
            system.close()
        return Score(folder_bytes(folder) / self._records, self._records)
