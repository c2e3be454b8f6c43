"""Views, and the threads that fold.

Owns what all routes share: the views of one served store, threads of their own so that folding
keeps no other reader waiting, and the end of work that nobody waits for any more. A store that is
only read is written nothing to: its views answer from the savepoints there are, and fold on in
memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from transit import InvalidInputError, Stream, TransitError
from transit.server.access import READ, Grant
from transit.server.api.naming import find
from transit.server.asgi import Request
from transit.server.refusals import NO_STORE, RefusedError
from transit.server.service import Service
from transit.server.views.declared import check_programs, may_read, no_view
from transit.views.loading import Declared
from transit.views.opening import open as open_view
from transit.views.savepoints import PERSIST
from transit.views.state import State
from transit.views.stopping import Stop
from transit.views.view import View

if TYPE_CHECKING:
    from transit.views.loops.running import Runner

T = TypeVar("T")
ROOTS_MAX: Final = 4096
LOGGER: Final = logging.getLogger("transit.server.views")
_AGAIN: Final = ((b"retry-after", b"1"), NO_STORE)


class StoppedError(Exception):
    """Nobody waits for this work any more."""


class Views:
    """What is served of `transit.views`, for one event loop.

    views: by name. persist: where their savepoints are kept.
    """

    def __init__(
        self, service: Service, declared: Declared | None = None, persist: str = "logged"
    ) -> None:
        self.service = service
        self.log = service.log
        self.declared = declared or Declared()
        self.persist = persist
        check_programs(self.declared.programs)
        if persist not in PERSIST:
            raise InvalidInputError(f"persist {persist!r}: not one of {', '.join(PERSIST)}")
        self.views: Mapping[str, View] = {
            each.spec.name: open_view(self.log, each, persist=persist)
            for each in self.declared.programs
        }
        threads = service.settings.view_threads
        self._pool = ThreadPoolExecutor(threads, "transit-server-view")
        # Roots of states that were asked for: by id, uid and offset.
        self._roots: OrderedDict[tuple[str, str, int], str] = OrderedDict()
        self._runner: Runner | None = None
        self._stops: set[Stop] = set()

    def start(self) -> None:
        """Run the reconcilers that were named, where the store is written here."""
        if not self.declared.reconcilers or not self.service.is_writable:
            return
        # Loaded here: few servers run any.
        from transit.views.loops.running import runner

        running = runner(self.log, self.declared.reconcilers).__enter__()
        running.start()
        self._runner = running

    def end(self) -> None:
        """Let all go that wait: the server ends."""
        for stop in tuple(self._stops):
            stop.set()

    def close(self) -> None:
        """End the threads; what they do is finished first."""
        self.end()
        if self._runner is not None:
            try:
                self._runner.close()
            except TransitError as error:
                LOGGER.warning("the runner could not be closed: %s", type(error).__name__)
        self._pool.shutdown()

    def runs(self, reconciler: str) -> bool:
        """Whether this server runs it."""
        names = {each.name for each in self.declared.reconcilers}
        return self._runner is not None and reconciler in names

    # Finding

    def allowed(self, grant: Grant) -> list[View]:
        """The views that a client may read."""
        return [view for name, view in self.views.items() if may_read(grant, name)]

    def find(self, grant: Grant, name: str) -> View:
        """The view of this name; `NotFoundError`, also where the client may not read it."""
        view = self.views.get(name)
        if view is None or not may_read(grant, name):
            raise no_view(name)
        return view

    def stream(self, grant: Grant, name: str) -> Stream:
        """The stream of this name, which the client may read."""
        return find(self.log, grant, READ, name)

    # Working

    async def work(
        self,
        request: Request | None,
        work: Callable[[Stop], T],
        seconds: float | None = None,
        pool: Executor | None = None,
    ) -> T:
        """Do `work` in a thread, and let it end when the client goes, or the server ends."""
        stop = Stop(self.service.settings.view_s if seconds is None else seconds)
        if request is not None and request.watch is not None:
            request.watch()
        self._stops.add(stop)
        try:
            loop = asyncio.get_running_loop()
            done: Awaitable[T] = loop.run_in_executor(pool or self._pool, partial(work, stop))
            return await done
        except StoppedError:
            detail = "it takes too long: ask for less" if stop.is_late else "the server ends"
            raise RefusedError(503, detail, _AGAIN) from None
        finally:
            self._stops.discard(stop)
            stop.set()

    def state(self, view: View, stream: Stream, at: int, stop: Stop) -> State:
        """The state after `at` records, in a thread; `RefusedError` (503) where it is not here yet
        when time is over: what was folded is kept, so that asking again goes on from there."""

        def check() -> None:
            if stop.is_set:
                raise StoppedError
            if stop.is_late:
                detail = f"view {view.name} is still being folded: ask again"
                raise RefusedError(503, detail, _AGAIN)

        check()
        state = view.of(stream, at, check=check)
        self._keep_root(view, stream, at, state.root)
        return state

    # Tags for caches

    def _keep_root(self, view: View, stream: Stream, at: int, root: str) -> None:
        key = view.id, stream.uid, at
        self._roots[key] = root
        self._roots.move_to_end(key)
        while len(self._roots) > ROOTS_MAX:
            self._roots.popitem(last=False)

    def known_tag(self, view: View, stream: Stream, at: int) -> str | None:
        """The tag of a state that was asked for before; None where it is not known."""
        root = self._roots.get((view.id, stream.uid, at))
        return None if root is None else tag_of(view, stream, at, root)


def tag_of(view: View, stream: Stream, at: int, root: str) -> str:
    """Names a state for caches: which view, of what, after how many records, and what it is."""
    return f'"{view.id[:16]}.{stream.uid[:16]}.{at}.{root[:16]}"'


def is_tagged(asked: str, tag: str | None) -> bool:
    """Whether `If-None-Match` names this tag."""
    if tag is None:
        return False
    given = {each.strip().removeprefix("W/") for each in asked.split(",")}
    return tag in given or "*" in given
