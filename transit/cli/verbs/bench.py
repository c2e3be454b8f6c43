"""`transit bench`: what each durability costs on this disk and in this bucket."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import groupby
from time import perf_counter
from typing import Final

import click

import transit
from transit.cli.contests import RECORD_BYTES_MAX, THREADS, contests
from transit.cli.escapes import printable
from transit.cli.measuring import Contest, Measured, measure
from transit.cli.opening import Session
from transit.cli.options import DURATION, SIZE, store_options
from transit.cli.output import Output
from transit.cli.workplaces import new_folder, new_prefix

ROUNDS: Final = 5
# In less time than this each turn would be a moment.
ROUNDS_SECONDS_MIN: Final = 5.0
ROUNDS_FEW: Final = 3
PREFIX: Final = "transit-bench-"
NOT_MEASURED: Final = (
    "not measured: loss of power, cold caches, several processes, sealing in the background"
)
_TASKS: Final = {
    "append": "append one record",
    "append_many": "append {} records at once",
    "append_threads": f"append from {THREADS} threads",
    "read": "read back",
    "fork_append": "fork, and append one record",
    "publish": "publish",
    "restore": "restore",
}
# Their rates are of bytes; of the others, records.
_IN_BYTES: Final = ("read", "publish", "restore")
_HEADS: Final = ("x raw", "", "rate", "p50", "p99", "rate", "p50", "raw work")
_FORM: Final = "{:>7}  {:<9}{:>11}{:>9}{:>9}  {:>11}{:>9}  {}"


@click.command()
@click.argument("place", metavar="[PLACE]", default=".")
@click.option(
    "--seconds", type=DURATION, default="60", metavar="DURATION",
    help="About how long to measure; a minute when left away.",
)  # fmt: skip
@click.option(
    "--record-bytes", type=SIZE, default="256", metavar="SIZE",
    help="Payload of each record, 64KiB at most; 256 bytes when left away.",
)  # fmt: skip
@store_options
def command(context: Session, place: str, seconds: float, record_bytes: int) -> None:
    """Measure each durability on the disk of PLACE, and in --remote, beside the raw cost.

    Works in a new folder below PLACE, or below the current folder, and below a new prefix of
    --remote; takes up to 500 MiB of disk and removes both at the end. A remote that is only
    configured is left alone. "x raw" says how many times as long it takes as the raw work beside
    it, which has its turns in between. Warm caches, one process, random payloads. Not measured:
    loss of power, cold caches, several processes, sealing in the background.
    """
    if not 1 <= record_bytes <= RECORD_BYTES_MAX:
        raise click.UsageError(f"--record-bytes is from 1 to 64KiB, not {record_bytes}")
    if context.flags.store is not None:
        raise click.UsageError("no store is measured: give a folder as PLACE, not --store")
    above = transit.address_folder(place)
    if above is None:
        raise click.UsageError(f"{place} is no folder: give a remote as --remote")
    given = context.configuration.source("remote") == "--remote"
    address = context.required_remote() if given else None
    remote = nullcontext() if address is None else new_prefix(context, address, PREFIX)
    timeout_s = context.configuration.settings.remote_timeout_s
    began = perf_counter()
    rounds = ROUNDS if seconds >= ROUNDS_SECONDS_MIN else ROUNDS_FEW
    with (
        new_folder(above, PREFIX) as folder,
        remote as open_remote,
        contests(folder, record_bytes, open_remote, timeout_s) as held,
        _progress(context.output, rounds) as report,
    ):
        measured = measure(held, rounds, began + seconds, report)
    if not context.output.tables:
        context.output.rows("", (), measured)
        return
    places = [os.path.abspath(above), *([] if address is None else [address])]
    _print(context.output, measured, f"records of {record_bytes} B in {' and '.join(places)}")
    took_s = perf_counter() - began
    context.output.line(f"\nmedians of {rounds} rounds, {took_s:.0f} s in all")
    context.output.line(NOT_MEASURED)
    if address is None:
        context.output.line("tiered, publish and restore are measured with --remote URL")


@contextmanager
def _progress(output: Output, rounds: int) -> Iterator[Callable[[int, Contest], None]]:
    """What says at a terminal which contest is on, on a line that is gone at the end."""
    if not (sys.stderr.isatty() and output.tables):
        yield lambda number, contest: None
        return

    def report(number: int, contest: Contest) -> None:
        said = f"round {number + 1} of {rounds}: {contest.task} {contest.ours.name}"
        sys.stderr.write(f"\r\x1b[K{said}")
        sys.stderr.flush()

    try:
        yield report
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def _print(output: Output, measured: Sequence[Measured], title: str) -> None:
    output.line(printable(title))
    output.line("")
    output.line(output.style(_FORM.format(*_HEADS), fg="cyan"))
    for task, rows in groupby(measured, key=_task):
        output.line(output.style(task, bold=True))
        for row in rows:
            output.line(_line(row))


def _task(row: Measured) -> str:
    return _TASKS[row.task].format(f"{row.records_per_call:,}")


def _line(row: Measured) -> str:
    if row.task in _IN_BYTES:
        rates = [f"{_scaled(rate)}B/s" for rate in (row.bytes_per_s, row.raw_bytes_per_s)]
    else:
        rates = [f"{_scaled(rate)}/s" for rate in (row.records_per_s, row.raw_records_per_s)]
    return _FORM.format(
        f"{row.times_raw:,.1f}" if row.times_raw < 100 else f"{row.times_raw:,.0f}",
        row.mode,
        rates[0],
        _time(row.p50_s),
        _time(row.p99_s),
        rates[1],
        _time(row.raw_p50_s),
        row.raw,
    )


def _scaled(number: float) -> str:
    """Three digits and the power of 1,000: `12.3 k`."""
    for power in ("", "k", "M", "G"):
        if number < 999.5:
            return f"{_digits(number)} {power}"
        number /= 1000
    return f"{_digits(number)} T"


def _time(seconds: float | None) -> str:
    """Three digits and the unit; a dash for a time that was not taken."""
    if seconds is None:
        return "-"
    for unit, size in (("µs", 1e-6), ("ms", 1e-3)):
        if seconds < 999.5 * size:
            return f"{_digits(seconds / size)} {unit}"
    return f"{_digits(seconds)} s"


def _digits(number: float) -> str:
    return (
        f"{number:.2f}"
        if number < 9.995
        else f"{number:.1f}"
        if number < 99.95
        else f"{number:,.0f}"
    )
