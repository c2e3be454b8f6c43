"""`transit find`: the records of runs in which something was said, or happened."""

from __future__ import annotations

import re

import click

from transit.cli.escapes import printable
from transit.cli.opening import Session
from transit.cli.options import STREAM, TIME, store_options
from transit.cli.output import Output
from transit.cli.values import moment_text
from transit.trace.finding import KINDS, Found, find, kind_of


@click.command()
@click.argument("prefix", default="", type=STREAM)
@click.option("--text", metavar="T", help="Said in a message, argument, result or error.")
@click.option("--error", metavar="T", help="Said in an error.")
@click.option("--regex", is_flag=True, help="T is a regular expression.")
@click.option("--tool", metavar="NAME", help="Calls of this tool, and their results.")
@click.option("--failed", is_flag=True, help="Outcomes that are failures.")
@click.option("--role", metavar="ROLE", help="Said by this role, such as user.")
@click.option("--model", metavar="NAME", help="Calls of this model.")
@click.option("--kind", type=click.Choice(KINDS), metavar="KIND", help="Events of this kind.")
@click.option("--since", type=TIME, metavar="TIME", help="Records of then or later; 2h: ago.")
@click.option("--until", type=TIME, metavar="TIME", help="Records before then.")
@click.option("--limit", type=click.IntRange(min=1), help="The first N only.")
@store_options
def command(  # noqa: PLR0913 - as many things may be looked for
    context: Session,
    *,
    prefix: str,
    text: str | None,
    error: str | None,
    regex: bool,
    tool: str | None,
    failed: bool,
    role: str | None,
    model: str | None,
    kind: str | None,
    since: int | None,
    until: int | None,
    limit: int | None,
) -> None:
    """Find records of the runs whose names begin with PREFIX that are all that is asked for.

    Letters of any case are the same. A text is found in the record that says it first, and in the
    run it belongs to: not again where a request repeats it, or a branch inherits it.
    """
    with context.open_read() as log:
        found = find(
            log,
            prefix,
            text=_pattern(text) if regex else text,
            error=_pattern(error) if regex else error,
            tool=tool,
            failed=True if failed else None,
            role=role,
            model=model,
            kind=kind,
            since=since,
            until=until,
            limit=limit,
        )
        for each in found:
            _print(context.output, each)


def _pattern(text: str | None) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise click.UsageError(f"{text!r} is no regular expression: {error}") from None


def _print(output: Output, found: Found) -> None:
    kind = kind_of(found.record.event)
    if output.tables:
        before, match = found.excerpt[: found.start], found.excerpt[found.start : found.stop]
        marked = output.style(printable(match), fg="red", bold=True) if match else ""
        shown = f"{printable(before)}{marked}{printable(found.excerpt[found.stop :])}"
        place = output.style(printable(f"{found.run}@{found.offset}"), fg="cyan")
        output.line(f"{place}  {kind}  {shown}".rstrip())
        return
    output.row(
        {
            "run": found.run,
            "offset": found.offset,
            "timestamp": moment_text(found.record.timestamp),
            "kind": kind,
            "where": found.where,
            "excerpt": found.excerpt,
            "start": found.start,
            "stop": found.stop,
        }
    )
