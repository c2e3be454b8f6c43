"""How much of the disk a million events take once they are sealed."""

from __future__ import annotations

import os
import sys

import transit
from benchmarks.payloads import event_blocks
from benchmarks.places import STREAM, folder_bytes
from benchmarks.workload import Aim, Facts

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEVEL = 3


class SizeOnDisk:
    """Both sides get the same events, a block at a time; nothing holds all of them."""

    facts = Facts(
        name="size-on-disk",
        work="JSON events of an agent, sealed; everything below the store's folder after closing",
        raw="zstd level 3 of the same bytes, a frame for every 1,000 records",
        unit="bytes/record",
        better="less",
        aim=Aim("ratio", 1.1),
        records=1_000_000,
        payload_bytes=640,
        runs_max=1,
    )
    remark = ""

    def setup(self, folder: str, records: int) -> None:
        path = os.path.join(folder, "store")
        size = compressed = 0
        with transit.open(path, durability="os") as log:
            stream = log.create(STREAM)
            for block in event_blocks(records):
                size += sum(map(len, block))
                compressed += compressed_bytes(block)
                stream.append_many(block)
            log.seal()
        self._raw = compressed / records
        self._ours = folder_bytes(path) / records
        self.remark = f"{size / records:.0f} bytes a record before compression"

    def raw(self) -> float:
        return self._raw

    def ours(self) -> float:
        return self._ours

    def close(self) -> None:
        pass


def compressed_bytes(block: list[bytes]) -> int:
    """How large the payloads of a block are as one zstd frame, bytes."""
    return len(zstd.compress(b"".join(block), LEVEL))
