"""`transit retain`: how long streams are kept, and what is due."""

from __future__ import annotations

import math

import click
import msgspec

from transit import Retention
from transit.cli.opening import Session
from transit.cli.options import DURATION, SIZE, STREAM, store_options
from transit.cli.values import moment_text

COLUMNS = ("stream", "before", "records", "limit", "since", "refused")


@click.command()
@click.argument("stream", type=STREAM, required=False)
@click.option("--keep-for", type=DURATION, help="No record goes before.")
@click.option("--expire-after", type=DURATION, help="Records go once they are older.")
@click.option("--bytes-max", type=SIZE, help="The oldest go while payloads take more.")
@click.option("--count-max", type=click.IntRange(min=1), help="The oldest go while there are more.")
@click.option("--no-limits", is_flag=True, help="Take all limits of STREAM away.")
@click.option("--reason", default="", help="Kept with it.")
@click.option("--apply", "applied", is_flag=True, help="Let go what is due, the oldest first.")
@store_options
def command(
    context: Session,
    stream: str | None,
    no_limits: bool,
    reason: str,
    applied: bool,
    **limits: float | None,
) -> None:
    """Say what is due by the limits of streams; with STREAM, show its limits, or set them.

    All limits are set at once: what is not given has none then.
    """
    whole = {name: None if value is None else _whole(value) for name, value in limits.items()}
    retention = Retention(**whole)
    is_set = retention != Retention() or no_limits
    if is_set and (stream is None or applied):
        raise click.UsageError("limits are those of one STREAM, and set without --apply")
    if stream is None:
        with context.open_write(create=False) as log:
            due = [
                {**msgspec.structs.asdict(each), "since": moment_text(each.since)}
                for each in log.retain(dry_run=not applied)
            ]
            context.output.rows("due", COLUMNS, due)
        return
    with context.open_write(create=False) if is_set else context.open_read() as log:
        found = log.stream(stream)
        if is_set:
            found.retain(retention, reason=reason)
        row = {"stream": stream, "first_offset": found.first_offset}
        context.output.row({**row, "retention": found.retention, "holds": found.holds})


def _whole(value: float) -> int:
    """Seconds, bytes or records; no limit is less than one of them."""
    return max(1, math.ceil(value))
