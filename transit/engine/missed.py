"""What a takeover missed, said in its stream by the writer that brought it along.

Owns finding the takeover that fenced a writer off: its commit has the number at which the two
histories part.
"""

from __future__ import annotations

import os
import time

from transit.engine.layer import Layer
from transit.engine.stream import Stream
from transit.format.takeover import (
    TAKEOVERS,
    RebasedRecord,
    TakeoverRecord,
    decode_takeover,
    encode_takeover,
)
from transit.handle.handle import Handle


def note_missed(new: Handle, common: int, tag: str, streams: int, records: int) -> None:
    """Say in the store of `new` what the takeover at commit `common` missed, if that is one."""
    stream = _takeover_at(new, common)
    if stream is None:
        return
    said = RebasedRecord(
        at=time.time_ns(), by=this_machine(), tag=tag, streams=streams, records=records
    )
    stream.append(encode_takeover(said), durability="os")


def _takeover_at(handle: Handle, commit: int) -> Stream | None:
    for stream in Layer(handle, TAKEOVERS).streams():
        if stream.kind != "root" or not len(stream) or stream.finished:
            continue
        said = decode_takeover(stream[0].payload, f"{stream.name}@0")
        if isinstance(said, TakeoverRecord) and said.commit == commit:
            return stream
    return None


def this_machine() -> str:
    """What this machine is called where nothing else is given."""
    return os.uname().nodename[:100]
