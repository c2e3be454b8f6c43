"""TransitHooks: what the Claude Agent SDK tells its hooks, as it happens.

What is told of a session is the stream `claude-hooks/<session>`: a record an event, its input as
JSON, in order. A hook decides nothing, and raises nothing (`transit.trace.dropped`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from claude_agent_sdk import HookMatcher

from transit import AlreadyExistsError, Log, NotFoundError, Stream
from transit.adapters.encoding import encode_any, stored
from transit.adapters.naming import described, header, quoted
from transit.adapters.opening import Adapter, Place
from transit.adapters.waiting import Workers
from transit.trace import Redaction, dropped
from transit.trace.redaction import default_redaction

PREFIX: Final = "claude-hooks/"
EVENTS: Final = (
    "PreToolUse", "PostToolUse", "PostToolUseFailure", "UserPromptSubmit", "Stop", "SubagentStart",
    "SubagentStop", "PreCompact", "Notification", "PermissionRequest",
)  # fmt: skip


class TransitHooks(Adapter):
    """Records hooks; `cls(log)`, or `cls.open(folder)`.

    redact: a policy for all that is written; None: that of `transit.trace.set_redaction`.
    durability: what each record waits for.
    """

    def __init__(
        self, log: Log | Place, *, redact: Redaction | None = None, durability: str = "os"
    ) -> None:
        super().__init__(log, redact=redact or default_redaction())
        self._durability = durability
        self._workers = Workers()

    def matchers(
        self, more: Mapping[str, list[HookMatcher]] | None = None
    ) -> dict[Any, list[HookMatcher]]:
        """What `ClaudeAgentOptions(hooks=…)` takes, with the hooks of `more` beside it."""
        mine = {event: [HookMatcher(hooks=[self.record])] for event in EVENTS}
        return {
            event: [*mine.get(event, []), *(more or {}).get(event, [])]
            for event in dict.fromkeys((*mine, *(more or {})))
        }

    async def record(
        self, given: Mapping[str, Any], tool_use_id: str | None, context: object
    ) -> dict[str, Any]:
        """A hook of any event: writes it down, and has no opinion."""
        whole = {"input": given, "tool_use_id": tool_use_id}
        session = given.get("session_id")
        session = session if isinstance(session, str) else ""
        try:
            await self._workers.change(session, lambda: self._write(session, whole))
        except Exception as error:
            dropped.add(PREFIX + quoted(session, self._redact), error)
        return {}

    def close(self) -> None:
        """Wait for what is being written; close the store if it was opened here."""
        self._workers.close()
        super().close()

    def _write(self, session: str, whole: dict[str, Any]) -> None:
        log, given = self.log, whole["input"]
        kept = stored(log, encode_any(whole, self._redact), self._durability)
        headers = {"kind": header(given.get("hook_event_name"), self._redact), **kept.headers}
        self._stream(log, session, given).append(
            kept.payload, headers=headers, durability=self._durability
        )

    def _stream(self, log: Log, session: str, given: Mapping[str, Any]) -> Stream:
        name = PREFIX + quoted(session, self._redact)
        try:
            return log.stream(name)
        except NotFoundError:
            about = {key: given.get(key) for key in ("cwd", "transcript_path")}
            ids = {"session_id": session}
            metadata = described("claude-hooks", "claude-agent-sdk", ids, self._redact, about)
        try:
            return log.create(name, metadata, durability=self._durability)
        except AlreadyExistsError:
            return log.stream(name)
