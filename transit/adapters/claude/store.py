"""TransitSessionStore: sessions of the Claude Agent SDK in a store."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar

from claude_agent_sdk import fold_session_summary

from transit import ErasedError, InvalidInputError, Log, OffsetError, Stream
from transit.adapters.claude.transcript import (
    PREFIX,
    Key,
    Transcript,
    children_of,
    name_of,
    summary_of,
)
from transit.adapters.naming import quoted
from transit.adapters.opening import Adapter, Place
from transit.adapters.removing import Removed, delete_or_hide
from transit.adapters.waiting import Workers
from transit.trace import Redaction
from transit.trace.failures import warn

_KNOWN_MAX: Final = 256
_T = TypeVar("_T")


class TransitSessionStore(Adapter):
    """A `SessionStore` of the SDK; `cls(log)`, or `cls.open(folder)`. All of its methods are there.

    A batch that is sent again, by this process or another, is there once. redact: a policy for all
    that is written; a session that is continued has what it left. durability: what is waited for;
    None: the store's. Raises what the store raises: the SDK tries again then.
    """

    def __init__(
        self,
        log: Log | Place,
        *,
        redact: Redaction | None = None,
        durability: str | None = None,
    ) -> None:
        super().__init__(log, redact=redact)
        self._durability = durability
        self._workers = Workers()
        self._lock = threading.Lock()
        self._known: OrderedDict[Key, Transcript] = OrderedDict()

    # What the SDK calls

    async def append(self, key: Mapping[str, str], entries: list[Any]) -> None:
        """Add lines, those that are there already left out; all or none."""
        whole = _key(key)
        if not entries:
            return
        given = list(entries)
        await self._change(whole, lambda: self._transcript(whole).append(self.log, given))

    async def load(self, key: Mapping[str, str]) -> list[Any] | None:
        """The lines; None where there is no such session."""
        whole = _key(key)
        return await self._ask(whole, lambda: self._transcript(whole).load(self.log))

    async def list_sessions(self, project_key: str) -> list[dict[str, Any]]:
        """The sessions of a project: `session_id`, and `mtime`, Unix epoch in milliseconds."""

        def found() -> list[dict[str, Any]]:
            return [
                {"session_id": stream.metadata["session_id"], "mtime": changed}
                for stream, changed in self._sessions(project_key)
            ]

        return await self._ask(Key(_text(project_key), ""), found)

    async def list_session_summaries(self, project_key: str) -> list[dict[str, Any]]:
        """The summaries of a project's sessions, as the SDK folds them."""

        def found() -> list[dict[str, Any]]:
            return [
                {**summary, "mtime": changed}
                for stream, changed in self._sessions(project_key)
                if (summary := summary_of(stream)) is not None
            ]

        return await self._ask(Key(_text(project_key), ""), found)

    async def list_subkeys(self, key: Mapping[str, str]) -> list[str]:
        """The subpaths of a session."""
        whole = _key(key)._replace(subpath="")

        def found() -> list[str]:
            children = children_of(self.log, name_of(whole, self._redact))
            return [str(each.metadata["subpath"]) for each in children if len(each)]

        return await self._ask(whole, found)

    async def delete(self, key: Mapping[str, str]) -> None:
        """Delete a session with its subagents, or one subpath: see `remove`.

        Where a server does not let this client delete it is hidden, and a warning says so, once.
        """
        removed = await self.remove(key, reason="the session was deleted")
        if removed.hidden:
            warn(
                f"{removed.hidden[0]}: hidden, not deleted: the token lacks the right admin here;"
                " `transit delete` does it, where the store is",
                key=f"claude-hidden {self.log.path}",
            )

    # Beyond the SDK

    async def remove(self, key: Mapping[str, str], *, reason: str, basis: str = "owner") -> Removed:
        """Delete a session with its subagents, or one subpath, and say what became of each stream.

        reason, basis: as `Log.delete` takes them. The session goes last, so that one whose deletion
        was interrupted can be deleted again. Raises `DependentsError` and `RetainedError`.
        """
        whole = _key(key)
        return await self._change(whole, lambda: self._remove(whole, reason, basis))

    def close(self) -> None:
        """Wait for what is being written; close the store if it was opened here."""
        self._workers.close()
        super().close()

    # Inside

    def _transcript(self, key: Key) -> Transcript:
        with self._lock:
            found = self._known.get(key)
            if found is None:
                fold: Any = fold_session_summary
                found = Transcript(key, fold, self._redact, self._durability)
                self._known[key] = found
            self._known.move_to_end(key)
            while len(self._known) > _KNOWN_MAX:
                self._known.popitem(last=False)
            return found

    def _sessions(self, project_key: str) -> Iterator[tuple[Stream, int]]:
        """The sessions of a project, and when they were written to, Unix epoch in milliseconds."""
        for stream in self.log.streams(f"{PREFIX}{quoted(project_key, self._redact)}/"):
            if "subpath" not in stream.metadata:
                try:
                    yield stream, stream[-1].timestamp // 1_000_000
                except (OffsetError, ErasedError):
                    # Deleted meanwhile, or made by a program that was killed.
                    continue

    def _remove(self, key: Key, reason: str, basis: str) -> Removed:
        log, name = self.log, name_of(key, self._redact)
        streams = [] if key.subpath else list(children_of(log, name))
        if name in log:
            streams.append(log.stream(name))
        deleted: list[str] = []
        hidden: list[str] = []
        for stream in streams:
            done = delete_or_hide(log, stream, reason=reason, basis=basis)
            deleted += done.deleted
            hidden += done.hidden
        return Removed(tuple(deleted), tuple(hidden))

    async def _ask(self, key: Key, call: Callable[[], _T]) -> _T:
        return await self._workers.ask(key, call)

    async def _change(self, key: Key, call: Callable[[], _T]) -> _T:
        return await self._workers.change(key, call)


def _key(key: Mapping[str, str]) -> Key:
    """A key of the SDK's; `InvalidInputError` unless it names a project and a session."""
    if not isinstance(key, Mapping):
        raise InvalidInputError(f"not a key: {key!r}")
    return Key(
        _text(key.get("project_key")), _text(key.get("session_id")), key.get("subpath") or ""
    )


def _text(given: object) -> str:
    if not isinstance(given, str) or not given:
        raise InvalidInputError(f"a project or session is named by text, not {given!r}")
    return given
