"""`transit audit`: a store that is not trusted, derived again from its bytes."""

from __future__ import annotations

import click

import transit
from transit import NotFoundError, Policy
from transit.cli.configuration import reachable, shown_address
from transit.cli.failures import hinted
from transit.cli.findings import tell
from transit.cli.keeping import checkpoint_option, signer_options
from transit.cli.opening import Session
from transit.cli.options import store_options


@click.command()
@click.argument("address", metavar="[REMOTE|PATH]", required=False)
@click.option("--level", default="bodies", help="roots, bodies (default), or sample:SHARE.")
@click.option("--trusted-root", metavar="HEX", help="A root that was written down earlier.")
@click.option("--seed", type=int, help="Of the sample.")
@checkpoint_option
@signer_options
@store_options
def command(
    context: Session,
    address: str | None,
    level: str,
    trusted_root: str | None,
    seed: int | None,
    checkpoint: bytes | None,
    policy: Policy | None,
) -> None:
    """Check a remote, or a folder's sealed part, trusting nothing that is there.

    Without an address: the remote, or the store when no remote is configured. With a checkpoint
    that you kept, a history that does not extend it is a finding. Ends with 7 when something is
    wrong.
    """
    if not address and context.remote() is None:
        context.check_folder("audit")
    chosen = reachable(address) if address else context.remote() or context.store()
    hint = (
        "name the place that holds the store's FORMAT: a folder, or the address it is published to"
    )
    with context.output.progress("audit") as progress, hinted(NotFoundError, hint):
        report = transit.audit(
            chosen,
            level,
            trusted_root=trusted_root,
            seed=seed,
            checkpoint=checkpoint,
            policy=policy,
            storage_options=context.storage_options(chosen),
            settings=context.configuration.settings,
            progress=progress,
            keyring=context.keyring,
        )
    tell(context.output, str(shown_address(chosen)), report)
