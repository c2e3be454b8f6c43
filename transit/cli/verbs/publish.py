"""`transit publish`: what the remote lacks, brought there."""

from __future__ import annotations

import click

from transit import Published
from transit.cli.configuration import shown_address
from transit.cli.failures import INTERNAL, CommandError
from transit.cli.opening import Session
from transit.cli.options import place_argument, store_options
from transit.cli.output import plain
from transit.cli.signing import make_checkpoint
from transit.cli.trust import key_option, show, signing_keys


@click.command()
@click.option("--checkpoint", is_flag=True, help="And a signed checkpoint over it; needs --key.")
@key_option
@place_argument
@store_options
def command(context: Session, checkpoint: bool, keys: tuple[str, ...]) -> None:
    """Seal what was written, and bring to the remote what it lacks; then to its replicas.

    Interrupted and called again, it goes on where it stopped. Ends with 1 when a replica could not
    follow.
    """
    if keys and not checkpoint:
        raise click.UsageError("--key is for --checkpoint")
    if context.is_served:
        if checkpoint:
            context.check_folder("publish --checkpoint")
        with context.open_write() as log:
            published = log.publish()
        context.output.row(published)
        _check_replicas(published)
        return
    signing = signing_keys(keys) if checkpoint else None
    context.required_remote(join=True)
    facts: dict[str, object] = {}
    with (
        context.open_write(create=False, remote=True) as log,
        context.output.progress("publish") as report,
    ):
        published = log.publish(report)
        if signing is not None:
            facts, _ = make_checkpoint(log, signing, None)
    if signing is None:
        context.output.row(published)
    else:
        show(context.output, {**plain(published), "checkpoint": facts})
    _check_replicas(published)


def _check_replicas(published: Published) -> None:
    for each in published.replicas:
        if each.error:
            raise CommandError(
                f"replica {shown_address(each.url)}: {each.error}",
                kind="partly_failed",
                exit_code=INTERNAL,
                hint="the remote has all of it; publish again when the replica can be reached",
            )
