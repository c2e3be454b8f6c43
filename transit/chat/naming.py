"""Names of the streams that a channel has beside itself.

    $chat/decisions/<uid>       what classifiers decided, and what people said of it
    $chat/decisions/<uid>/<n>   the same from the n-th adoption on: a merge
    $chat/reruns/<uid>/<name>   another run of a classifier: a branch of the decisions
    $chat/readers/<uid>/<who>   how far somebody has seen each thread
    $chat/policy/<uid>          how the channel is threaded
    <channel>/t/<offset>        replies in the thread that begins there: a branch of the channel
    <channel>/frozen/<offset>   that thread, frozen: a merge; -2, -3, … where there are several

<uid> is the channel's: it stays with the channel where that is published, restored, exported and
imported. Each of the room's own streams names it as `about_uid` in its metadata, too: an export
with the channel's lineage takes them along. A rebase brings them as it brings the user's streams.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote

from transit import AlreadyExistsError, InvalidInputError, Log, NotFoundError, Stream
from transit.chat.records import KIND

LAYER: Final = "chat"
CHANNEL_ID: Final = "channel_id"
ABOUT: Final = "about_uid"
_NAME_MAX: Final = 200
"""Characters of a reader's or a run's name in a stream's name."""


def decisions_name(uid: str, adoption: int = 0) -> str:
    """The stream of decisions of a channel, from an adoption on."""
    return f"decisions/{uid}/{adoption}" if adoption else f"decisions/{uid}"


def reruns_prefix(uid: str) -> str:
    """What the names of runs of a channel begin with."""
    return f"reruns/{uid}/"


def rerun_name(uid: str, name: str) -> str:
    """The stream of one run."""
    return reruns_prefix(uid) + _quoted(name, "name of a run")


def readers_prefix(uid: str) -> str:
    """What the names of the streams of a channel's readers begin with."""
    return f"readers/{uid}/"


def reader_name(uid: str, who: str) -> str:
    """The stream of one reader."""
    return readers_prefix(uid) + _quoted(who, "a reader")


def policy_name(uid: str) -> str:
    """The stream of a channel's policy."""
    return f"policy/{uid}"


def last_part(name: str) -> str:
    """What the last part of a name stands for."""
    return unquote(name.rpartition("/")[2])


def branch_name(channel: str, anchor: int) -> str:
    """The branch for the replies in a thread."""
    return f"{channel}/t/{anchor}"


def frozen_prefix(channel: str) -> str:
    """What the names of frozen threads begin with."""
    return f"{channel}/frozen/"


def metadata_of(channel: Stream, kind: str) -> dict[str, str]:
    """Metadata of a stream of the room that is about a channel."""
    return {KIND: kind, CHANNEL_ID: channel.name, ABOUT: channel.uid}


def ensure(log: Log, name: str, metadata: Mapping[str, str]) -> Stream:
    """The stream of the layer with this name; made where there is none."""
    layer = log.layer(LAYER)
    try:
        return layer.stream(name)
    except NotFoundError:
        pass
    try:
        return layer.create(name, metadata, codec="json")
    except AlreadyExistsError:
        # Another thread or process made it meanwhile.
        return layer.stream(name)


def find(log: Log, name: str) -> Stream | None:
    """The stream of the layer with this name; None where there is none."""
    try:
        return log.layer(LAYER).stream(name)
    except NotFoundError:
        return None


def _quoted(text: object, what: str) -> str:
    if not isinstance(text, str) or not text:
        raise InvalidInputError(f"{what} must be text that is not empty")
    quoted = quote(text, safe="")
    if len(quoted) > _NAME_MAX:
        raise InvalidInputError(f"{what} is longer than {_NAME_MAX} characters, percent-encoded")
    return quoted
