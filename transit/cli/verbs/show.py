"""`transit show`: what a stream is, or what a run did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from transit import Log, Stream
from transit.cli.opening import Session
from transit.cli.options import SIZE, STREAM, store_options
from transit.cli.values import moment_text

if TYPE_CHECKING:
    from transit.trace import Trace


@click.command()
@click.argument("stream", type=STREAM)
@click.option("--beside", metavar="RUN", type=STREAM, help="Another run, aligned with this one.")
@click.option("--html", metavar="FILE", help="Write a page that shows it; - for standard output.")
@click.option(
    "--max-page", metavar="SIZE", type=SIZE,
    help="The page at most; long values are cut. Default: 64MiB.",
)  # fmt: skip
@click.option("--full", is_flag=True, help="Print long values whole.")
@click.option("--no-children", is_flag=True, help="Leave out what child runs did.")
@click.option("-f", "--follow", is_flag=True, help="Wait for more, until the run ends.")
@click.option("--facts", is_flag=True, help="Of a run too: what the store knows of its stream.")
@store_options
def command(  # noqa: PLR0913, PLR0917 - as many options
    context: Session,
    stream: str,
    beside: str | None,
    html: str | None,
    max_page: int | None,
    full: bool,
    no_children: bool,
    follow: bool,
    facts: bool,
) -> None:
    """Print what a run did: its messages and calls, with what came of them, in order.

    In a pipe, the run's events as JSON Lines, whole. Of a STREAM that is no run: what it is, what
    it descends from and what descends from it.
    """
    _check(beside, html, max_page, follow, facts)
    with context.open_read() as log:
        found = log.stream(stream)
        # Loaded here: what is said of other streams needs nothing of runs.
        from transit.trace.names import is_run

        if facts or not is_run(found):
            _refuse_options(stream, beside, html, follow)
            context.output.document("", facts_of(log, found))
            return
        if html is not None:
            _write_html(context, log, found, beside, html, max_page)
            return
        _show_run(context, log, found, beside, full, not no_children, follow)


def _check(
    beside: str | None, html: str | None, max_page: int | None, follow: bool, facts: bool
) -> None:
    if max_page is not None and html is None:
        raise click.UsageError("--max-page is for --html")
    if max_page == 0:
        raise click.UsageError("--max-page: a page has more than 0 bytes")
    if follow and (beside or html or facts):
        raise click.UsageError("--follow is for the run alone, as text or JSON Lines")
    if facts and (beside or html):
        raise click.UsageError("--facts is for the stream alone")


def _refuse_options(stream: str, beside: str | None, html: str | None, follow: bool) -> None:
    if beside or html or follow:
        raise click.UsageError(f"{stream!r} is no run: --beside, --html and --follow are for runs")


def _write_html(
    context: Session, log: Log, stream: Stream, beside: str | None, html: str,
    max_page: int | None,
) -> None:  # fmt: skip
    # Loaded here, as above.
    from transit.cli.runs_shown import write_html  # likewise
    from transit.trace import read  # likewise
    from transit.trace.page import PAGE_BYTES_MAX  # likewise

    run = read(log, stream)
    other = None if beside is None else read(log, beside)
    prices, most = context.configuration.prices, max_page or PAGE_BYTES_MAX
    write_html(context.output, log, run, other, html, prices, most)


def _show_run(
    context: Session, log: Log, stream: Stream, beside: str | None,
    full: bool, children: bool, follow: bool,
) -> None:  # fmt: skip
    # Loaded here, as above.
    from transit.cli.runs_shown import follow_run, show_beside, show_run  # likewise
    from transit.trace import read  # likewise

    run: Trace = read(log, stream)
    other = None if beside is None else read(log, beside)
    output, prices = context.output, context.configuration.prices
    if other is not None:
        show_beside(output, run, other, full=full, children=children)
    elif follow:
        follow_run(output, log, run, full=full)
    else:
        show_run(output, run, prices, full=full, children=children)


def facts_of(log: Log, stream: Stream) -> dict[str, object]:
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
        "own": records - stream.own_start,
        "last_timestamp": moment_text(stream[-1].timestamp) if records else None,
        "children": [child.name for child in log.lineage.children(stream)],
    }
