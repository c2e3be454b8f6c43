"""All that a store answers, question by question, as plain values.

A damaged store may answer some questions and refuse others. So each is asked by itself, and each
answer is compared by itself: it is right, or refused with an error that says what is damaged, or
wrong. `Absent` stands for "there is no such thing", which is wrong where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

import transit

Question = tuple[str | int, ...]
Answers = Mapping[Question, object]
ABSENT: Final = "there is none"

# The names of the cursors that samples have, on any stream.
CURSORS: Final = ("reader",)


class Refused(NamedTuple):
    """What was raised instead of an answer."""

    error: transit.TransitError


def questions_of(log: transit.Log) -> list[Question]:
    """Everything that can be asked of a store, which must be whole."""
    asked: list[Question] = [("names",), ("graph",)]
    for stream in log.streams():
        name = stream.name
        asked += [("facts", name), ("spans", name), ("records", name), ("columns", name)]
        asked += [("record", name, offset) for offset in range(len(stream))]
        asked += [("cursor", name, cursor) for cursor in CURSORS]
    return asked


def ask(log: transit.Log, questions: Iterable[Question]) -> dict[Question, object]:
    """The answer to each question: a value, `ABSENT`, or `Refused`."""
    return {question: _answer(log, question) for question in questions}


def ask_all(log: transit.Log) -> dict[Question, object]:
    """The answers of a whole store to all that can be asked of it."""
    return ask(log, questions_of(log))


def without_details(answers: Answers) -> dict[Question, object]:
    """The answers that show everything once: without each record by itself, and as columns."""
    return {q: answer for q, answer in answers.items() if q[0] not in ("record", "columns")}


def _answer(log: transit.Log, question: Question) -> object:
    kind, *rest = question
    try:
        return _ANSWERS[str(kind)](log, *rest)
    except (transit.NotFoundError, transit.OffsetError):
        return ABSENT
    except transit.TransitError as error:
        return Refused(error)


def _names(log: transit.Log) -> object:
    return [stream.name for stream in log.streams()]


def _graph(log: transit.Log) -> object:
    return log.lineage.graph()


def _facts(log: transit.Log, name: str) -> object:
    stream = log.stream(name)
    plan = stream.merge_plan
    return (
        stream.id, stream.uid, stream.kind, dict(stream.metadata), stream.codec, stream.parents,
        stream.fork_offset, plan, stream.next_offset, stream.last_offset,
    )  # fmt: skip


def _spans(log: transit.Log, name: str) -> object:
    return log.lineage.spans(log.stream(name))


def _row(record: transit.Record) -> object:
    headers = sorted(record.headers.items())
    return record.offset, record.timestamp, record.payload, headers, record.origin


def _records(log: transit.Log, name: str) -> object:
    return list(map(_row, log.stream(name).read()))


def _record(log: transit.Log, name: str, offset: int) -> object:
    return _row(log.stream(name)[offset])


def _columns(log: transit.Log, name: str) -> object:
    offsets: list[int] = []
    timestamps: list[int] = []
    payloads: list[bytes] = []
    headers: list[object] = []
    data = b""
    # Where batches end depends on where the records lie, so they are put together.
    for batch in log.stream(name).batches():
        offsets += batch.offsets
        timestamps += batch.timestamps
        payloads += batch.payloads
        headers += [sorted(each.items()) for each in batch.headers]
        data += batch.data
    return offsets, timestamps, payloads, headers, data


def _cursor(log: transit.Log, name: str, cursor: str) -> object:
    return log.stream(name).cursor(cursor).position


_ANSWERS: Final[Mapping[str, Callable[..., object]]] = {
    "names": _names,
    "graph": _graph,
    "facts": _facts,
    "spans": _spans,
    "records": _records,
    "record": _record,
    "columns": _columns,
    "cursor": _cursor,
}


class Compared(NamedTuple):
    """How the answers of a damaged store differ from what they should be.

    wrong: what is neither right nor refused, as text. refused: the errors, in order.
    """

    wrong: list[str]
    refused: list[transit.TransitError]


def compare(found: Answers, expected: Answers) -> Compared:
    """What of `found` is refused, and what is not as in `expected`; absent there, absent here."""
    wrong, refused = [], []
    for question, answer in found.items():
        if isinstance(answer, Refused):
            refused.append(answer.error)
        elif answer != expected.get(question, ABSENT):
            wrong.append(f"{question}: {answer!r:.120} and not {expected.get(question)!r:.120}")
    return Compared(wrong, refused)
