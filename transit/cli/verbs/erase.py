"""`transit erase`: the bytes of what was deleted or trimmed are freed."""

from __future__ import annotations

import click
import msgspec

from transit.cli.opening import Session
from transit.cli.options import place_argument, store_options
from transit.cli.values import moment_text


@click.command()
@place_argument
@click.option("--bypass-governance", is_flag=True, help="Also what is locked in governance mode.")
@store_options
def command(context: Session, bypass_governance: bool) -> None:
    """Free the bytes of all that was deleted or trimmed, in the folder and, with --remote, there.

    What locks of a bucket keep is hidden, and counted. Replicas are freed too; those that are away
    are named, and are freed when they follow. Copies of the store elsewhere are not reached.
    Interrupted, it goes on when it is called again.
    """
    context.check_folder("erase")
    remote = context.remote is not None
    with (
        context.open_write(create=False, remote=remote) as log,
        context.output.progress("erase") as report,
    ):
        erased = log.erase(report, bypass_governance=bypass_governance)
    until = moment_text(erased.until) if erased.until > 0 else erased.until
    context.output.row({**msgspec.structs.asdict(erased), "until": until})
