"""`transit show`: everything the store knows about one stream."""

from __future__ import annotations

import click

from transit import Log, Stream
from transit.cli.opening import Session
from transit.cli.options import STREAM, store_options
from transit.cli.values import moment_text


@click.command()
@click.argument("stream", type=STREAM)
@store_options
def command(context: Session, stream: str) -> None:
    """Print what STREAM is, what it descends from and what descends from it."""
    with context.open_read() as log:
        found = log.stream(stream)
        context.output.document("", facts(log, found))


def facts(log: Log, stream: Stream) -> dict[str, object]:
    """All facts of a stream. `own`: records appended to it, not inherited."""
    records = stream.next_offset
    plan = stream.merge_plan
    return {
        "stream": stream.name,
        "id": stream.id,
        "uid": stream.uid,
        "kind": stream.kind,
        "codec": stream.codec,
        "metadata": stream.metadata,
        "parents": stream.parents,
        "fork_offset": stream.fork_offset,
        "policy": plan.policy if plan else None,
        "policy_version": plan.version if plan else None,
        "params": plan.params if plan else None,
        "base": plan.base if plan else None,
        "spans": len(plan.spans) if plan else None,
        "records": records,
        "own": records - inherited(stream),
        "last_timestamp": moment_text(stream[-1].timestamp) if records else None,
        "children": [child.name for child in log.lineage.children(stream)],
    }


def inherited(stream: Stream) -> int:
    """How many records a stream had when it was made."""
    plan = stream.merge_plan
    if plan is not None:
        return plan.count
    return 0 if stream.fork_offset is None else stream.fork_offset + 1
