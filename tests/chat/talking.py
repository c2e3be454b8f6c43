"""Channels to test with, and a classifier that is told what to say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import transit
from transit import chat
from transit.chat.classifying import Candidate, Ranking, Said

Answer = int | None | tuple[int | None, float]


class Told:
    """Says what it was told of each message: by the word after the last colon, or `given`.

    `look: 3` answers message 3; `look: -` starts a thread; `look: 3 0.5` is less sure. Without one
    it says nothing.
    """

    def __init__(self, given: Mapping[int, Answer] | None = None, name: str = "told") -> None:
        self.name, self.version, self.digest = name, "1", ""
        self.given = given
        self.seen: list[int] = []

    def decider(self) -> Told:
        made = Told(self.given, self.name)
        made.seen = []
        return made

    def see(self, said: Said) -> None:
        self.seen.append(said.offset)

    def decide(self, said: Said) -> Ranking:
        assert said.offset not in self.seen
        if self.given is not None:
            answer = self.given.get(said.offset, ...)  # type: ignore[call-overload]
            if answer is ...:
                return []
            found = answer if isinstance(answer, tuple) else (answer, 0.9)
            return [Candidate(*found)]
        words = said.text.rpartition(":")[2].split()
        if not words or ":" not in said.text:
            return []
        parent = None if words[0] == "-" else int(words[0])
        return [Candidate(parent, float(words[1]) if len(words) > 1 else 0.9)]


class Last:
    """Everything answers the message before it."""

    name, version, digest = "last", "1", "d" * 64

    def decider(self) -> Last:
        made = Last()
        made.before = None
        return made

    before: int | None = None

    def see(self, said: Said) -> None:
        self.before = said.offset

    def decide(self, said: Said) -> Ranking:
        return [Candidate(self.before, 0.9), Candidate(None, 0.1)]


@contextmanager
def a_channel(folder: Path, mode: str = "exclusive", name: str = "dev") -> Iterator[chat.Channel]:
    """A new channel in a store of its own."""
    with transit.open(folder / "s", mode=mode, durability="os") as log:
        yield chat.channel(log, name)


def say(channel: chat.Channel, *texts: str, author: str = "ada") -> list[transit.Receipt]:
    """Post several messages."""
    return [channel.post(author, text) for text in texts]


def shape(threads: chat.Threads) -> dict[int, list[int]]:
    """The threads by their first messages, those too that are suppressed."""
    return {thread.root: list(thread.members) for thread in threads.all()}


def texts(messages: Sequence[chat.Message] | Iterator[chat.Message] | chat.Thread) -> list[str]:
    """What was said."""
    return [message.text for message in messages]


def refused(error: type[Exception], call: Callable[[], object]) -> str:
    """The message of the error that a call raises."""
    try:
        call()
    except error as found:
        return str(found)
    raise AssertionError(f"no {error.__name__}")
