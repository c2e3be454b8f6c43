"""The page's routes: what a browser asks for, and which page it is given.

Owns addresses and forms. Each handler checks the client's grant with the names of all streams it
shows; what goes wrong is a page too. Whatever reads the store runs in a thread for reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from contextlib import aclosing
from typing import Final
from urllib.parse import parse_qsl, quote

import msgspec

from transit import InvalidInputError, NotFoundError, Stream, TransitError, trace
from transit.protocol.problems import problem_of, refusal
from transit.server.access import APPEND, NOTHING, READ, Grant
from transit.server.asgi import Answer, Request
from transit.server.page import answers, asking, lists, records, session
from transit.server.page.conversations import LISTS, ConversationPages
from transit.server.page.derived import DerivedPages
from transit.server.page.evidence import EvidencePages, gone
from transit.server.page.following import LiveRuns
from transit.server.page.lanes import facts_of
from transit.server.page.searching import Asked, search
from transit.server.page.serving import Served
from transit.server.page.texts import counted
from transit.server.page.watching import LiveList, LiveLists, Shown
from transit.server.refusals import NO_STORE, RefusedError
from transit.server.routes import Route
from transit.trace.beside import beside
from transit.trace.finding import KINDS, asked_for
from transit.trace.page.data import PageData
from transit.trace.page.growing import GrowingPage, Limits, TooLargeError
from transit.trace.page.heads import notes_of
from transit.trace.reading import Trace
from transit.trace.summaries import SORTS, STATUSES
from transit.trace.tabulating import RunSummary

Handler = Callable[[Request], Awaitable[Answer]]
FORM_MAX: Final = 64 * 1024
# What is asked of a list's events beside what is asked of the list.
_LIVE: Final = ("list", "since")
# Pages of one stream, which may have been deleted.
_OF_ONE: Final = ("/run", "/stream")
_SENDS_EVENTS: Final = [(b"content-type", b"text/event-stream"), NO_STORE]


class Pages:
    """The pages of one served store."""

    def __init__(self, served: Served, limits: Limits | None = None) -> None:
        self._served = served
        self._service = served.service
        self._limits = limits or Limits()
        self.live = LiveRuns(served, self._limits)
        self.lists = LiveLists(served.service)
        self._standings = lists.Standings()
        self._evidence = EvidencePages(self, served)
        self._conversations = ConversationPages(self, served)

    def end(self) -> None:
        """Let all pages go: the server ends."""
        self.live.end()
        self.lists.end()

    def routes(self) -> list[Route]:
        """What the page answers."""
        shown = {
            "/": self._runs, "/streams": self._streams, "/graph": self._graph,
            "/search": self._search, "/run": self._run, "/stream": self._stream,
            "/beside": self._beside, "/login": self._login_form,
        }  # fmt: skip
        return [
            *(Route("GET", path, self.page(handler)) for path, handler in shown.items()),
            Route("GET", session.LIVE, self._events),
            Route("GET", "/assets/{name}", self._asset),
            Route("POST", "/notes", self._note),
            Route("POST", "/login", self.page(self._login)),
            Route("POST", "/logout", self.page(self._logout)),
            *DerivedPages(self, self._served).routes(),
            *self._evidence.routes(),
            *self._conversations.routes(),
        ]

    # What all pages have

    def page(self, handler: Handler) -> Handler:
        """The handler, with what it raises as a page, and a form for those who are not known."""

        async def answer(request: Request) -> Answer:
            if self.is_unknown(request) and request.path not in ("/login", "/logout"):
                query = request.scope.get("query_string", b"").decode("latin-1")
                there = request.path[1:] + (f"?{query}" if query else "")
                return answers.redirect(f"login?next={quote(there, safe='')}")
            # Of a run that cannot be shown there are the records.
            run = request.query.get("name", "") if request.path == "/run" else ""
            try:
                return await handler(request)
            except NotFoundError as error:
                problem, run = problem_of(error, request.id), ""
                if request.path in _OF_ONE and (answer := await self._deleted(request)):
                    return answer
            except TransitError as error:
                problem = problem_of(error, request.id)
            except RefusedError as error:
                problem, run = refusal(error.status, str(error), request.id), ""
            said = {"problem": problem, "run": run, **self.common(request)}
            return answers.page("problem.html", said, problem.status)

        return answer

    async def _deleted(self, request: Request) -> Answer | None:
        """The page of a stream that was deleted; None where there is none of that name."""
        log, grant, name = self._service.log, request.grant, request.query.get("name", "")
        found = await self._service.read(lambda: gone(log, grant, name))
        if found is None:
            return None
        said = {"name": name, "found": found, **self.common(request)}
        return answers.page("gone.html", said, 410)

    def is_unknown(self, request: Request) -> bool:
        """Whether nobody knows who asks, and tokens are asked for."""
        return self._served.grant_of is not None and request.grant is NOTHING

    def common(self, request: Request) -> dict[str, object]:
        """What all templates are given."""
        is_known = self._served.grant_of is not None and request.grant is not NOTHING
        return {"here": request.path, "who": request.grant.name, "may_leave": is_known}

    def shown(self, request: Request, template: str, **said: object) -> Answer:
        """A page, from its template."""
        return answers.page(template, {**said, **self.common(request)})

    def _allows(self, request: Request) -> lists.Allows:
        return _allows(request.grant)

    async def stream_of(self, request: Request, name: str, right: str = READ) -> Stream:
        """The stream of that name, which the client may read."""
        if name[:1] == "$":
            raise NotFoundError(f"there is no stream {name!r}")
        request.grant.check(right, name)
        return await self._service.read(lambda: self._service.log.stream(name))

    # Lists

    async def _runs(self, request: Request) -> Answer:
        asked = _runs_asked(request, "q", "status", "tool", "sort", "page")
        found = await self._service.read(lambda: self._runs_of(request.grant, asked))
        return self.shown(
            request, "runs.html", found=found, asked=asked, statuses=STATUSES, sorts=SORTS,
            has_prices=self._served.prices is not None, query=asked.query,
        )  # fmt: skip

    def _runs_of(self, grant: Grant, asked: lists.RunsAsked) -> lists.Paged[RunSummary]:
        log, prices = self._service.log, self._served.prices
        return lists.runs_of(log, _allows(grant), asked, prices, self._standings)

    async def _streams(self, request: Request) -> Answer:
        asked = _streams_asked(request, "q", "page")
        log, allows = self._service.log, _allows(request.grant)
        found = await self._service.read(lambda: lists.streams_of(log, allows, asked))
        return self.shown(request, "streams.html", found=found, text=asked.text, query=asked.query)

    def _list_events(
        self, request: Request, kind: str, gone: asyncio.Future[None]
    ) -> AsyncGenerator[bytes, None]:
        """What is new in a list, asked for as the list itself is."""
        grant = request.grant
        version = request.headers.get("last-event-id") or request.query.get("since", "")
        asked: Hashable
        if kind == "runs":
            runs = asked = _runs_asked(request, "q", "status", "tool", "sort", "page", *_LIVE)
            made = LiveList(lambda: self._runs_shown(grant, runs), grant)
        elif kind == "streams":
            streams = asked = _streams_asked(request, "q", "page", *_LIVE)
            made = LiveList(lambda: self._streams_shown(grant, streams), grant)
        elif kind in LISTS:
            asked, look = self._conversations.listed(request, kind)
            made = LiveList(look, grant)
        else:
            raise InvalidInputError(f"there is no list {kind[:64]!r} that is told of")
        return self.lists.events((kind, asked, id(grant)), made, version, gone)

    def _runs_shown(self, grant: Grant, asked: lists.RunsAsked) -> Shown:
        found = self._runs_of(grant, asked)
        has_prices = self._served.prices is not None
        rows = [(each.uid, answers.part("run_row", each, has_prices)) for each in found.rows]
        pager = answers.part("pager", found, asked.query, "runs")
        return Shown(rows, counted(found.count, "run"), pager)

    def _streams_shown(self, grant: Grant, asked: lists.StreamsAsked) -> Shown:
        found = lists.streams_of(self._service.log, _allows(grant), asked)
        rows = [(each.uid, answers.part("stream_row", each)) for each in found.rows]
        pager = answers.part("pager", found, asked.query, "streams")
        return Shown(rows, counted(found.count, "stream"), pager)

    async def _graph(self, request: Request) -> Answer:
        query = asking.known(request, "name", "page")
        name, number = query.get("name", ""), asking.number(query.get("page", "1"), "page")
        if name:
            request.grant.check(READ, name)
        log, allows = self._service.log, self._allows(request)
        found = await self._service.read(lambda: lists.graph_of(log, allows, name, number))
        return self.shown(
            request, "graph.html", drawing=found, name=name, centre=lists.centre, row=lists.ROW,
            query=asking.query_without(query, "page"),
        )  # fmt: skip

    async def _search(self, request: Request) -> Answer:
        fields = ("text", "error", "tool", "kind", "role", "model", "prefix", "failed", "after")
        query = asking.known(request, *fields)
        given = {key: value for key, value in query.items() if value}
        found = None
        if given:
            asked = Asked(given.pop("prefix", ""), given.pop("after", ""))
            failed = asking.choice(given.pop("failed", ""), ("yes", "no"), "failed")
            is_failed = {"yes": True, "no": False}.get(failed)
            wanted = asked_for(
                failed=is_failed,
                text=given.get("text"),
                error=given.get("error"),
                tool=given.get("tool"),
                kind=given.get("kind"),
                role=given.get("role"),
                model=given.get("model"),
            )
            log, allows = self._service.log, self._allows(request)
            found = await self._service.read(lambda: search(log, allows, wanted, asked))
        return self.shown(
            request,
            "search.html",
            found=found,
            asked={field: query.get(field, "") for field in fields},
            kinds=KINDS,
            query=asking.query_without(query, "after"),
        )

    # One stream

    async def _run(self, request: Request) -> Answer:
        name = asking.known(request, "name").get("name", "")
        run = await self.stream_of(request, name)
        live = self.live.of(run, request.grant)
        version, data = await live.whole()
        evidence = await self._evidence.shown(request, run)
        may_note = self._service.is_writable and request.grant.allows(APPEND, name)
        return self.shown(
            request, "run.html", name=name, title=live.page.trace.task_id, may_note=may_note,
            data=answers.data_of(data), version=version, evidence=evidence,
        )  # fmt: skip

    async def _beside(self, request: Request) -> Answer:
        query = asking.known(request, "left", "right")
        names = [query.get("left", ""), query.get("right", "")]
        runs = [await self.stream_of(request, name) for name in names]
        data = await self._service.read(lambda: self._two(runs, self._allows(request)))
        return self.shown(
            request, "run.html", name=" and ".join(names), title=" and ".join(names),
            may_note=False, data=answers.data_of(data), version="", evidence=None,
        )  # fmt: skip

    def _two(self, runs: list[Stream], allows: lists.Allows) -> bytes:
        count = sum(len(run) for run in runs)
        if count > self._limits.events:
            raise TooLargeError(f"{count:,} events; a page has at most {self._limits.events:,}")
        traces = [Trace(self._service.log, run) for run in runs]
        pages = [self._read_page(run, allows) for run in runs]
        data = PageData(self._served.prices)
        steps = [page.steps for page in pages]
        for each, found in zip(traces, steps, strict=True):
            data.add(each, found)
        rows = data.rows(beside(*steps))
        title = " and ".join(each.task_id for each in traces)
        noted, most = notes_of(traces[0].notes, traces[0].name), self._limits.size
        made = data.encode(title, noted, rows, most, 0)
        if len(made) > self._limits.size:
            raise TooLargeError(f"{len(made):,} bytes; a page has at most {self._limits.size:,}")
        return made

    def _read_page(self, run: Stream, allows: lists.Allows) -> GrowingPage:
        found = GrowingPage(self._service.log, run, may_read=allows, limits=self._limits)
        found.read()
        return found

    async def _stream(self, request: Request) -> Answer:
        query = asking.known(request, "name", "from", "at")
        name = query.get("name", "")
        stream = await self.stream_of(request, name)
        at, offset = query.get("at"), None
        if at is not None:
            offset = asking.number(at, "at")
            found = await self._service.read(lambda: records.record_of(stream, offset))
        else:
            begin = asking.number(query["from"], "from") if "from" in query else None
            found = await self._service.read(lambda: records.records_of(stream, begin))
        evidence = await self._evidence.shown(request, stream, offset)
        return self.shown(
            request, "stream.html", evidence=evidence, found=found, facts=facts_of(stream),
            stream=stream, is_run=lists.is_run(stream), is_one=at is not None,
            step=records.RECORDS,
        )  # fmt: skip

    # What comes later

    async def _events(self, request: Request) -> Answer:
        if self.is_unknown(request):
            raise RefusedError(401, "no token, or one that is not known")
        query, kind = request.query, request.query.get("list")
        if kind is None:
            query = asking.known(request, "name", "since", "stream", "from")
        gone = asyncio.ensure_future(request.gone())
        try:
            if kind is not None:
                parts = self._list_events(request, kind, gone)
            elif "stream" in query:
                stream = await self.stream_of(request, query["stream"])
                begin = asking.number(query.get("from", "0"), "from")
                last = request.headers.get("last-event-id", "")
                begin = int(last) if last.isascii() and last.isdigit() else begin
                parts = self._records(stream, min(begin, len(stream)), gone)
            else:
                run = await self.stream_of(request, query.get("name", ""))
                version = request.headers.get("last-event-id") or query.get("since")
                parts = self.live.events(run, request.grant, version, gone)
        except (TransitError, RefusedError):
            gone.cancel()
            raise
        return Answer(200, list(_SENDS_EVENTS), parts=_closing(parts, gone))

    async def _records(
        self, stream: Stream, begin: int, gone: asyncio.Future[None]
    ) -> AsyncGenerator[bytes, None]:
        """Records from `begin` on as they come."""
        settings, clock = self._service.settings, asyncio.get_running_loop()
        ends = clock.time() + settings.sse_s
        following = stream.follow(start=begin)
        wait = asyncio.ensure_future(anext(following, None))
        ping = b"event: ping\ndata: %g\n\n" % settings.ping_s
        try:
            yield b"retry: 300\n\n" + ping
            while not self.live.is_ending and (left := ends - clock.time()) > 0:
                step = min(settings.ping_s, left, 1.0)
                await asyncio.wait((wait, gone), timeout=step, return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    return
                if not wait.done():
                    yield ping
                    continue
                record = wait.result()
                if record is None:
                    yield b"event: finished\ndata: \n\n"
                    return
                wait = asyncio.ensure_future(anext(following, None))
                row = msgspec.json.encode(records.row_of(stream.name, record))
                yield b"id: %d\ndata: %b\n\n" % (record.offset + 1, row)
        finally:
            wait.cancel()

    async def _asset(self, request: Request) -> Answer:
        found = answers.file_answer(request.name, request.query.get("v"))
        if found is None:
            raise RefusedError(404, "there is nothing here")
        return found

    # What changes something

    async def form(self, request: Request, *names: str) -> dict[str, str]:
        """The fields of a form of our own; those left empty are left out.

        `RefusedError` for one that another site's page sends.
        """
        session.check_origin(request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise RefusedError(415, "a form comes as application/x-www-form-urlencoded")
        body = await request.body(FORM_MAX, self._service.settings.body_s)
        try:
            pairs = parse_qsl(body.decode("ascii"), errors="strict", max_num_fields=len(names))
        except ValueError:
            raise InvalidInputError("the form cannot be read") from None
        found = dict(pairs)
        if len(found) != len(pairs) or not found.keys() <= set(names):
            raise InvalidInputError("the form has other fields than it should")
        return found

    async def _note(self, request: Request) -> Answer:
        if self.is_unknown(request):
            raise RefusedError(401, "no token, or one that is not known")
        form = await self.form(request, "run", "name", "score", "label", "comment", "author", "at")
        run = await self.stream_of(request, form.get("run", ""), APPEND)
        request.grant.check(READ, run.name)
        at = form.get("at")
        note = await self._service.write(
            lambda: trace.annotate(
                self._service.log,
                run,
                form.get("name", ""),
                score=_score(form.get("score")),
                label=form.get("label"),
                comment=form.get("comment", ""),
                # The name of a token is what is known of who it is.
                author=request.grant.name or form.get("author", ""),
                at=None if at is None else asking.number(at, "at"),
            )
        )
        await self._service.reach(self._service.wanted(None))
        self.live.wake({run.uid})
        self.lists.wake()
        return Answer(201, [(b"content-type", b"application/json")], msgspec.json.encode(note))

    async def _login_form(self, request: Request) -> Answer:
        there = _there(asking.known(request, "next").get("next", ""))
        if not self.is_unknown(request):
            return answers.redirect(there)
        return self.shown(request, "login.html", there=there, failed=False)

    async def _login(self, request: Request) -> Answer:
        form = await self.form(request, "token", "next", "user")
        token, there = form.get("token", "").strip(), _there(form.get("next", ""))
        grant_of = self._served.grant_of
        if grant_of is None:
            return answers.redirect(there)
        if not session.is_token(token) or grant_of(token) is None:
            said = {"there": there, "failed": True, **self.common(request)}
            return answers.page("login.html", said, 401)
        return answers.redirect(there, session.cookie_of(request, token))

    async def _logout(self, request: Request) -> Answer:
        await self.form(request)
        return answers.redirect("login", session.cookie_of(request, ""))


async def _closing(
    parts: AsyncGenerator[bytes, None], gone: asyncio.Future[None]
) -> AsyncGenerator[bytes, None]:
    """The parts; who waits for the client to go waits no more behind them."""
    try:
        async with aclosing(parts):
            async for part in parts:
                yield part
    finally:
        gone.cancel()


def _allows(grant: Grant) -> lists.Allows:
    return lambda name: grant.allows(READ, name)


def _runs_asked(request: Request, *names: str) -> lists.RunsAsked:
    query = asking.known(request, *names)
    return lists.RunsAsked(
        query.get("q", ""),
        asking.choice(query.get("status", ""), STATUSES, "status"),
        query.get("tool", ""),
        asking.choice(query.get("sort", ""), SORTS, "sort") or "created",
        asking.number(query.get("page", "1"), "page"),
        asking.query_without(query, "page", *_LIVE),
    )


def _streams_asked(request: Request, *names: str) -> lists.StreamsAsked:
    query = asking.known(request, *names)
    number = asking.number(query.get("page", "1"), "page")
    return lists.StreamsAsked(
        query.get("q", ""), number, asking.query_without(query, "page", *_LIVE)
    )


def _there(text: str) -> str:
    """Where to go on: one of the page's own addresses, or the first page."""
    path, mark, query = text.partition("?")
    if not session.is_page(f"/{path}") or path in ("login", "logout"):
        return "./"
    return (path or "./") + mark + quote(query, safe="=&%+/:@,.~-_$*!'()")


def _score(text: str | None) -> bool | float | None:
    """A score as it is typed: a number, yes or no."""
    if text is None or not text.strip():
        return None
    word = text.strip().lower()
    if word in ("yes", "true", "no", "false"):
        return word in ("yes", "true")
    try:
        number = float(word)
    except ValueError:
        raise InvalidInputError(f"score must be a number, yes or no, not {text[:64]!r}") from None
    return int(word) if word.lstrip("-").isdigit() else number
