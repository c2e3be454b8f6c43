"""A remote with very many streams, as thousands of runs leave it: many to each of many commits."""

from __future__ import annotations

import os

import transit
from benchmarks.payloads import payloads
from transit.store import ObjectStore

STREAMS_A_COMMIT = 5_000
PAYLOADS = 4_096


def stream_name(number: int) -> str:
    """What stream `number` is called."""
    return f"agents/run-{number:08d}"


def publish_streams(folder: str, remote: ObjectStore, streams: int, records: int, size: int) -> int:
    """Publish `streams` streams of `records` records of `size` bytes; the bytes of all segments."""
    path = os.path.join(folder, "streams")
    given = payloads(PAYLOADS, size)
    with transit.open(path, durability="os", remote=remote) as log:
        for start in range(0, streams, STREAMS_A_COMMIT):
            with log.batch() as batch:
                numbers = range(start, min(start + STREAMS_A_COMMIT, streams))
                staged = [batch.create(stream_name(number)) for number in numbers]
            for number, each in zip(numbers, staged, strict=True):
                at = number % (PAYLOADS - records)
                each.stream.append_many(given[at : at + records])
            log.seal()
        log.publish()
        return log.status().segment_bytes
