"""What comes to a channel while it is read: messages, changes of them, replies, decisions.

The channel is waited for. Decisions and replies are in streams of their own, of which more may be
made at any time: they are looked for whenever it has a pause, and told after what they are about.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from transit import NotFoundError, Record, Stream, TransitError, chat
from transit.chat.messages import messages
from transit.chat.records import (
    AUTHOR,
    CHANGES,
    EDIT,
    EVIDENCE,
    KIND,
    MALFORMED,
    OVERRIDE,
    REMOVAL,
    decode_edit,
    decode_reaction,
    decode_removal,
)
from transit.chat.verdicts import verdict
from transit.cli.chats.reasons import Reason, thread_words, words_of
from transit.cli.chats.rows import Row, message_row, moment, ref, verdict_row
from transit.cli.failures import TIMEOUT, CommandError
from transit.cli.output import Output

_PAUSE_S: Final = 0.5
Told = Callable[[Row, str], None]


class Following:
    """One reader that waits. say: prints a message; tell: prints what is said of one."""

    def __init__(
        self, output: Output, channel: chat.Channel, say: Callable[[chat.Message], None], tell: Told
    ) -> None:
        self._output, self._channel = output, channel
        self._say, self._tell = say, tell
        self._threads = channel.threads()
        self._decisions = self._threads.stream
        self._decided = 0 if self._decisions is None else self._decisions.next_offset
        branches = channel.index.branches.values()
        self._replied = {name: channel.branch(name)[1].stop for name in branches}
        # Branches with more replies; the watch adds to it in a thread of its own.
        self._changed: set[str] = set()

    def run(self, start: int, timeout: float | None) -> None:
        """Print what comes from offset `start` on; `CommandError` where nothing came in time."""
        self._output.flush()
        with self._channel.log.watch(self._note):
            # What came before the watch began is told as well.
            self._changed.update(self._channel.index.branches.values())
            self._run(start, timeout)

    def _note(self, streams: Sequence[Stream]) -> None:
        prefix = f"{self._channel.name}/t/"
        self._changed.update(each.name for each in streams if each.name.startswith(prefix))

    def _run(self, position: int, timeout: float | None) -> None:
        channel, came = self._channel, time.monotonic()
        pause = _PAUSE_S if timeout is None else min(_PAUSE_S, timeout)
        while True:
            # Looked at before the channel is read: what they are about is printed before them.
            heads = self._heads()
            before, position = position, self._drain(position, 0 if heads else pause)
            for told in self._beside(heads):
                self._tell(*told)
            if heads or position != before:
                came = time.monotonic()
                self._output.flush()
            elif channel.stream.finished:
                return
            elif timeout is not None and time.monotonic() - came >= timeout:
                raise CommandError(
                    f"{channel.name}: nothing came for {timeout:g} seconds",
                    kind="timeout",
                    exit_code=TIMEOUT,
                    fields={"channel": channel.name},
                )

    def _drain(self, position: int, pause: float) -> int:
        """Print what is in the channel, or comes within the pause; where it goes on."""
        stream = self._channel.stream
        for record in stream.tail(position, pause):
            self._take(record)
            position = record.offset + 1
            self._output.flush()
            if position >= stream.next_offset:
                break
        return position

    def _take(self, record: Record) -> None:
        index, offset = self._channel.index, record.offset
        if index.kind(offset):
            self._threads.refresh()
            self._say(self._channel.message(offset))
        elif record.headers.get(KIND) in CHANGES:
            changed = _change(record)
            if changed is not None:
                self._tell(*changed)

    def _heads(self) -> dict[str, int]:
        """Streams beside the channel with more than was printed, and where each ends."""
        heads: dict[str, int] = {}
        stream = self._channel.threads().stream
        if stream is not None and stream != self._decisions:
            # The first decision made it, or a run was adopted: what that has anew is told.
            self._decided = 0 if self._decisions is None else stream.next_offset
            self._decisions = stream
        if stream is not None and stream.next_offset > self._decided:
            heads[stream.name] = stream.next_offset
        while self._changed:
            name = self._changed.pop()
            with suppress(NotFoundError):
                stop = self._channel.log.stream(name).next_offset
                if stop > self._replied.get(name, 0):
                    heads[name] = stop
        return heads

    def _beside(self, heads: Mapping[str, int]) -> Iterator[tuple[Row, str]]:
        for name, stop in heads.items():
            if self._decisions is not None and name == self._decisions.name:
                yield from self._verdicts(self._decisions, stop)
            else:
                yield from self._replies(name, stop)

    def _verdicts(self, stream: Stream, stop: int) -> Iterator[tuple[Row, str]]:
        self._threads.refresh()
        for record in stream.read(self._decided, stop):
            if record.headers.get(KIND) in (EVIDENCE, OVERRIDE):
                said = verdict(record)
                row = verdict_row(said)
                assert row is not None
                yield {**row, "thread": self._threads.fold.root(said.message)}, _words(said)
        self._decided = stop

    def _replies(self, name: str, stop: int) -> Iterator[tuple[Row, str]]:
        try:
            stream, index = self._channel.branch(name)
        except TransitError:
            # Another stream of such a name, or one that is gone.
            return
        root = self._threads.fold.root(stream.own_start - 1)
        for message in messages(stream, index, self._replied.get(name, 0), stop):
            row = {**message_row(message, root), "kind": "reply"}
            yield row, f"↳ {root}: {message.name}: {message.text}"
        self._replied[name] = stop


def _words(said: chat.Decision | chat.Override) -> str:
    if isinstance(said, chat.Override) and said.action not in ("confirm", "reanchor", "split"):
        return f"{said.message}: {thread_words(said)}"
    evidence = said if isinstance(said, chat.Decision) else None
    return f"{said.message} {words_of(Reason(said, evidence))[0]}"


_DECODERS: Final[dict[str, Any]] = {EDIT: decode_edit, REMOVAL: decode_removal}


def _change(record: Record) -> tuple[Row, str] | None:
    """An edit, a reaction or a removal as a row and in words; None for what is none."""
    kind, author = record.headers[KIND], record.headers.get(AUTHOR, "")
    try:
        body = _DECODERS.get(kind, decode_reaction)(record.payload)
    except MALFORMED:
        return None
    row: Row = {
        "kind": kind.removeprefix("message-"),
        "record": ref(record.origin),
        "time": moment(record.timestamp),
        "offset": body.of,
        "by": author,
    }
    if kind == EDIT:
        return {**row, "text": body.text}, f"{body.of} edited by {author}: {body.text}"
    if kind == REMOVAL:
        because = f": {body.reason}" if body.reason else ""
        return {**row, "reason": body.reason}, f"{body.of} removed by {author}{because}"
    how = "withdrawn" if body.withdrawn else "given"
    return (
        {**row, "reaction": body.reaction, "withdrawn": body.withdrawn},
        f"{body.of} {body.reaction} {how} by {author}",
    )
