"""Deleting runs: with what only they refer to.

Owns which artifacts go: those that a run refers to, and no stream that is not deleted. Large
payloads are kept once for all runs, so that they are no run's own; what is about one run alone, its
notes and the states of views, the engine deletes with it. The counts noted of its end, beside those
of others, stay: they say how many tokens and calls there were, and nothing that was said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from transit import Deletion, Log, Stream
from transit.trace.artifacts import LAYER, artifact_stream

_REFERENCE: Final = re.compile(rb"\$%s/artifact/([0-9a-f]{64})" % LAYER.encode())


def delete(
    log: Log,
    run: Stream | str,
    *,
    reason: str,
    basis: str = "owner",
    cascade: bool = False,
    dry_run: bool = False,
    writer: str = "",
) -> Deletion:
    """Delete a run as `Log.delete` does, and then the artifacts that nothing else refers to.

    Reads every record of the store once, to know what refers to what. Called again after it was
    interrupted, it deletes the artifacts that are left. Do not begin runs meanwhile that record
    the same large payloads: they would refer to what goes. dry_run: artifacts are left out of what
    is told. Raises as `Log.delete`.
    """
    if dry_run:
        return log.delete(run, reason=reason, basis=basis, cascade=cascade, dry_run=True)
    referring = {stream: _referred(stream) for stream in _streams(log)}
    done = log.delete(run, reason=reason, basis=basis, cascade=cascade, writer=writer)
    parts = [done]
    while unused := _unused(referring):
        parts += [log.delete(s, reason=reason, basis=basis, writer=writer) for s in unused]
    return Deletion(
        tuple(name for part in parts for name in part.streams),
        sum(part.records for part in parts),
        sum(part.bytes_here for part in parts),
        sum(part.bytes_remote for part in parts),
    )


def _streams(log: Log) -> Iterator[Stream]:
    """All streams that may refer to an artifact; artifacts do too."""
    for found in (log.streams(), log.hidden(), log.streams(f"${LAYER}/"), log.hidden(f"${LAYER}/")):
        yield from found


def _referred(stream: Stream) -> frozenset[str]:
    """The digests of the artifacts that a stream's own records refer to."""
    if stream.deleted:
        return frozenset()
    found: set[str] = set()
    first = max(stream.own_start, stream.first_offset)
    for batch in stream.batches(first):
        found |= {digest.decode() for digest in _REFERENCE.findall(bytes(batch.data))}
    return frozenset(found)


def _unused(referring: dict[Stream, frozenset[str]]) -> list[Stream]:
    """The artifacts that a deleted stream referred to, and that no other does."""
    gone = {stream for stream in referring if stream.deleted}
    used = {digest for stream in referring.keys() - gone for digest in referring[stream]}
    once = {digest for stream in gone for digest in referring[stream]} - used
    names = {artifact_stream(digest) for digest in once}
    return [stream for stream in referring if stream.name in names and stream not in gone]
