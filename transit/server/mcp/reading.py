"""Tools that read records: `read`, and `wait` for more of them."""

from __future__ import annotations

from collections.abc import Callable

from transit import InvalidInputError, OffsetError, Stream
from transit.server.mcp.arguments import Read, Wait
from transit.server.mcp.calling import Caller
from transit.server.mcp.pages import Item, Page, plain, size_of
from transit.server.mcp.records import items_of

Following = Callable[[int, int], Item]
"""The arguments that go on at an offset, after as many characters of its text."""


async def read(caller: Caller, given: Read) -> Item:
    """Records of one stream."""
    if given.skip and given.view == "summary":
        raise InvalidInputError('skip goes with view "full" or "raw"')
    stream = caller.stream(given.stream)
    page = Page({"stream": stream.name, "count": len(stream)}, "records", given.max_bytes)
    return await caller.room.service.read(lambda: _fill(caller, stream, given, page, _go_on))


def _go_on(start: int, skip: int) -> Item:
    return {"start": start, "skip": skip} if skip else {"start": start}


async def wait(caller: Caller, given: Wait) -> Item:
    """Records after one that is known, once there are some."""
    stream = caller.stream(given.stream)
    count = len(stream)
    start = count if given.after is None else given.after + 1
    if start > count:
        raise OffsetError(f"{stream.name} has no offset {given.after}; it has {count} records")
    has_come = await caller.room.wait(stream, start, given.timeout_s)
    # In this order: nothing is appended after a stream was finished.
    finished, count = stream.finished, len(stream)
    head = {"stream": stream.name, "count": count, "finished": finished, "timed_out": not has_come}
    wanted = Read(stream=given.stream, start=start, limit=given.limit)
    page = Page(head, "records")
    return await caller.room.service.read(
        lambda: _fill(caller, stream, wanted, page, lambda start, _: {"after": start - 1})
    )


def _fill(caller: Caller, stream: Stream, given: Read, page: Page, following: Following) -> Item:
    count = len(stream)
    start = given.start if given.start >= 0 else max(count + given.start, 0)
    if start > count:
        raise OffsetError(f"{stream.name} has no offset {start}; it has {count} records")
    skip = given.skip
    for item in items_of(caller.log, stream, start, min(start + given.limit, count), given.view):
        whole = item["text"]
        if skip > len(whole):
            raise OffsetError(f"the text of record {start} has {len(whole)} characters")
        made = {**_within(caller, item), "text": whole[skip:]}
        if given.view != "summary" and not len(page) and size_of(plain(made)) + 1 > page.left:
            text = page.cut_text(made)
            page.take({**made, "text": text, "cut": True})
            if text:
                return page.answer(following(start, skip + len(text)))
        elif not page.take(made):
            return page.answer(following(start, 0))
        start, skip = start + 1, 0
    return page.answer(following(start, 0) if start < count else None)


def _within(caller: Caller, item: Item) -> Item:
    """An item without the names that the caller may not know."""
    origin = item.get("origin")
    if origin is None or caller.sees(origin["stream"]):
        return item
    return {**item, "origin": None}
