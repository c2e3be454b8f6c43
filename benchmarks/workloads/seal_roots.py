"""Sealing: what the root over a segment's chunks costs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from time import process_time
from unittest.mock import patch

import transit
from benchmarks.payloads import RECORD_BYTES, payloads
from benchmarks.places import SEAL_BYTES_MAX
from benchmarks.workload import Aim, Facts
from transit.log import seal

A_FRAME = 1_000


class NoTree:
    """Takes the chunks of a segment, and makes nothing of them."""

    def add(self, *chunk: object) -> None:
        """Forget it."""

    def root(self) -> str:
        """The root of nothing."""
        return "0" * 64


class SealRoots:
    """A store of `streams` streams is sealed, with and without; by the processor's time."""

    remark = ""

    def __init__(self, name: str, *, streams: int, each: int, aim: float) -> None:
        self._streams = streams
        self.facts = Facts(
            name=name,
            work=f"seal() of {streams:,} streams of {each:,} records, processor time",
            raw="the same without the root over the chunks",
            unit="records/s",
            better="more",
            aim=Aim("ratio", aim),
            records=streams * each,
            payload_bytes=RECORD_BYTES,
        )

    def setup(self, folder: str, records: int) -> None:
        self._folder = folder
        self._streams = min(self._streams, records)
        self._each = payloads(records // self._streams)
        self._stores = count()

    def raw(self) -> float:
        with self._store() as log, patch.object(seal, "ChunkTree", NoTree):
            return self._sealed(log)

    def ours(self) -> float:
        with self._store() as log:
            return self._sealed(log)

    @contextmanager
    def _store(self) -> Iterator[transit.Log]:
        path = os.path.join(self._folder, str(next(self._stores)))
        settings = transit.Settings(seal_bytes=SEAL_BYTES_MAX)
        with transit.open(path, durability="os", settings=settings) as log:
            for number in range(self._streams):
                stream = log.create(f"runs/{number}")
                for start in range(0, len(self._each), A_FRAME):
                    stream.append_many(self._each[start : start + A_FRAME])
            yield log

    def _sealed(self, log: transit.Log) -> float:
        start = process_time()
        log.seal()
        return self._streams * len(self._each) / (process_time() - start)

    def close(self) -> None:
        pass
