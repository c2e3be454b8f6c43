"""`transit verify`: every byte of the store, read again."""

from __future__ import annotations

import click

from transit import Policy
from transit.cli.findings import tell
from transit.cli.keeping import checkpoint_option, signer_options
from transit.cli.opening import Session
from transit.cli.options import place_argument, store_options


@click.command()
@place_argument
@checkpoint_option
@signer_options
@store_options
def command(context: Session, checkpoint: bytes | None, policy: Policy | None) -> None:
    """Check every byte of the store, and run its merges again.

    Ends with 7 when something is wrong; the report says what and where.
    """
    with context.open_read(checkpoint) as log:
        report = log.verify(policy=policy)
    tell(context.output, log.path, report)
