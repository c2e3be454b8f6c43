"""Runs that are there: one by its name, and the classifier that its records name."""

from __future__ import annotations

from typing import NamedTuple

import click

from transit import NotFoundError, Stream, chat
from transit.chat.classifying import Decider
from transit.chat.naming import LAYER, rerun_name
from transit.chat.policies import DECIDE_AT
from transit.chat.records import EVIDENCE, KIND
from transit.chat.verdicts import verdict
from transit.cli.chats.places import TEXT
from transit.cli.failures import hinted

of_option = click.option(
    "--of", "run_name", type=TEXT, metavar="RUN", help="As RUN has them, which is not in force."
)


class Recorded(NamedTuple):
    """A classifier as its records name it. It says nothing more."""

    name: str
    version: str = ""
    digest: str = ""

    def decider(self) -> Decider:
        """None: its code is not here."""
        raise NotImplementedError(f"{self.name} is known from its records alone")


def run_of(channel: chat.Channel, name: str) -> chat.Threading:
    """The run of this name; `NotFoundError` where there is none, with what to type next."""
    layer, whole = channel.log.layer(LAYER), rerun_name(channel.stream.uid, name)
    with hinted(NotFoundError, f"`transit chat runs {channel.name}` lists the runs"):
        if whole not in layer:
            raise NotFoundError(f"{channel.name} has no run {name!r}")
    stream = layer.stream(whole)
    return chat.Threading(channel, recorded(stream), DECIDE_AT, chat.Threads(channel, stream))


def threads_of(channel: chat.Channel, run: str | None) -> chat.Threads:
    """The threads that are in force, or those of a run."""
    return channel.threads() if run is None else run_of(channel, run).threads


def recorded(stream: Stream) -> Recorded:
    """The classifier whose decisions end a stream."""
    last = None
    for batch in stream.batches(stream.first_offset):
        for offset, headers in zip(batch.offsets, batch.headers, strict=True):
            if headers.get(KIND) == EVIDENCE:
                last = offset
    if last is None:
        return Recorded("")
    said = verdict(stream[last])
    assert isinstance(said, chat.Decision)
    return Recorded(said.classifier, said.version, said.digest)
