"""What the threads of a crowd do beside appending: streams end and hide, layers keep, watches wait.

Each work makes streams of its own, so that it knows what must be there whatever the others do.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import transit

LAYER: Final = "rig"
_DEADLINE_S: Final = 60.0
Payload = Callable[[str, int], bytes]


def expect_error(kind: type[transit.TransitError], work: Callable[[], object], what: str) -> None:
    """Raise `ValueError` unless `work` ends with that error."""
    try:
        work()
    except kind:
        return
    raise ValueError(f"{what}: no {kind.__name__}")


def retire(log: transit.Log, parent: transit.Stream, name: str) -> None:
    """A branch gets its last record, is finished and hidden; its name is another's, then its."""
    old = parent.branch(name)
    offset = old.append(b"last").offset
    old.finish(expect=offset + 1)
    expect_error(transit.StreamFinishedError, lambda: old.append(b"more"), f"{name} is finished")
    log.hide(old)
    if name in log:
        raise ValueError(f"{name} is hidden, and found")
    new = log.create(name)
    new.append(b"new")
    expect_error(transit.AlreadyExistsError, lambda: log.show(old), f"{name} is taken")
    log.hide(new)
    log.show(old)
    found = log.stream(name)
    if found.uid != old.uid or not found.finished or len(found) != offset + 1:
        raise ValueError(f"{name}: {found!r} is found, not the one of {offset + 1} records")


def keep(log: transit.Log, stream: transit.Stream, payload: Payload, who: str) -> None:
    """A record, its offset in a layer's stream and a cursor moved past it, in one frame.

    Nothing of it is there when another append came first.
    """
    layer = log.layer(LAYER)
    kept = layer.stream(who) if who in layer else layer.create(who)
    before, offset = len(kept), len(stream)
    cursor = stream.cursor(who)
    with suppress(transit.ConflictError):
        with log.batch() as batch:
            batch.append(stream, payload(stream.name, offset), expect=offset)
            batch.append(kept, b"%s@%d" % (stream.name.encode(), offset))
            batch.advance(cursor, offset + 1)
        before += 1
        if cursor.position != offset + 1:
            raise ValueError(f"{cursor!r} is not at {offset + 1}")
    if len(kept) != before:
        raise ValueError(f"{kept.name} has {len(kept)} records, not {before}")
    for record in kept.read(max(0, before - 5)):
        name, _, number = record.payload.partition(b"@")
        found = log.stream(name.decode())[int(number)].payload
        if not found.startswith(payload(name.decode(), int(number))):
            raise ValueError(f"{kept.name} says {record.payload!r}, and there is {found[:40]!r}")


def watch(log: transit.Log, lot: random.Random, name: str) -> None:
    """A watch is called for a record that comes, and a follower gets it."""
    stream = log.create(name)
    told = threading.Event()

    def changed(streams: Sequence[transit.Stream]) -> None:
        # With none when the store is closed, which it may also be by now.
        with suppress(transit.ClosedError):
            if streams and not (stream in streams and len(stream)):
                return
        told.set()

    with log.watch(changed, [stream] if lot.random() < 0.5 else None):
        stream.append(b"x")
        if not told.wait(_DEADLINE_S):
            raise ValueError(f"no watch was told of {name}")

    async def first() -> bytes:
        async for record in stream.follow(0, timeout=_DEADLINE_S):
            return record.payload
        return b""

    if asyncio.run(first()) != b"x":
        raise ValueError(f"a follower of {name} got nothing")
