"""What comes to a channel while it is read: messages, changes of them, replies, decisions.

The channel is waited for; decisions and replies, which are in streams of their own and of which
more may be made at any time, are looked for whenever it has a pause.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from transit import Position, Record, Stream, chat
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
        decisions = self._threads.stream
        self._decisions: Stream | None = decisions
        self._decided = 0 if decisions is None else decisions.next_offset
        self._replied = {
            name: channel.branch(name)[1].stop for name in channel.index.branches.values()
        }

    def run(self, start: int, timeout: float | None) -> None:
        """Print what comes from offset `start` on; `CommandError` where nothing came in time."""
        channel, position = self._channel, start
        self._output.flush()
        came = time.monotonic()
        while True:
            pause = _PAUSE_S if timeout is None else min(_PAUSE_S, timeout)
            before = position
            for record in channel.stream.tail(position, pause):
                self._take(record)
                position = record.offset + 1
                self._output.flush()
                if record.offset + 1 >= channel.stream.next_offset:
                    break
            if self._beside() or position != before:
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

    def _take(self, record: Record) -> None:
        index, offset = self._channel.index, record.offset
        if index.kind(offset):
            self._threads.refresh()
            self._say(self._channel.message(offset))
        elif record.headers.get(KIND) in CHANGES:
            changed = _change(record)
            if changed is not None:
                self._tell(*changed)

    def _beside(self) -> bool:
        """Print new decisions and replies; whether there were any."""
        count = 0
        for told in self._new_verdicts():
            self._tell(*told)
            count += 1
        for told in self._new_replies():
            self._tell(*told)
            count += 1
        return count > 0

    def _new_verdicts(self) -> Iterator[tuple[Row, str]]:
        stream = self._channel.threads().stream
        if stream is None:
            return
        if stream != self._decisions:
            # The first decision made it, or a run was adopted: what that has anew is told.
            begun = 0 if self._decisions is None else stream.next_offset
            self._decisions, self._decided = stream, begun
        stop = stream.next_offset
        if stop <= self._decided:
            return
        for record in stream.read(self._decided, stop):
            if record.headers.get(KIND) in (EVIDENCE, OVERRIDE):
                said = verdict(record)
                row = verdict_row(said)
                assert row is not None
                yield {**row, "thread": self._threads.fold.root(said.message)}, _words(said)
        self._decided = stop

    def _new_replies(self) -> Iterator[tuple[Row, str]]:
        for root, name in sorted(self._channel.index.branches.items()):
            stream, index = self._channel.branch(name)
            start = self._replied.get(name, 0)
            for offset in list(index.messages(start)):
                message = self._channel.message(Position(name, offset))
                row = message_row(message, self._threads.fold.root(root))
                yield {**row, "kind": "reply"}, f"↳ {root}: {message.name}: {message.text}"
            self._replied[stream.name] = index.stop


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
