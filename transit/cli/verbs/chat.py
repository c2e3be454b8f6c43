"""`transit chat`: channels, threads and decisions."""

from __future__ import annotations

import click

from transit.cli.chats.comparing import compare
from transit.cli.chats.frozen import freeze, frozen
from transit.cli.chats.importing import import_
from transit.cli.chats.marking import seen, unread
from transit.cli.chats.overriding import override
from transit.cli.chats.policies import policy
from transit.cli.chats.posting import channels, post, reply
from transit.cli.chats.reading import read
from transit.cli.chats.running import adopt, rerun, run, runs
from transit.cli.chats.threads import show, threads


class InOrder(click.Group):
    """A group that lists its sub-verbs as they are used, rather than by the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All of them."""
        return list(self.commands)


@click.group(cls=InOrder)
def command() -> None:
    """Talk in channels, see who answers whom, and correct it.

    A channel holds messages in one order. Which thread each is in is decided beside them, by
    classifiers and by people, in records that say who, why and how surely. A message is named
    CHANNEL@OFFSET, and the last one CHANNEL@-1.
    """


for each in (
    post, read, channels, threads, show, reply, override, run, rerun, runs, compare, adopt, policy,
    freeze, frozen, unread, seen, import_,
):  # fmt: skip
    command.add_command(each)
