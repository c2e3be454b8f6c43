"""Messages, threads and decisions as JSON objects. Every object of a kind has the same keys."""

from __future__ import annotations

from transit import Position, chat
from transit.cli.values import moment_text, second_text

Row = dict[str, object]


def ref(position: Position) -> str:
    """A position as STREAM@OFFSET."""
    return f"{position.stream}@{position.offset}"


def moment(time_ns: int) -> str | None:
    """A time as RFC 3339; None for one in no year that has a name."""
    try:
        return moment_text(time_ns)
    except (OverflowError, ValueError):
        return None


def minute(time_ns: int) -> str:
    """A time as a person reads it in a table: to the minute, UTC."""
    try:
        return second_text(time_ns // 1_000_000_000)[:16].replace("T", " ")
    except (OverflowError, ValueError):
        return ""


def message_row(message: chat.Message, thread: int | None, **more: object) -> Row:
    """A message as it is shown now. thread: the offset that its thread begins at."""
    return {
        "kind": "message",
        "message": ref(message.position),
        "offset": message.offset,
        "time": moment(message.time),
        "author": message.author,
        "name": message.name,
        "text": message.text,
        "thread": thread,
        **more,
        "id": message.id,
        "answers": message.answers,
        "starts": message.starts,
        "system": message.system,
        "edits": [
            {"author": each.author, "time": moment(each.time), "text": each.text}
            for each in message.edits
        ],
        "removed": message.removed,
        "removed_by": message.removed_by,
        "removed_reason": message.removed_reason,
        "reactions": message.reactions,
        "headers": message.headers,
        "data": message.data,
    }


def verdict_row(verdict: chat.Decision | chat.Override | None) -> Row | None:
    """What a classifier or a person said of a message."""
    if verdict is None:
        return None
    if isinstance(verdict, chat.Decision):
        return decision_row(verdict)
    return {
        "kind": "override",
        "offset": verdict.message,
        "action": verdict.action,
        "parent": verdict.parent,
        "other": verdict.other,
        "by": verdict.by,
        "reason": verdict.reason,
        "supersedes": verdict.supersedes_ref,
        "decided_at": moment(verdict.decided_at),
        "record": ref(verdict.position),
    }


def decision_row(decision: chat.Decision) -> Row:
    """What a classifier said."""
    return {
        "kind": "decision",
        "offset": decision.message,
        "parent": decision.parent,
        "score": decision.score,
        "decided": decision.decided,
        "threshold": decision.threshold,
        "alternatives": [
            {"parent": each.parent, "score": each.score} for each in decision.alternatives
        ],
        "classifier": decision.classifier,
        "version": decision.version,
        "digest": decision.digest,
        "decided_at": moment(decision.decided_at),
        "record": ref(decision.position),
    }


def summary_row(summary: chat.Summary) -> Row:
    """What somebody wrote of a thread."""
    return {
        "kind": "summary",
        "summary": ref(summary.position),
        "time": moment(summary.time),
        "by": summary.by,
        "stale": summary.stale,
        "covers": summary.covers.channel,
        "covers_replies": summary.covers.replies,
        "text": summary.text,
    }
