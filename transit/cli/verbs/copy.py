"""`transit copy`: a published store brought to another remote."""

from __future__ import annotations

import click

import transit
from transit import ConflictError, CorruptError, NotFoundError
from transit.cli.configuration import reachable, shown_address
from transit.cli.failures import hinted
from transit.cli.findings import tell
from transit.cli.opening import Session
from transit.cli.options import store_options
from transit.cli.output import plain
from transit.cli.values import moment_text


@click.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--level", help="Of the audit: roots (default), bodies, or sample:SHARE.")
@click.option("--no-audit", is_flag=True, help="Do not audit what is in TO at the end.")
@click.option(
    "--verify", is_flag=True, help="Read what is in TO already, and mend what is damaged."
)
@click.option("--bypass-governance", is_flag=True, help="Erase also what such a lock keeps.")
@store_options
def command(
    context: Session,
    source: str,
    target: str,
    level: str | None,
    no_audit: bool,
    verify: bool,
    bypass_governance: bool,
) -> None:
    """Copy the published store in FROM to TO, and audit what is there then.

    TO is empty, or an earlier copy: what is new is brought, and what FROM erased is erased.
    Interrupted and called again, it goes on where it stopped. The configured store has no part in
    it; the configured options of remotes are for both. Ends with 7 when the audit finds something.
    """
    if level is not None and no_audit:
        raise click.UsageError("--level is of the audit, and --no-audit makes none")
    places = reachable(source), reachable(target)
    hint = f"`transit audit {shown_address(source)}` says what is there"
    other = f"give an empty place, or compare with `transit audit {shown_address(target)}`"
    with (
        context.output.progress("copy") as report,
        hinted(NotFoundError, hint),
        hinted(CorruptError, hint),
        hinted(ConflictError, other),
    ):
        copied = transit.copy(
            *places,
            level=None if no_audit else level or "roots",
            verify=verify,
            bypass_governance=bypass_governance,
            source_options=context.storage_options(places[0]),
            target_options=context.storage_options(places[1]),
            settings=context.configuration.settings,
            progress=report,
        )
    row = plain(copied)
    row["until"] = moment_text(copied.until) if copied.until > 0 else copied.until
    del row["report"]
    context.output.row(row)
    if copied.report is not None:
        tell(context.output, str(shown_address(copied.target)), copied.report)
