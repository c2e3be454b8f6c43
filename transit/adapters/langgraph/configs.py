"""Where: what configurations name, and what records are picked by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transit import InvalidInputError
from transit.adapters.langgraph.history import Entry, Pending
from transit.adapters.langgraph.index import Thread
from transit.adapters.langgraph.redacting import Cleaner, safe_name
from transit.trace import Redaction


class Where:
    """The thread, namespace and checkpoint that a configuration names."""

    def __init__(self, config: Mapping[str, Any], policy: Redaction | None) -> None:
        given = config.get("configurable", {})
        if given.get("thread_id") is None:
            raise InvalidInputError("the configuration has no thread_id")
        self.thread_id = str(given["thread_id"])
        self.ns = safe_name(policy, given.get("checkpoint_ns") or "")
        self.checkpoint_id: str | None = given.get("checkpoint_id") or None
        self._all = given.get("checkpoint_ns") is None

    def takes(self, ns: str) -> bool:
        """Whether a listing takes checkpoints of a namespace: of all, where none is named."""
        return self._all or ns == self.ns


def config_of(thread: Thread, ns: str, checkpoint_id: str) -> dict[str, Any]:
    """The configuration that names a checkpoint."""
    return {
        "configurable": {
            "thread_id": thread.thread_id, "checkpoint_ns": ns, "checkpoint_id": checkpoint_id,
        }
    }  # fmt: skip


def cleaned(cleaner: Cleaner, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint as it may be recorded; what it is known by stays."""
    return {
        key: value if key in ("v", "id", "ts") else cleaner.value(value)
        for key, value in checkpoint.items()
    }


def headers_of(
    kind: str, ns: str, checkpoint_id: str, said: Mapping[str, Any], redacted: int
) -> dict[str, str]:
    """What records are picked by, and in how many places they were changed."""
    headers = {"kind": kind, "checkpoint": checkpoint_id}
    if ns:
        headers["ns"] = ns
    for key in ("source", "step", "run_id"):
        if said.get(key) is not None:
            headers[key] = str(said[key])
    if redacted:
        headers["redacted"] = str(redacted)
    return headers


def ordered(entry: Entry) -> list[tuple[str, Pending]]:
    """Writes in the order in which a run applies them, each with its task."""
    keyed = sorted(entry.writes.items(), key=lambda each: (each[1].path, *each[0]))
    return [(task, pending) for (task, _), pending in keyed]


def parent_of(thread: Thread, entry: Entry) -> Entry | None:
    """The checkpoint before, None where there is none any more."""
    if entry.parent is None:
        return None
    return thread.checkpoints.get(entry.ns, {}).get(entry.parent)
