"""Channels on the page: their messages, their threads, and one thread.

Owns what of them is shown, a page at a time; what is read and kept of a channel is of
`transit.server.channels`. Who may read a channel reads what is decided of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from transit import InvalidInputError, NotFoundError, Stream
from transit.server.access import READ, Grant
from transit.server.asgi import Answer, Request
from transit.server.channels import Channels, Kept
from transit.server.page import answers, asking
from transit.server.page.lists import ROWS, Allows, Paged, paged
from transit.server.page.serving import Served
from transit.server.page.texts import counted
from transit.server.page.watching import Shown
from transit.server.routes import Route
from transit.server.talk import ChannelRow, Line, Lines, ThreadRow, WholeThread

Handler = Callable[[Request], Awaitable[Answer]]
STATES: Final = ("open", "resolved", "suppressed")
LISTS: Final = ("channels", "channel", "threads", "thread")
# What is asked of a list's events beside what is asked of the list.
_LIVE: Final = ("list", "since")


class Site(Protocol):
    """What all pages have; `transit.server.page.pages` has it."""

    def page(self, handler: Handler) -> Handler:
        """The handler, with what it raises as a page."""

    def shown(self, request: Request, template: str, **said: object) -> Answer:
        """A page, from its template."""

    def stream_of(self, request: Request, name: str) -> Awaitable[Stream]:
        """The stream of that name, which the client may read."""


class Asked(NamedTuple):
    """What is looked at. place: of messages, an offset; of threads and of one, a page's number.

    query: the same again, without that place.
    """

    name: str = ""
    text: str = ""
    state: str = "open"
    at: int = 0
    place: int | None = None
    query: str = ""


class ConversationPages:
    """The pages of channels and threads."""

    def __init__(self, site: Site, served: Served) -> None:
        self._site = site
        self._service = served.service
        self._channels: Channels = served.channels

    def routes(self) -> list[Route]:
        """What they answer."""
        page = self._site.page
        return [
            Route("GET", "/channels", page(self._list)),
            Route("GET", "/channel", page(self._channel)),
            Route("GET", "/threads", page(self._threads)),
            Route("GET", "/thread", page(self._thread)),
        ]

    def listed(self, request: Request, kind: str) -> tuple[Hashable, Callable[[], Shown]]:
        """What names a list that is looked at, and what makes it."""
        allows = _allows(request.grant)
        asked = _ASKED[kind](request, *_LIVE)
        if kind == "channels":
            return asked, lambda: _channels_shown(self._rows(allows, asked), asked)
        request.grant.check(READ, asked.name)
        if kind == "channel":
            return asked, lambda: _lines_shown(self._lines(allows, asked), asked)
        if kind == "threads":
            return asked, lambda: _threads_shown(self._found(allows, asked), asked)
        return asked, lambda: _thread_shown(self._whole(allows, asked), asked)

    # Pages

    async def _list(self, request: Request) -> Answer:
        asked, allows = _asked_channels(request), _allows(request.grant)
        found = await self._service.read(lambda: self._rows(allows, asked))
        return self._site.shown(request, "channels.html", found=found, asked=asked)

    async def _channel(self, request: Request) -> Answer:
        asked, allows = _asked_channel(request), _allows(request.grant)
        stream = await self._site.stream_of(request, asked.name)
        found = await self._service.read(lambda: self._lines(allows, asked))
        channel = self._channels.of(stream).channel
        about = await self._service.read(
            lambda: (list(channel.participants.values()), channel.policy)
        )
        return self._site.shown(
            request, "channel.html", found=found, asked=asked, purpose=channel.purpose,
            people=about[0], policy=about[1], counted=_messages(found.count),
        )  # fmt: skip

    async def _threads(self, request: Request) -> Answer:
        asked, allows = _asked_threads(request), _allows(request.grant)
        await self._site.stream_of(request, asked.name)
        found = await self._service.read(lambda: self._found(allows, asked))
        return self._site.shown(
            request, "threads.html", found=found, asked=asked, states=STATES,
            counted=counted(found.count, "thread"),
        )  # fmt: skip

    async def _thread(self, request: Request) -> Answer:
        asked, allows = _asked_thread(request), _allows(request.grant)
        await self._site.stream_of(request, asked.name)
        found = await self._service.read(lambda: self._whole(allows, asked))
        return self._site.shown(
            request,
            "thread.html",
            found=found,
            asked=asked,
            counted=_of_thread(found),
            page=_page_of(found),
        )

    # What they show, read in a thread

    def _kept(self, name: str) -> Kept:
        try:
            return self._channels.of(self._service.log.stream(name))
        except InvalidInputError:
            raise NotFoundError(f"{name} is no channel") from None

    def _rows(self, allows: Allows, asked: Asked) -> Paged[ChannelRow]:
        text = asked.text.casefold()
        wanted = [each for each in self._channels.streams(allows) if text in each.name.casefold()]
        part = paged(wanted, asked.place or 1)
        rows = [self._channels.of(each).row() for each in part.rows]
        return Paged(rows, part.number, part.pages, part.count)

    def _lines(self, allows: Allows, asked: Asked) -> Lines:
        return self._kept(asked.name).lines(allows, asked.place, ROWS)

    def _found(self, allows: Allows, asked: Asked) -> Paged[ThreadRow]:
        number = max(1, asked.place or 1)
        kept = self._kept(asked.name)
        rows, count = kept.threads(allows, asked.state, (number - 1) * ROWS, ROWS)
        return Paged(rows, number, max(1, -(-count // ROWS)), count)

    def _whole(self, allows: Allows, asked: Asked) -> WholeThread:
        start = None if asked.place is None else (max(1, asked.place) - 1) * ROWS
        found = self._kept(asked.name).thread(allows, asked.at, start, ROWS)
        by_time = sorted(found.lines, key=lambda line: line.said.time)
        return msgspec.structs.replace(found, lines=by_time)


def _allows(grant: Grant) -> Allows:
    return lambda name: grant.allows(READ, name)


def _channels_shown(found: Paged[ChannelRow], asked: Asked) -> Shown:
    rows = [(each.uid, answers.part("channel_row", each)) for each in found.rows]
    pager = answers.part("pager", found, asked.query, "channels")
    return Shown(rows, counted(found.count, "channel"), pager)


def _lines_shown(found: Lines, asked: Asked) -> Shown:
    pager = answers.part("line_pager", found, asked)
    return Shown(_rows_of(found.lines, asked.name, "said_row"), _messages(found.count), pager)


def _threads_shown(found: Paged[ThreadRow], asked: Asked) -> Shown:
    rows = [(str(each.root), answers.part("thread_row", each, asked.name)) for each in found.rows]
    pager = answers.part("pager", found, asked.query, "threads")
    return Shown(rows, counted(found.count, "thread"), pager)


def _thread_shown(found: WholeThread, asked: Asked) -> Shown:
    rows = _rows_of(found.lines, asked.name, "told_row")
    return Shown(rows, _of_thread(found), answers.part("told_pager", _page_of(found), asked))


def _rows_of(lines: Sequence[Line], name: str, macro: str) -> list[tuple[str, str]]:
    return [(f"{each.stream}@{each.offset}", answers.part(macro, each, name)) for each in lines]


def _page_of(found: WholeThread) -> Paged[Line]:
    number, pages = found.start // ROWS + 1, max(1, -(-found.count // ROWS))
    return Paged(found.lines, min(number, pages), pages, found.count)


def _messages(count: int) -> str:
    return counted(count, "message")


def _of_thread(found: WholeThread) -> str:
    return f"{found.row.state}, {_messages(found.count)}"


def _asked_channels(request: Request, *names: str) -> Asked:
    query = asking.known(request, "q", "page", *names)
    number = asking.number(query.get("page", "1"), "page")
    return Asked(
        text=query.get("q", ""), place=number, query=asking.query_without(query, "page", *_LIVE)
    )


def _asked_channel(request: Request, *names: str) -> Asked:
    query = asking.known(request, "name", "from", *names)
    start = asking.number(query["from"], "from") if query.get("from") else None
    rest = asking.query_without(query, "from", *_LIVE)
    return Asked(query.get("name", ""), place=start, query=rest)


def _asked_threads(request: Request, *names: str) -> Asked:
    query = asking.known(request, "name", "state", "page", *names)
    state = asking.choice(query.get("state", ""), STATES, "state") or "open"
    number = asking.number(query.get("page", "1"), "page")
    rest = asking.query_without(query, "page", *_LIVE)
    return Asked(query.get("name", ""), state=state, place=number, query=rest)


def _asked_thread(request: Request, *names: str) -> Asked:
    query = asking.known(request, "name", "at", "page", *names)
    number = asking.number(query["page"], "page") if query.get("page") else None
    rest = asking.query_without(query, "page", *_LIVE)
    at = asking.number(query.get("at", ""), "at")
    return Asked(query.get("name", ""), at=at, place=number, query=rest)


_ASKED: Final = {
    "channels": _asked_channels, "channel": _asked_channel, "threads": _asked_threads,
    "thread": _asked_thread,
}  # fmt: skip
