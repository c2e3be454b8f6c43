"""`transit tail`: the last records of a stream, and those that come."""

from __future__ import annotations

import click

from transit import Stream
from transit.cli.failures import TIMEOUT, CommandError
from transit.cli.opening import Session
from transit.cli.options import DURATION, STREAM, TIME, store_options
from transit.cli.output import Output
from transit.cli.records import print_batches, print_record

COUNT_DEFAULT = 10


@click.command()
@click.argument("stream", type=STREAM)
@click.option("-n", "--count", type=click.IntRange(min=0), help="So many records; else 10.")
@click.option(
    "--since",
    type=TIME,
    help="From the first record written at this time or later; with -n the last of these.",
)
@click.option("-f", "--follow", is_flag=True, help="Wait for more.")
@click.option("--timeout", type=DURATION, help="Give up after so long without one: exit 124.")
@store_options
def command(
    context: Session,
    stream: str,
    count: int | None,
    since: int | None,
    follow: bool,
    timeout: float | None,
) -> None:
    """Print the last records of STREAM, and with -f those that other processes append."""
    if timeout is not None and not follow:
        raise click.UsageError("--timeout is for --follow")
    with context.open_read() as log:
        found = log.stream(stream)
        head = found.next_offset
        first = found.first_offset if since is None else min(found.offset_at(since), head)
        if count is None and since is None:
            count = COUNT_DEFAULT
        start = first if count is None else max(first, head - count)
        print_batches(context.output, stream, found.batches(start, head))
        if follow:
            _follow(context.output, found, head, timeout)


def _follow(output: Output, stream: Stream, start: int, timeout: float | None) -> None:
    output.flush()
    for record in stream.tail(start, timeout):
        print_record(output, stream.name, record)
        output.flush()
    raise CommandError(
        f"{stream.name}: no record came for {timeout:g} seconds",
        kind="timeout",
        exit_code=TIMEOUT,
        fields={"stream": stream.name},
    )
