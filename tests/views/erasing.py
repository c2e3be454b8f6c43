"""Three hundred runs of which one must go, with all that hangs on it."""

from __future__ import annotations

from typing import Any

import msgspec

import transit
from transit import trace, views
from transit.views.scans.runs import runs_columns

from ..engine.canary import CANARY

SECRET = "run-150"
SHARED = b"a file that two runs read " * 4000
ALONE = CANARY * 8000


class Word(msgspec.Struct, frozen=True):
    """A row of the view: a text that was in a run."""

    text: str
    times: int = 0


words = views.table("words", Word, key="text")


class Custom(msgspec.Struct, frozen=True):
    """What the reducer reads of an event."""

    event: str
    data: dict[str, Any] | None = None


@views.reducer(words, reads=Custom)
def count(words: Any, event: Custom, at: object) -> None:
    """Count what was said."""
    value = (event.data or {}).get("value")
    text = str(value.get("said", "") if isinstance(value, dict) else "")
    row = words.get(text) or Word(text)
    words.put(Word(row.text, row.times + 1))


def say(task: trace.Task, text: str) -> None:
    """Record a text in every way a run can hold it."""
    task.custom("said", {"said": text})
    with task.tool("read", {"path": text}) as call:
        call.result(text)


def record(log: transit.Log, runs: int = 300) -> None:
    """The runs; `SECRET` has the canary, a child, a fork, a note, artifacts, a view, a cursor."""
    for number in range(runs):
        name = f"run-{number}"
        secret = name == SECRET
        with trace.task(log, name, actor="agent") as task:
            say(task, CANARY.decode() if secret else f"plain {number}")
            if number in (149, 150):
                task.artifact(SHARED, kind="file")
            if secret:
                task.artifact(ALONE, kind="file")
                with trace.task(log, "child", actor="agent") as child:
                    say(child, "of a child")
        if number % 100 == 99:
            log.seal()
    stream = log.stream(SECRET)
    stream.branch("fork", at=2).append(
        b'{"event":"custom","data":{"value":{"said":"' + CANARY + b'"}}}'
    )
    trace.annotate(log, SECRET, "remark", comment=CANARY.decode())
    stream.cursor("reader").advance(2, state=CANARY)
    view = views.open(log, count)
    for name in (SECRET, "run-1", "fork"):
        assert len(list(view.save(log.stream(name)).words)) > 1
    query = "SELECT count(*) AS n FROM events"
    assert views.sql(log, query, columns=runs_columns())
    # Columns of so few records are made when they are asked for; of many, they are files here.
    log.cache("views").put("columns.parquet", CANARY)


def everything(log: transit.Log) -> dict[str, list[bytes]]:
    """All payloads of all streams of the user's."""
    return {stream.name: [r.payload for r in stream] for stream in log.streams()}
