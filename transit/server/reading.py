"""What a read answers: a chunk of a stream's records as one body, and its tag for caches.

Owns where a chunk ends: at the head, or at the record that fills it. A body is kept, so that many
readers of the same chunk cost one read; the tag says enough of it to answer 304 without a read.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from typing import Final, NamedTuple

from transit import Stream
from transit.protocol.fields import is_json
from transit.protocol.messages import json_body

NEAR: Final = 64
"""So many records are read on the event loop, where no remote may have to be asked."""
CURSOR_EPOCH_S: Final = 1_728_432_000
CURSOR_INTERVAL_S: Final = 20


class Chunk(NamedTuple):
    """Records from one offset to another as one body. is_full: it ends for its size."""

    body: bytes
    stop: int
    is_full: bool


def read_payloads(stream: Stream, start: int, stop: int, limit: int) -> tuple[list[bytes], int]:
    """The payloads from `start` on, of about `limit` bytes, one at least; where they end."""
    payloads: list[bytes] = []
    size = 0
    for batch in stream.batches(start, stop):
        taken = batch.payloads
        total = sum(map(len, taken))
        if size + total <= limit:
            payloads += taken
            size += total
            continue
        for payload in taken:
            if payloads and size + len(payload) > limit:
                return payloads, start + len(payloads)
            payloads.append(payload)
            size += len(payload)
    return payloads, start + len(payloads)


def read_chunk(stream: Stream, content_type: str, start: int, stop: int, limit: int) -> Chunk:
    """The chunk that begins at `start`, of a stream with `stop` records."""
    payloads, reached = read_payloads(stream, start, stop, limit)
    body = json_body(payloads) if is_json(content_type) else b"".join(payloads)
    return Chunk(body, reached, reached < stop)


class Chunks:
    """Chunks that were read lately, by stream and first offset; of so many bytes at the most."""

    def __init__(self, bytes_max: int) -> None:
        self._kept: OrderedDict[tuple[str, int], Chunk] = OrderedDict()
        self._bytes_max = bytes_max
        self._size = 0

    def get(self, stream: Stream, start: int, stop: int) -> Chunk | None:
        """The chunk at `start` of a stream that has `stop` records now."""
        key = stream.uid, start
        chunk = self._kept.get(key)
        if chunk is None or (chunk.stop != stop and not chunk.is_full):
            return None
        self._kept.move_to_end(key)
        return chunk

    def keep(self, stream: Stream, start: int, chunk: Chunk) -> None:
        """Keep a chunk for the next reader, unless it is too large a part of all."""
        key = stream.uid, start
        old = self._kept.pop(key, None)
        if old is not None:
            self._size -= len(old.body)
        if len(chunk.body) > self._bytes_max // 8:
            return
        self._kept[key] = chunk
        self._size += len(chunk.body)
        while self._size > self._bytes_max:
            _, dropped = self._kept.popitem(last=False)
            self._size -= len(dropped.body)

    def forget(self, stream: Stream) -> None:
        """Keep nothing of a stream any more."""
        for key in [key for key in self._kept if key[0] == stream.uid]:
            self._size -= len(self._kept.pop(key).body)


def tag_of(stream: Stream, start: int, chunk_stop: int, *, is_full: bool, is_closed: bool) -> str:
    """The entity tag of a chunk: it changes with the records, and when the stream is closed."""
    end = "f" if is_full else "c" if is_closed else ""
    return f'"{stream.uid}:{start}:{chunk_stop}{end and ":" + end}"'


def is_unchanged(if_none_match: str, stream: Stream, start: int, stop: int, closed: bool) -> bool:
    """Whether one of the tags is what a read would have now; no record is read for it.

    A chunk that ended for its size is what it was, however the stream went on.
    """
    whole = tag_of(stream, start, stop, is_full=False, is_closed=closed)
    full = f'"{stream.uid}:{start}:'
    for each in if_none_match.split(","):
        tag = each.strip().removeprefix("W/")
        if tag in ("*", whole) or (tag.startswith(full) and tag.endswith(':f"')):
            return True
    return False


def cursor_after(given: str | None) -> str:
    """The cursor of a live answer: section 10.1, the number of the interval of 20 seconds."""
    now = int((time.time() - CURSOR_EPOCH_S) // CURSOR_INTERVAL_S)
    if given is None or not given.isascii() or not given.isdigit() or len(given) > 18:
        return str(now)
    theirs = int(given)
    if theirs < now:
        return str(now)
    return str(theirs + random.randint(1, 3600 // CURSOR_INTERVAL_S))
