"""`transit chat policy`: which classifier threads a channel, and how sure that has to be."""

from __future__ import annotations

import click

from transit.chat.policies import BUILT_IN
from transit.cli.chats.places import by_option, channel_argument, channel_of, who
from transit.cli.chats.rows import Row, moment, ref
from transit.cli.opening import Session
from transit.cli.options import store_options


@click.command()
@channel_argument
@click.option("--classifier", type=click.Choice(BUILT_IN), help="Of those that run it.")
@click.option("--decide-at", type=click.FloatRange(0, 1), metavar="P",
              help="What scores less is only proposed.")  # fmt: skip
@by_option
@store_options
def policy(
    context: Session, name: str, classifier: str | None, decide_at: float | None, by: str | None
) -> None:
    """Print or set how a channel is threaded.

    That counts for every run that names no classifier, whoever runs it.
    """
    setting = classifier is not None or decide_at is not None
    if by is not None and not setting:
        raise click.UsageError("--by is for --classifier and --decide-at")
    with context.open_write(create=False) if setting else context.open_read() as log:
        channel = channel_of(log, name)
        if setting:
            found = channel.set_policy(by=who(by), classifier=classifier, decide_at=decide_at)
        else:
            found = channel.policy
    row: Row = {
        "channel": name,
        "classifier": found.classifier,
        "decide_at": found.decide_at,
        "by": found.by,
        "time": moment(found.time) if found.position is not None else None,
        "record": None if found.position is None else ref(found.position),
    }
    context.output.row(row)
