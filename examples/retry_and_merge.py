"""An agent loop in miniature: a retry and a critique as branches, and what to make of them.

    python examples/retry_and_merge.py

The first try guesses at its third step and fails. A retry forks just before; while it goes on, a
critic remarks on a fork of it. Retry and critique are then merged in two ways, and one of the two
is read on by an indexer that remembers its place.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import transit


def say(stream: transit.Stream, kind: str, *texts: str) -> None:
    stream.append_many([text.encode() for text in texts], headers={"kind": kind})


def show(stream: transit.Stream) -> None:
    print(f"{stream.name}  ({stream.kind})")
    for record in stream:
        print(f"  {record.offset}  {record.payload.decode():<20}  from {record.origin.stream}")


def play(log: transit.Log) -> None:
    task = log.create("task", {"reason": "initial request"})
    say(task, "step", "read the code", "write a test", "guess a fix", "the test fails")

    retry = task.branch("task/retry", at=1, metadata={"reason": "the guess was wrong"})
    say(retry, "step", "measure first", "repair the rounding")
    critique = retry.branch("task/critique", metadata={"actor": "critic"})
    say(critique, "remark", "negative values?")
    say(retry, "step", "the test passes")

    # What would a merge make? Nothing is written to find out.
    plan = log.plan([retry, critique], policy="append")
    base, spans = plan.base, len(plan.spans)
    assert base is not None  # a critique of the retry has it in common with the retry
    print(f"planned: {plan.count} records, {spans} spans, base {base.stream}@{base.offset}")

    reviewed = log.merge("task/reviewed", [retry, critique], policy="append")
    by_time = log.merge("task/by-time", [retry, critique], policy="interleave")
    show(reviewed)
    show(by_time)

    # An indexer reads on where it stopped, in this process or in the next one.
    cursor = reviewed.cursor("indexer")
    cursor.advance(cursor.position + 3)
    late = reviewed.append(b"done", headers={"kind": "outcome"})
    for record in reviewed.tail(cursor.position, timeout=0.05):
        cursor.advance(record.offset + 1)
    print(f"indexed up to {cursor.position} of {late.last + 1} records")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        with transit.open(Path(folder, "store")) as log:
            play(log)
        with transit.open(Path(folder, "store"), mode="read") as log:
            reviewed = log.stream("task/reviewed")
            names = [stream.name for stream in log.lineage.ancestors(reviewed)]
            print(f"{reviewed.name} descends from {', '.join(names)}")
            print(f"its indexer is at {reviewed.cursor('indexer').position}")


if __name__ == "__main__":
    main()
