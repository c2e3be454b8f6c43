"""Tools about channels: what was said in them and their threads, and saying something.

An agent speaks under the name of its token. What it says is a record more; what others said, and
which thread a message is in, it does not change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from transit import InvalidInputError, NotFoundError, Receipt
from transit.chat.naming import branch_name
from transit.chat.opening import Channel
from transit.server.access import APPEND, BRANCH
from transit.server.channels import Kept
from transit.server.mcp.arguments import (
    ListChannels,
    ListThreads,
    Post,
    ReadChannel,
    ReadThread,
    Reply,
)
from transit.server.mcp.calling import Caller
from transit.server.mcp.pages import Item, Page, numbered
from transit.server.mcp.records import moment
from transit.server.talk import ChannelRow, Line, ThreadRow, Why

AUTHOR: Final = "mcp"
"""Who says what comes without a token."""


async def list_channels(caller: Caller, given: ListChannels) -> Item:
    """The channels that the caller may read, the newest first."""

    def work() -> Item:
        channels = caller.room.channels
        found = channels.streams(caller.sees, given.prefix)
        head = {"count": len(found)}
        # Only those that are shown are looked at.
        rows: Iterator[Item] = (
            _channel(channels.of(each).row()) if place >= given.skip else {}
            for place, each in enumerate(found)
        )
        return numbered(head, "channels", rows, given.skip, given.limit)

    return await caller.room.service.read(work)


def _channel(row: ChannelRow) -> Item:
    last = row.last
    return {
        "channel": row.name,
        "purpose": row.purpose,
        "records": row.records,
        "messages": row.messages,
        "last": None
        if last is None
        else {"author": last.author, "time": moment(last.time), "text": last.text[:300]},
    }


async def read_channel(caller: Caller, given: ReadChannel) -> Item:
    """Messages of a channel, as they are shown now."""

    kept = _kept(caller, given.channel)

    def work() -> Item:
        found = kept.lines(caller.sees, given.start, given.limit)
        head = {"channel": given.channel, "count": found.count, "earlier": found.earlier}
        page = Page(head, "messages")
        for line in found.lines:
            if not page.take(_line(line, given.channel)):
                return page.answer({"start": line.offset})
        return page.answer(None if found.later is None else {"start": found.later})

    return await caller.room.service.read(work)


async def list_threads(caller: Caller, given: ListThreads) -> Item:
    """Threads of a channel, those spoken in last first."""

    kept = _kept(caller, given.channel)

    def work() -> Item:
        rows, count = kept.threads(caller.sees, given.state, given.skip, given.limit)
        page = Page({"channel": given.channel, "state": given.state, "count": count}, "threads")
        return _filled(page, map(_thread, rows), given.skip, count)

    return await caller.room.service.read(work)


async def read_thread(caller: Caller, given: ReadThread) -> Item:
    """A thread: its messages where they were said, and the replies."""

    kept = _kept(caller, given.channel)

    def work() -> Item:
        found = kept.thread(caller.sees, given.message, given.skip, given.limit)
        frozen = [each.name for each in found.frozen]
        head = {"channel": given.channel, **_thread(found.row), "frozen": frozen}
        page = Page(head, "said")
        lines = (_line(each, given.channel) for each in found.lines)
        return _filled(page, lines, given.skip, found.count)

    return await caller.room.service.read(work)


def _filled(page: Page, items: Iterator[Item], skip: int, count: int) -> Item:
    """The page with as many of the items as it has room for; skip: how many come before them."""
    for item in items:
        if not page.take(item):
            break
        skip += 1
    return page.answer({"skip": skip} if skip < count and len(page) else None)


def _thread(row: ThreadRow) -> Item:
    summary = row.summary
    return {
        "thread": row.root,
        "begins": row.title,
        "author": row.author,
        "state": row.state,
        "messages": row.messages,
        "replies": row.replies,
        "last": moment(row.last),
        "summary": None
        if summary is None
        else {"text": summary.text[:1000], "by": summary.by, "stale": summary.is_stale},
    }


def _line(line: Line, channel: str) -> Item:
    said = line.said
    item: Item = {"offset": line.offset, "time": moment(said.time), "author": said.author}
    if line.stream != channel:
        item["stream"] = line.stream
    if said.name != said.author:
        item["name"] = said.name
    if said.writer and said.writer != said.author:
        item["writer"] = said.writer
    if said.is_removed or said.is_gone:
        return {**item, "removed": True, "removed_by": said.removed_by, "reason": said.reason}
    item["text"] = said.text
    if said.left:
        item["cut"] = True
    if said.edits:
        item["edits"] = said.edits
    if said.reactions:
        item["reactions"] = dict(said.reactions)
    if said.answers is not None:
        item["answers"] = said.answers
    if line.replies:
        item["replies"] = line.replies
    if not line.is_reply:
        item["thread"] = line.thread
        item["why"] = _why(line.why)
    return item


def _why(why: Why) -> Item | None:
    if not why.kind:
        return None
    told: Item = {"how": why.kind, "by": why.by, "answers": why.parent}
    if why.kind == "said":
        return {**told, "reason": why.reason} if why.reason else told
    return {**told, "score": why.score}


# Saying something


async def post(caller: Caller, given: Post) -> Item:
    """One message more in a channel."""

    def work(channel: Channel) -> Receipt:
        return channel.post(
            _author(caller), given.text, id=given.id, answers=given.answers, durability="os",
            writer=caller.grant.name,
        )  # fmt: skip

    return await _written(caller, given.channel, work)


async def reply(caller: Caller, given: Reply) -> Item:
    """One message more in a thread: in its branch, which the first reply makes."""

    def work(channel: Channel) -> Receipt:
        thread = channel.threads().of(given.message)
        found = thread.replies()
        if found:
            caller.grant.check(APPEND, found[0][0].name)
        else:
            name = branch_name(channel.name, thread.root)
            caller.grant.check(BRANCH, name)
            caller.grant.check(APPEND, name)
        return thread.reply(
            _author(caller), given.text, id=given.id, durability="os", writer=caller.grant.name
        )

    return await _written(caller, given.channel, work)


async def _written(caller: Caller, name: str, work: Callable[[Channel], Receipt]) -> Item:
    service = caller.room.service
    durability = service.wanted(None)

    # The right to read, too: whether an id is taken is told.
    kept = _kept(caller, name)
    caller.grant.check(APPEND, name)
    # In a thread: what was said before may have to be looked at.
    is_alone = caller.log.mode == "exclusive"
    doing = service.read if is_alone else service.write
    receipt = await doing(lambda: kept.write(work))
    await service.reach(durability)
    answer = {"stream": receipt.stream, "offset": receipt.offset, "durability": durability}
    return {**answer, "next": None, "truncated": False}


def _author(caller: Caller) -> str:
    return caller.grant.name or AUTHOR


def _kept(caller: Caller, name: str) -> Kept:
    stream = caller.stream(name)
    try:
        return caller.room.channels.of(stream)
    except InvalidInputError:
        raise NotFoundError(f"{name} is no channel: `list_channels` names them") from None
