"""`transit checkpoint`: what the store holds now, signed."""

from __future__ import annotations

import click

from transit.cli.opening import Session
from transit.cli.options import store_options
from transit.cli.signing import make_checkpoint, witnesses_of
from transit.cli.trust import (
    POLICY_BYTES_MAX,
    escaped,
    key_option,
    read_file,
    show,
    signing_keys,
    write_new,
)


@click.command()
@key_option
@click.option(
    "--policy", metavar="FILE", type=click.Path(),
    help="Its witnesses that have an address are asked to cosign; its quorum must be met.",
)  # fmt: skip
@click.option("-o", "--output", "file", metavar="FILE", help="Also write it there: a new file.")
@store_options
def command(context: Session, keys: tuple[str, ...], policy: str | None, file: str | None) -> None:
    """Sign what the store holds now, and print the checkpoint: a note that anybody can check.

    Seals first, and with a remote publishes first; the checkpoint goes there too. Where nothing is
    new it is the same one again. Ends with 14 when what was signed before is not the beginning of
    what is here.
    """
    context.check_folder("checkpoint")
    signing = signing_keys(keys)
    asked = None
    if policy is not None:
        text = read_file(policy, POLICY_BYTES_MAX)
        asked = witnesses_of(text, context.configuration.ca_file)
    with context.open_write(create=False, remote=context.remote() is not None) as log:
        facts, note = make_checkpoint(log, signing, asked)
    if file is not None:
        write_new(file, note)
    if not context.output.tables:
        show(context.output, {**facts, "note": note.decode()})
        return
    show(context.output, facts)
    context.output.line("")
    for line in note.decode().splitlines():
        # The dash of a signature line is the note's own; nothing else of it is shown as it is.
        dash = "\u2014 " if line.startswith("\u2014 ") else ""
        context.output.line(dash + escaped(line.removeprefix("\u2014 ")))
