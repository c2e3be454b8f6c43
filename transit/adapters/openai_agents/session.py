"""TransitSession: a conversation of the OpenAI Agents SDK as a stream, with branches."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast

from agents.memory import SessionSettings

import transit
from transit import InvalidInputError, Log, Stream
from transit.adapters.naming import header
from transit.adapters.openai_agents.history import History, Kept, check_id
from transit.adapters.openai_agents.shared import SharedPlace
from transit.adapters.opening import Place, open_store
from transit.adapters.removing import Removed
from transit.adapters.waiting import Workers
from transit.trace import Redaction

if TYPE_CHECKING:
    from agents.items import TResponseInputItem
    from agents.run_context import RunContextWrapper

About = Callable[["RunContextWrapper[Any]"], Mapping[str, object]]

_workers: Final = Workers()
_T = TypeVar("_T")


class TransitSession:
    """The items of one conversation; `cls(session_id, log)`, or a folder, or a server's address.

    Sessions of one process that are given the same folder use it together; other processes may use
    the same session at the same time. session_settings: as the SDK's sessions take it. redact: a
    policy for all that is written; a run that continues the conversation sees what it left.
    durability: what is waited for; None: the store's. about: what is kept with the items that a run
    adds, made of its context: a tenant, a user.

    Raises `InvalidInputError` for items that are no JSON, and what the store raises. What changes
    the conversation is done although its caller is cancelled.
    """

    session_id: str
    session_settings: SessionSettings | None = None

    def __init__(
        self,
        session_id: str,
        store: Log | Place | SharedPlace | str | os.PathLike[str],
        *,
        session_settings: SessionSettings | dict[str, Any] | None = None,
        redact: Redaction | None = None,
        durability: str | None = None,
        about: About | None = None,
    ) -> None:
        if isinstance(session_settings, dict):
            session_settings = SessionSettings(**session_settings)
        self.session_id = check_id(session_id)
        self.session_settings = session_settings or SessionSettings()
        if redact is not None and not isinstance(redact, Redaction):
            raise InvalidInputError(f"redact must be a transit.trace.Redaction, not {redact!r}")
        self._store = store if isinstance(store, Log | Place | SharedPlace) else SharedPlace(store)
        # A session that was branched from one with a store of its own leaves that open.
        self._is_owner = not isinstance(store, Log)
        self._redact, self._durability, self._about = redact, durability, about
        self._history = History(self._log, session_id, redact, durability)

    @classmethod
    def open(  # noqa: PLR0913 - as much as a store takes that is opened
        cls,
        session_id: str,
        where: str | os.PathLike[str],
        *,
        remote: str | None = None,
        mode: str = "shared",
        durability: str = "local",
        token: str | None = None,
        storage_options: Mapping[str, object] | None = None,
        encrypt: str | None = None,
        keyring: transit.Keyring | None = None,
        **options: Any,
    ) -> Self:
        """A session with a store of its own, which `close` closes: see `opening.open_store`.

        options: what the class itself takes. Raises what opening the store raises.
        """
        place = Place(
            lambda: open_store(
                where, remote=remote, mode=mode, durability=durability, token=token,
                storage_options=storage_options, encrypt=encrypt, keyring=keyring,
            )
        )  # fmt: skip
        try:
            _ = place.log
            return cls(session_id, place, **options)
        except BaseException:
            place.close()
            raise

    # What the SDK calls

    async def get_items(
        self, limit: int | None = None, *, wrapper: RunContextWrapper[Any] | None = None
    ) -> list[TResponseInputItem]:
        """The items, or the last `limit` of them; None: as the settings say."""
        if limit is None and self.session_settings is not None:
            limit = self.session_settings.limit
        return await self._ask(lambda: self._history.items(limit))

    async def add_items(
        self,
        items: list[TResponseInputItem],
        *,
        wrapper: RunContextWrapper[Any] | None = None,
    ) -> None:
        """Put items on the end, all or none."""
        if not items:
            return
        about = self._said_of(wrapper)
        given = list(items)
        await self._change(lambda: self._history.add(given, about))

    async def pop_item(
        self, *, wrapper: RunContextWrapper[Any] | None = None
    ) -> TResponseInputItem | None:
        """Take the last item back: it, or None. It stays in the store."""
        found = await self._change(self._history.pop)
        return cast("TResponseInputItem | None", found)

    async def clear_session(self, *, wrapper: RunContextWrapper[Any] | None = None) -> None:
        """Take everything back. It stays in the store: `delete` lets it go."""
        await self._change(self._history.clear)

    async def _atomic_replace_items(self, items: list[TResponseInputItem]) -> bool:
        """Compaction of the whole conversation: it goes on as a branch that has `items` alone."""
        given = list(items)
        await self._change(lambda: self._history.replace_all(given))
        return True

    async def _get_compaction_snapshot(self, limit: int) -> Any:
        """Compaction of the end: what is there, and how a branch takes its place."""
        # Loaded here: versions that do not ask for it may not have it.
        from agents.memory.session import _CompactionSnapshot

        history = self._history

        def read() -> tuple[list[Kept], list[Any], bool]:
            kept = history.state()
            last = kept[max(0, len(kept) - limit) :] if limit > 0 else []
            return last, [history.value(each) for each in last], len(last) == len(kept)

        last, items, is_complete = await self._ask(read)

        async def replace_suffix(start: int, output: list[TResponseInputItem]) -> bool:
            expected = last[start:]
            given = list(output)
            if not expected:
                return False
            return await self._change(lambda: history.replace(expected, given))

        return _CompactionSnapshot(items, is_complete, replace_suffix)

    # Beyond the SDK

    async def branch_from_turn(self, turn: int | None, session_id: str) -> TransitSession:
        """A new session that begins as this one did, before what the user said `turn`-th.

        turn: from 1; None: with all there is. Nothing is copied, and this session does not change.
        `InvalidInputError` when there is no such turn, `NotFoundError` when nothing was said here,
        `AlreadyExistsError` when there is a session of that id.
        """
        made = TransitSession(
            session_id, self._again(), session_settings=self.session_settings,
            redact=self._redact, durability=self._durability, about=self._about,
        )  # fmt: skip

        made._is_owner = isinstance(self._store, SharedPlace)
        try:
            await self._change(lambda: self._history.fork(turn, made._history))
        except BaseException:
            made.close()
            raise
        return made

    async def stream(self) -> Stream | None:
        """The stream that the conversation is in now; None while nothing was said."""
        return await self._ask(lambda: self._history.stream)

    async def delete(self, *, reason: str, basis: str = "owner") -> Removed:
        """Delete all that was ever said here, what was taken back too; what became of each stream.

        As `Log.delete`: the bytes go with `Log.erase`. `DependentsError` while sessions that were
        branched from it need it. Where a server does not let this client delete, all is hidden.
        """
        return await self._change(lambda: self._history.delete(reason, basis))

    def close(self) -> None:
        """Wait for what is being written; close the store if it is this session's own."""
        _workers.submit(self._key, lambda: None).result()
        if self._is_owner and not isinstance(self._store, Log):
            self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Inside

    def _log(self) -> transit.Log:
        return self._store if isinstance(self._store, Log) else self._store.log

    def _again(self) -> Log | Place | SharedPlace:
        """The store, for another session."""
        return self._store.again() if isinstance(self._store, SharedPlace) else self._store

    def _said_of(self, wrapper: RunContextWrapper[Any] | None) -> dict[str, str]:
        if wrapper is None or self._about is None:
            return {}
        said = self._about(wrapper)
        return {
            f"about_{header(key, self._redact)}": self._said(str(key), value)
            for key, value in said.items()
        }

    def _said(self, key: str, value: object) -> str:
        if self._redact is not None and self._redact.hides(key):
            return self._redact.replacement
        return header(value, self._redact)

    @property
    def _key(self) -> int:
        # One session object is for one thread at a time; others are told apart by the store.
        return id(self._history)

    async def _ask(self, call: Callable[[], _T]) -> _T:
        return await _workers.ask(self._key, call)

    async def _change(self, call: Callable[[], _T]) -> _T:
        return await _workers.change(self._key, call)
