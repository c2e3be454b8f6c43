"""What the verbs that let records go have in common."""

from __future__ import annotations

from typing import Final

import click

from transit import Deletion
from transit.cli.failures import CommandError
from transit.cli.output import Output

BASES: Final = ("owner", "gdpr-17", "retention", "court")
REFUSED: Final = 16
NEEDED: Final = 17

BASIS = click.option(
    "--basis", type=click.Choice(BASES), default="owner", show_default=True,
    help="What it rests on; gdpr-17 and court go before --keep-for.",
)  # fmt: skip


def tell_deletion(output: Output, done: Deletion, dry_run: bool) -> None:
    """Print what went, or would go; a dry run that is refused ends with the code of a refusal."""
    facts = {
        "streams": done.streams,
        "records": done.records,
        "bytes_here": done.bytes_here,
        "bytes_remote": done.bytes_remote,
        "done": not dry_run,
    }
    if done.keys:
        # Of an encrypted store alone.
        facts["keys"] = done.keys
    output.row({**facts, "in_the_way": done.hindrance} if dry_run else facts)
    if done.refused:
        exit_code = NEEDED if done.dependents else REFUSED
        raise CommandError(done.hindrance, kind="refused", exit_code=exit_code)
