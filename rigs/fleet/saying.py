"""What records say, as rows that any engine adds up: the same group-by answers all questions.

question, a, b   text: what is asked, and of what
value            int64, to be added up
text             of which the least is the answer, "" where none is asked for

failures         a tool                 results that are no success
first error      a store, its stream    text: offset, tool and what was said
tokens in, out   a store, its run       of the model's answers
calls            a store, its run       of tools
messages         a channel, an author   of chats
digests          nothing                forty bits of each record's BLAKE3: of store, stream,
                                        offset and payload
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from blake3 import blake3

if TYPE_CHECKING:
    import pyarrow

Key = tuple[str, str, str]
Answers = dict[Key, tuple[int, str]]
Row = tuple[str, str, str, int, str]

COLUMNS: Final = ("store", "stream", "offset", "headers", "payload")
NAMES: Final = ("question", "a", "b", "value", "text")
SQL: Final = (
    "SELECT question, a, b, CAST(sum(value) AS BIGINT) AS value, min(text) AS text"
    " FROM said GROUP BY question, a, b"
)
DIGESTS: Final = ("digests", "", "")
_FIRST: Final = "first error"
_OFFSET_DIGITS: Final = 9


def schema() -> pyarrow.Schema:
    """The Arrow schema of the rows."""
    import pyarrow as pa  # It is an extra.

    kinds = dict.fromkeys(NAMES, pa.string()) | {"value": pa.int64()}
    return pa.schema(list(kinds.items()))


def said(table: Any, *, kills: str = "", victims: frozenset[str] = frozenset()) -> pyarrow.Table:
    """The rows of some records; a table or a batch of `COLUMNS`.

    kills: a folder. The process that is first to read a store of `victims` is killed in it.
    """
    import pyarrow as pa  # It is an extra.

    columns = {name: table[name].to_pylist() for name in COLUMNS}
    if victims:
        die_once(Path(kills), victims & set(columns["store"]))
    records = zip(*columns.values(), strict=True)
    rows = [row for record in records for row in rows_of(*record)]
    made = zip(*rows, strict=True) if rows else [[] for _ in NAMES]
    return pa.table(dict(zip(NAMES, map(list, made), strict=True)), schema())


def die_once(folder: Path, stores: Iterable[str]) -> None:
    """Kill this process, unless another was killed for each of these stores already."""
    for store in sorted(stores):
        try:
            (folder / store).touch(exist_ok=False)
        except FileExistsError:
            continue
        os.kill(os.getpid(), signal.SIGKILL)


def rows_of(store: str, stream: str, offset: int, headers: Any, payload: bytes) -> Iterator[Row]:
    """What one record says."""
    yield (*DIGESTS, digest(store, stream, offset, payload), "")
    event = msgspec.json.decode(payload)
    if stream.startswith("irc/"):
        told = named(headers)
        # Others say who came and who left, and lines without a time are of either kind.
        if told["kind"] == "channel-message" and has_time(event):
            yield ("messages", stream, told["author_id"], 1, "")
        return
    run = "/".join(stream.split("/")[:2])
    if event["event"] == "model_call":
        for question, name in (("tokens in", "input"), ("tokens out", "output")):
            count = event.get(f"gen_ai.usage.{name}_tokens") or 0
            yield (question, store, run, max(0, count), "")
    elif event["event"] == "tool_request":
        yield ("calls", store, run, 1, "")
    elif event["event"] == "tool_result" and event["tool_status"] != "success":
        tool = event["tool_name"]
        text = event["error"].get("message") or event["result"]
        yield ("failures", tool, "", 1, "")
        yield (_FIRST, store, stream, 0, f"{offset:0{_OFFSET_DIGITS}}{tool}: {text}")


def has_time(message: Mapping[str, Any]) -> bool:
    """Whether a message of a log of IRC is from a line with a time."""
    head: str = message.get("source", {}).get("head", "")
    return head.startswith("[")


def digest(store: str, stream: str, offset: int, payload: bytes) -> int:
    """Forty bits, so that a sum of millions fits into an int64."""
    whole = b"%s %s %d %s" % (store.encode(), stream.encode(), offset, payload)
    return int.from_bytes(blake3(whole).digest()[:5], "big")


def named(headers: Any) -> Mapping[str, str]:
    """Headers by name, as an engine has them: JSON, a map, or pairs."""
    found: dict[str, str] = json.loads(headers) if isinstance(headers, str) else dict(headers)
    return found


def answers(rows: Iterable[Row]) -> Answers:
    """What rows come to that are added up already, or are not."""
    found: Answers = {}
    for question, a, b, value, text in rows:
        before = found.get((question, a, b))
        total = (value, text)
        if before is not None:
            total = before[0] + value, min(before[1], text)
        found[question, a, b] = total
    return {
        key: (value, text[_OFFSET_DIGITS:] if key[0] == _FIRST else text)
        for key, (value, text) in found.items()
        if value or text
    }
