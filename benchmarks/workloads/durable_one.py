"""One durable record at a time, by one thread and by eight."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import transit
from benchmarks.payloads import RECORD_BYTES, payloads
from benchmarks.places import new_stream, raw_file
from benchmarks.workload import Aim, Facts


class DurableOne:
    """The baseline is one thread in either case: what threads add is group commit."""

    remark = ""

    def __init__(self, threads: int, aim: float, records: int) -> None:
        self._threads = threads
        who = "one thread" if threads == 1 else f"{threads} threads"
        self.facts = Facts(
            name=f"append-durable-{threads}-thread{'s' if threads > 1 else ''}",
            work=f'append by {who}, durability "local"',
            raw="os.write + os.fdatasync by one thread, appending",
            unit="records/s",
            better="more",
            aim=Aim("ratio", aim),
            records=records,
            payload_bytes=RECORD_BYTES,
        )

    def setup(self, folder: str, records: int) -> None:
        self._folder = folder
        self._payloads = payloads(records)

    def raw(self) -> float:
        with raw_file(self._folder) as fd:
            # As many in a row as one thread has below: enough for a median, in less time.
            given = self._payloads[: len(self._payloads) // self._threads]
            start = perf_counter()
            for payload in given:
                os.write(fd, payload)
                os.fdatasync(fd)
            return len(given) / (perf_counter() - start)

    def ours(self) -> float:
        shares = [self._payloads[start :: self._threads] for start in range(self._threads)]
        with new_stream(self._folder, "local") as stream:
            if self._threads == 1:
                start = perf_counter()
                _append_all(stream, shares[0])
                return len(self._payloads) / (perf_counter() - start)
            with ThreadPoolExecutor(self._threads) as pool:
                start = perf_counter()
                for done in [pool.submit(_append_all, stream, share) for share in shares]:
                    done.result()
                return len(self._payloads) / (perf_counter() - start)

    def close(self) -> None:
        pass


def _append_all(stream: transit.Stream, given: list[bytes]) -> None:
    for payload in given:
        stream.append(payload)
