"""What other chat systems export, as the records of channels.

    items      what a file holds, in one shape for all formats
    irc        text logs of IRC; `lines` takes their lines apart
    slack      exports of Slack workspaces
    discord    JSON of DiscordChatExporter
    mbox       mailboxes; `mails` parts their mails
    matrix     events of Matrix, exports of Element
    detecting  which of the formats a file has

    trees      files, folders and archives under one shape
    documents  JSON that may be damaged; `scanner` finds where its values end
    records    objects of JSON whose members may be anything
    repeats    ids that are there again
    times      times as UTC nanoseconds
    faults     what is wrong at one place, or with a whole file

`read` gives the items of an export. It looks at a path only when it is asked to. Reading needs
memory for one record, or for one document of up to `documents.WHOLE_BYTES_MAX` at a time, and about
130 bytes an id of a channel: 16 for Slack's that come in the order of time, none for IRC's.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from pathlib import Path

from transit import InvalidInputError
from transit.chat.imports import discord, irc, matrix, mbox, slack
from transit.chat.imports.detecting import FORMATS, detect
from transit.chat.imports.faults import is_folder
from transit.chat.imports.items import Item

__all__ = ["FORMATS", "detect", "read"]

_READERS: dict[str, Callable[..., Iterator[Item]]] = {
    "slack": slack.read,
    "discord": discord.read,
    "matrix": matrix.read,
}


def read(
    path: str | Path,
    format: str = "auto",
    *,
    channel: str | None = None,
    date: datetime.date | None = None,
) -> Iterator[Item]:
    """The items of the export at `path`, in the order of its conversation.

    format: one of `FORMATS`, or "auto": what `detect` says. channel: the name of the channel, for a
    log of IRC and a mailbox, which do not say it; else the one channel that is wanted, by name or
    id. date: the day of the first line of a log of IRC.

    Raises InvalidInputError or NotFoundError for what cannot be read at all, and gives a `Bad` for
    each record that cannot.
    """
    if format == "auto":
        format = detect(path)
    if format not in FORMATS:
        raise InvalidInputError(f"format={format!r} is none of {', '.join(FORMATS)}")
    if date is not None and format != "irc":
        raise InvalidInputError(f"date= is for logs of IRC, and {path} is read as {format}")
    if is_folder(Path(path)) and format in ("irc", "mbox"):
        raise InvalidInputError(f"{path}: is a folder, and format {format!r} is one file")
    if format == "irc":
        return irc.read(path, channel=channel, date=date)
    if format == "mbox":
        return mbox.read(path, channel=channel)
    return _READERS[format](path, channel=channel)
