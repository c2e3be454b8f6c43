"""One durable record at a time, by one thread and by eight."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import transit
from benchmarks.baselines import append_each, write_synced
from benchmarks.payloads import RECORD_BYTES, payloads
from benchmarks.places import new_stream
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
        # As many in a row as one thread has below: enough for a median, in less time.
        given = self._payloads[: len(self._payloads) // self._threads]
        return len(given) / append_each(self._folder, given, write_synced)

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
