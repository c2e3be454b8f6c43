"""`transit tap`: a command's output recorded while it runs."""

from __future__ import annotations

import click

from transit import Log, Stream, TransitError
from transit.cli.failures import IO, CommandError
from transit.cli.opening import Session
from transit.cli.options import HEADER, STREAM, pairs, store_options
from transit.cli.tapping import (
    LINE_BYTES_MAX,
    NOT_FOUND,
    RESERVED_HEADERS,
    Outcome,
    Recorder,
    Signals,
    run,
)


@click.command()
@click.argument("stream", type=STREAM)
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND…")
@click.option("--create", is_flag=True, help="Make the stream when there is none.")
@click.option("--header", type=HEADER, multiple=True, help="For every record; may be repeated.")
@store_options
def command(
    context: Session,
    stream: str,
    argv: tuple[str, ...],
    create: bool,
    header: tuple[tuple[str, str], ...],
) -> None:
    """Run COMMAND, pass its input and output through, and record every line in STREAM.

    Ends as COMMAND does: with its exit code, or 128 + the signal that ended it; 127 when it is not
    found, 126 when it cannot be run; 8 when it succeeded but not all of it could be recorded, or
    passed on.
    """
    headers = pairs(header)
    reserved = sorted(RESERVED_HEADERS & headers.keys())
    if reserved:
        raise click.UsageError(f"--header {reserved[0]}=… is what tap itself says")
    # Before the store starts threads: a signal must reach the one that waits for it.
    with Signals() as signals:
        log = context.open_write(create=create)
        try:
            recorder = Recorder(_stream(log, stream, create), headers)
            outcome = run(argv, recorder, signals, _piece_bytes_max(log))
        except BaseException:
            log.close()
            raise
        _close(log, recorder)
    _end(stream, outcome, recorder)


def _stream(log: Log, name: str, create: bool) -> Stream:
    return log.create(name) if create and name not in log else log.stream(name)


def _piece_bytes_max(log: Log) -> int:
    """What fits a record, and beside others a frame."""
    limits = log.settings
    return max(1, min(LINE_BYTES_MAX, limits.record_bytes_max, limits.frame_bytes_max // 4))


def _close(log: Log, recorder: Recorder) -> None:
    try:
        log.close()
    except TransitError as error:
        # The command's exit code is what its caller waits for; this is told with it.
        recorder.error = recorder.error or error


def _end(stream: str, outcome: Outcome, recorder: Recorder) -> None:
    if recorder.error is not None:
        raise CommandError(
            f"{stream}: not all was recorded: {recorder.error}",
            kind="not_recorded",
            exit_code=outcome.code or IO,
            hint="the command itself was not disturbed",
            fields={"stream": stream, "lost": recorder.lost, "code": outcome.code},
        )
    if outcome.failure:
        missing = outcome.code == NOT_FOUND
        raise CommandError(
            outcome.failure,
            kind="command_not_found" if missing else "command_not_executable",
            exit_code=outcome.code,
        )
    if outcome.unwritten and not outcome.code:
        raise CommandError(
            f"{outcome.unwritten}; the rest of the output was not recorded either",
            kind="io",
            exit_code=IO,
            fields={"stream": stream},
        )
    raise click.exceptions.Exit(outcome.code)
