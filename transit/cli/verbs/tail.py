"""`transit tail`: the last records of a stream, and those that come."""

from __future__ import annotations

from collections.abc import Iterable

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
@click.option("--since", type=TIME, help="Records from this time on; with -n the last of these.")
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
        if since is None:
            wanted: Iterable[range] = (range(head - _last(count, head), head),)
        else:
            wanted = _last_of(_since(found, head, since), count)
        for part in wanted:
            batches = found.batches(part.start, part.stop)
            print_batches(context.output, stream, batches)
        if follow:
            _follow(context.output, found, head, timeout)


def _last(count: int | None, head: int) -> int:
    return min(COUNT_DEFAULT if count is None else count, head)


def _since(stream: Stream, head: int, since: int) -> list[range]:
    """The runs of offsets whose records are not older; a merge may have several."""
    runs: list[range] = []
    for batch in stream.batches(0, head):
        for offset, timestamp in zip(batch.offsets, batch.timestamps, strict=True):
            if timestamp < since:
                continue
            if runs and runs[-1].stop == offset:
                runs[-1] = range(runs[-1].start, offset + 1)
            else:
                runs.append(range(offset, offset + 1))
    return runs


def _last_of(runs: list[range], count: int | None) -> list[range]:
    """The last `count` offsets of `runs`; None: all."""
    if count is None:
        return runs
    left, kept = count, []
    for run in reversed(runs):
        part = run[len(run) - min(left, len(run)) :]
        if part:
            kept.append(part)
        left -= len(part)
    return kept[::-1]


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
