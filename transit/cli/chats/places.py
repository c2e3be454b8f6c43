"""From what was typed to channels and messages of an open store; options that sub-verbs share."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from transit import Log, NotFoundError, Position, chat
from transit.chat.records import CHANNEL_ROOT, KIND, THREAD_BRANCH
from transit.cli.failures import CommandError, hinted
from transit.cli.flags import Flags
from transit.cli.lines import read_whole
from transit.cli.options import COMPLETIONS_MAX, ParsedType
from transit.cli.standard import STDIN, standard_input
from transit.cli.values import Place, parse_moment, parse_place

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Decorated = Callable[..., Any]
_CHANNELS_HINT: Final = "`transit chat channels` lists the channels"


class ChannelType(ParsedType):
    """A channel, which the shell completes from the store."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Channels of the configured store whose names start as typed."""
        # Imported here: only a shell that completes needs it.
        from click.shell_completion import CompletionItem

        # Imported here: only a shell that completes needs it.
        from transit.cli.opening import Session

        try:
            with Session(ctx.find_root().ensure_object(Flags)).open_read() as log:
                names = [each.name for each in chat.channels(log, incomplete)]
        except Exception:
            # Whatever is wrong, completion in a shell must not print it.
            return []
        return [CompletionItem(name) for name in names[:COMPLETIONS_MAX]]


def _unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("not UTF-8: what is said in a channel is text") from None
    return text


def _message(text: str) -> Place:
    place = parse_place(text)
    if place.offset is None or place.stop is not None:
        raise ValueError(f"{text!r} is not CHANNEL@OFFSET, such as dev@12, or dev@-1 for the last")
    return place


def _bound(text: str) -> tuple[str, int]:
    """An offset as it is, or a moment."""
    return ("offset", int(text)) if text.isdecimal() else ("time", parse_moment(text))


TEXT = ParsedType("text", _unicode)
CHANNEL = ChannelType("channel", _unicode)
MESSAGE = ParsedType("channel@offset", _message)
BOUND = ParsedType("offset|time", _bound)

channel_argument = click.argument("name", metavar="CHANNEL", type=CHANNEL)
message_argument = click.argument("place", metavar="CHANNEL@OFFSET", type=MESSAGE)
by_option = click.option(
    "--by", type=TEXT, metavar="WHO", help="Who says it; else the name you are logged in with."
)
reason_option = click.option("--reason", type=TEXT, default="", help="Kept with it.")
full_option = click.option("--full", is_flag=True, help="Print long texts whole.")


def channel_of(log: Log, name: str) -> chat.Channel:
    """The channel of this name; `NotFoundError` where there is none, with what to type next."""
    with hinted(NotFoundError, _CHANNELS_HINT):
        stream = log.stream(name)
    if stream.metadata.get(KIND) != CHANNEL_ROOT:
        raise CommandError(f"{name} is a stream, and no channel", hint=_CHANNELS_HINT)
    return chat.Channel(log, stream)


def message_of(log: Log, place: Place) -> tuple[chat.Channel, Position]:
    """A message typed as CHANNEL@OFFSET, or that of a reply in a thread's branch.

    An offset below 0 counts messages from the end.
    """
    with hinted(NotFoundError, _CHANNELS_HINT):
        stream = log.stream(place.stream)
    if stream.metadata.get(KIND) == THREAD_BRANCH and stream.parents:
        # By its uid: the channel may be hidden.
        channel = chat.Channel(log, log.stream(uid=stream.parent_uids[0]))
    else:
        channel = channel_of(log, place.stream)
    return channel, position_in(channel, place.stream, place.offset or 0)


def position_in(channel: chat.Channel, stream: str, offset: int) -> Position:
    """The position of a message in the channel, or in a branch of it; `NotFoundError` for none."""
    with hinted(NotFoundError, f"`transit chat read {channel.name}` shows what there is"):
        if offset < 0:
            index = channel.index if stream == channel.name else channel.branch(stream)[1]
            known = list(index.messages(0))
            if len(known) + offset < 0:
                raise NotFoundError(f"{stream} has {len(known)} messages, and no message {offset}")
            offset = known[offset]
        channel.find(Position(stream, offset))
    return Position(stream, offset)


@contextmanager
def told(channel: chat.Channel) -> Iterator[None]:
    """Errors for a message that is not there, raised within, say how to find the others."""
    with hinted(NotFoundError, f"`transit chat read {channel.name}` shows what there is"):
        yield


def who(by: str | None) -> str:
    """Who says something: as typed, or the name that the user is logged in with."""
    if by:
        return by
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # The user has no name on this machine.
        raise CommandError(
            "nobody is named who says it", hint="give --by WHO: it is kept with what is said"
        ) from None


def text_of(text: str, bytes_max: int) -> str:
    """TEXT as typed; `-`: the standard input, without the line end that closes it."""
    if text != STDIN:
        return text
    data = read_whole(standard_input(), bytes_max)
    if data is None:
        raise CommandError(f"standard input: more than {bytes_max} bytes")
    try:
        return data.decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise CommandError(
            f"standard input: not UTF-8 at byte {error.start}",
            hint="what is said in a channel is text: iconv -t UTF-8 makes it so",
        ) from None
