"""`transit log`: how streams descend from one another, as a list or drawn."""

from __future__ import annotations

from collections.abc import Sequence

import click
import msgspec

from transit import Log, NotFoundError
from transit.cli.drawing import draw
from transit.cli.graph import document, dot, mermaid
from transit.cli.opening import Session
from transit.cli.options import STREAM, store_options
from transit.cli.output import Output
from transit.server.page.lanes import StreamFacts, facts_of

COLUMNS = ("stream", "kind", "records", "parents", "policy", "detail")
FORMS = ("text", "mermaid", "dot", "json")


@click.command()
@click.argument("streams", nargs=-1, type=STREAM)
@click.option("--graph", is_flag=True, help="Draw it, as --as says; text when that is not given.")
@click.option("--as", "form", type=click.Choice(FORMS), help="The form of the drawing.")
@click.option("--limit", type=click.IntRange(min=1), help="The newest N streams only.")
@store_options
def command(
    context: Session, streams: tuple[str, ...], graph: bool, form: str | None, limit: int | None
) -> None:
    """Print how streams descend from one another, newest first.

    With STREAM…: those, what they descend from, and what descends from them. A drawing is printed
    as it is in a pipe too; with --format json it is the form "json".
    """
    with context.open_read() as log:
        facts = _facts(log, streams, limit)
    output = context.output
    if not graph and form is None:
        row = _cells if output.tables else _row
        output.rows("", COLUMNS, map(row, reversed(facts)))
        return
    _draw(output, form or ("json" if context.flags.format == "json" else "text"), facts)


def _draw(output: Output, form: str, facts: Sequence[StreamFacts]) -> None:
    if form == "json":
        output.raw(msgspec.json.encode(document(facts)) + b"\n")
        return
    if form == "text":
        draw(output, facts)
        return
    for line in mermaid(facts) if form == "mermaid" else dot(facts):
        output.line(line)


def _row(facts: StreamFacts) -> dict[str, object]:
    return {
        "stream": facts.name,
        "kind": facts.kind,
        "records": facts.records,
        "parents": [{"stream": name, "offset": offset} for name, offset, _ in facts.parents],
        "policy": facts.policy or None,
        "detail": facts.detail or None,
    }


def _cells(facts: StreamFacts) -> dict[str, object]:
    parents = ", ".join(f"{name}@{offset}" for name, offset, _ in facts.parents)
    return {**_row(facts), "parents": parents}


def _facts(log: Log, names: Sequence[str], limit: int | None) -> list[StreamFacts]:
    """What is printed, in order of creation."""
    streams = list(log.streams())
    if names:
        ids = {stream.name: stream.id for stream in streams}
        for name in names:
            if name not in ids:
                raise NotFoundError(f"there is no stream {name!r}")
        family = log.lineage.graph().family(ids[name] for name in names)
        streams = [stream for stream in streams if stream.id in family]
    return [facts_of(stream) for stream in (streams if limit is None else streams[-limit:])]
