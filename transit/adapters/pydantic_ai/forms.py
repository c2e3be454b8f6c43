"""Entries and records of conversations as JSON, as pydantic-ai itself serializes them.

Owns what redaction may change: what messages say, and who they are from; never the ids by which
entries are found, nor the revision.
"""

from __future__ import annotations

import base64
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter
from pydantic_ai.conversation_store import ConversationEntry, ConversationRecord
from pydantic_ai.messages import ModelMessagesTypeAdapter

from transit import InvalidInputError
from transit.adapters.encoding import Encoded, encode
from transit.trace import Redaction

# As messages are: only the outermost type says how bytes are told.
_records: Final[TypeAdapter[Any]] = TypeAdapter(
    list[ConversationRecord],
    config=ConfigDict(ser_json_bytes="base64", val_json_bytes="base64"),
)
_OWN: Final = (
    "head_id",
    "forked_at",
    "branches",
    "revision",
    "updated_at",
    "format_version",
    "usage",
)


def entry_form(entry: ConversationEntry, redact: Redaction | None) -> Encoded:
    """An entry: its id, the id of the one before it, and its message."""
    (message,) = ModelMessagesTypeAdapter.dump_python([entry.message], mode="json")
    own = {"id": entry.id, "parent_id": entry.parent_id, "kind": entry.kind}
    if redact is None:
        return encode({**own, "message": message})
    message, headers = _redacted(message, redact)
    try:
        ModelMessagesTypeAdapter.validate_python([message])
    except ValueError as error:
        raise InvalidInputError(f"redacted, it is no message any more: {error}") from None
    return Encoded(encode({**own, "message": message}).payload, headers)


def entry_of(form: dict[str, Any]) -> ConversationEntry:
    """The entry that has this form."""
    (message,) = ModelMessagesTypeAdapter.validate_python([form["message"]])
    return ConversationEntry(
        id=form["id"], parent_id=form["parent_id"], message=message, kind=form["kind"]
    )


def record_form(record: ConversationRecord, redact: Redaction | None) -> Encoded:
    """A record."""
    (form,) = _records.dump_python([record], mode="json")
    if redact is None:
        return encode(form)
    said = {key: value for key, value in form.items() if key not in _OWN}
    said, headers = _redacted(said, redact)
    return Encoded(encode({**form, **said}).payload, headers)


def record_of(form: dict[str, Any]) -> ConversationRecord:
    """The record that has this form."""
    found: list[ConversationRecord] = _records.validate_python([form])
    return found[0]


def _redacted(form: Any, redact: Redaction) -> tuple[Any, dict[str, str]]:
    binaries: list[str] = []
    hidden = 0

    def set_apart(value: Any) -> Any:
        nonlocal hidden
        if isinstance(value, list):
            return [set_apart(each) for each in value]
        if not isinstance(value, dict):
            return value
        found = {key: set_apart(member) for key, member in value.items()}
        if value.get("kind") == "binary" and isinstance(value.get("data"), str):
            kept = _binary(value["data"], redact)
            hidden += kept != value["data"]
            binaries.append(kept)
            # A number, which no pattern is about.
            found["data"] = len(binaries) - 1
        return found

    def put_back(value: Any) -> Any:
        if isinstance(value, list):
            return [put_back(each) for each in value]
        if not isinstance(value, dict):
            return value
        found = {key: put_back(member) for key, member in value.items()}
        if value.get("kind") == "binary" and type(value.get("data")) is int:
            found["data"] = binaries[value["data"]]
        return found

    cleaned, count = redact.value(set_apart(form))
    count += hidden
    return put_back(cleaned), {"redacted": str(count)} if count else {}


def _binary(data: str, redact: Redaction) -> str:
    """Bytes as base64, or what stands for them where their text has something to hide."""
    text = base64.urlsafe_b64decode(data).decode("utf-8", "replace")
    if redact.text(text)[0] == text:
        return data
    return base64.urlsafe_b64encode(redact.replacement.encode()).decode()
