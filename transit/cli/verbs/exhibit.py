"""`transit exhibit`: a run as one file, with the proof that it is all of it."""

from __future__ import annotations

import os

import click

from transit.cli.configuration import reachable
from transit.cli.failures import CommandError
from transit.cli.opening import Session
from transit.cli.options import STREAM, store_options
from transit.cli.trust import NOTE_BYTES_MAX, read_file, show


@click.command()
@click.argument("run", type=STREAM)
@click.option(
    "-o", "--output", "file", metavar="FILE", required=True, type=click.Path(),
    help="A zip; what is there is replaced.",
)  # fmt: skip
@click.option(
    "--checkpoint", "note", metavar="FILE", type=click.Path(),
    help="The checkpoint to stand on; else the newest of the store.",
)  # fmt: skip
@store_options
def command(context: Session, run: str, file: str, note: str | None) -> None:
    """Put RUN into one file: transcript, records, artifacts, notes, and the proofs of them.

    The proofs show that these records were there at the checkpoint, and no others. `transit proof
    check FILE` checks all of it, and HOW.txt in it says how standard tools do. Child runs are
    named, and have exhibits of their own.
    """
    # Loaded here: `--help` needs nothing of runs.
    from transit.trace.files.exhibits import exhibit
    from transit.trace.names import is_run  # likewise

    given = None if note is None else read_file(note, NOTE_BYTES_MAX)
    with context.open_read() as log:
        stream = log.stream(run)
        if not is_run(stream):
            raise CommandError(f"{run!r} is no run", hint="`transit proof make` is for any stream")
        exhibit(log, stream, reachable(file), checkpoint=given)
        facts = {"file": file, "run": stream.name, "bytes": os.path.getsize(reachable(file))}
    show(context.output, facts)
