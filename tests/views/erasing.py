"""Many runs of which one must go, with all that hangs on it."""

from __future__ import annotations

from typing import Any

import msgspec

import transit
from transit import trace, views
from transit.views.scans.runs import runs_columns

from ..engine.canary import CANARY
from ..evidence.published import key_of

RUNS = 3000
SECRET = "run-150"
PROVED_EVERY = 50
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
    assert len(columns_files(log)) == runs // 100


def columns_files(log: transit.Log) -> list[str]:
    """The columns files of all sealed records, made where they are not there."""
    return runs_columns().scan(log).to_parquet_paths()


def everything(log: transit.Log) -> dict[str, list[bytes]]:
    """All payloads of all streams of the user's."""
    return {stream.name: [r.payload for r in stream] for stream in log.streams()}


class Others:
    """All that was there before an erasure, under a checkpoint, and must be there after it."""

    def __init__(self, log: transit.Log) -> None:
        self.key = key_of(log.store_id)
        self.note = log.checkpoint(self.key)
        gone = (SECRET, "fork")
        self.payloads = {name: found for name, found in everything(log).items() if name not in gone}

    def check(self, log: transit.Log) -> None:
        """All read as before, and some prove at the checkpoint of before and at a new one."""
        assert everything(log) == self.payloads
        notes = (self.note, log.checkpoint(self.key))
        for name in list(self.payloads)[::PROVED_EVERY]:
            for note in notes:
                proof = log.prove(name, records=(0, None), checkpoint=note)
                shown = transit.check_proof(proof, self.key.verifying).records()
                assert [record.payload for record in shown] == self.payloads[name]
        assert log.verify().findings == ()

    def audit(self, remote: object, **options: object) -> transit.Report:
        """An audit of all bytes in the remote, which has the checkpoint of before."""
        keys = [self.key.verifying]
        report = transit.audit(remote, keys=keys, checkpoint=self.note, **options)  # type: ignore[arg-type]
        assert report.findings == ()
        return report
