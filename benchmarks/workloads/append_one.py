"""One record at a time, not durable yet."""

from __future__ import annotations

import os
from time import perf_counter

from benchmarks.baselines import append_each
from benchmarks.payloads import RECORD_BYTES, payloads
from benchmarks.places import new_stream
from benchmarks.workload import Aim, Facts


class AppendOne:
    """The background flusher and sealer run as they would for a user."""

    remark = ""

    def __init__(self, durability: str, aim: float) -> None:
        self._durability = durability
        self.facts = Facts(
            name=f"append-{durability}",
            work=f'append, durability "{durability}"',
            raw="os.write of the same record",
            unit="records/s",
            better="more",
            aim=Aim("ratio", aim),
            records=100_000,
            payload_bytes=RECORD_BYTES,
        )

    def setup(self, folder: str, records: int) -> None:
        self._folder = folder
        self._payloads = payloads(records)

    def raw(self) -> float:
        return len(self._payloads) / append_each(self._folder, self._payloads, os.write)

    def ours(self) -> float:
        with new_stream(self._folder, self._durability) as stream:
            start = perf_counter()
            for payload in self._payloads:
                stream.append(payload)
            return len(self._payloads) / (perf_counter() - start)

    def close(self) -> None:
        pass
