"""`transit takeover`: the store taken over in a standby's folder."""

from __future__ import annotations

import click

from transit import NotFoundError
from transit.cli.failures import hinted
from transit.cli.opening import Session
from transit.cli.options import store_options
from transit.cli.standbys import may_miss, open_standby, standby_row, takeover_row


@click.command()
@click.argument("folder", type=click.Path(file_okay=False))
@click.option("--reason", default="", help="Kept with it.")
@click.option("--by", metavar="NAME", help="Who takes over; else this machine's name.")
@click.option("--dry-run", is_flag=True, help="Say what may be missed, and change nothing.")
@store_options
def command(context: Session, folder: str, *, reason: str, by: str | None, dry_run: bool) -> None:
    """Bring what the remote has to FOLDER, and fence off the writer before.

    From then on what that writer publishes is refused; it loses nothing in its folder. FOLDER is
    a store to write to once this has ended. Nothing needs to be said to a `transit standby` of it.
    """
    with (
        hinted(NotFoundError, "`transit config` says which remote"),
        open_standby(context, folder) as standby,
    ):
        if dry_run:
            context.output.row({**standby_row(standby.dry_run()), "dry_run": True})
            return
        log, takeover = standby.take_over(reason=reason, by=by)
    log.close()
    row = {"path": standby.path, **takeover_row(takeover), "may_miss": may_miss(takeover.written)}
    context.output.row({**row, "fenced_epoch": takeover.epoch})
