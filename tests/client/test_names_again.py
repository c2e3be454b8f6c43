"""A name that was hidden and bound again, over a connection: as where the store is."""

from __future__ import annotations

import transit
from tests.trace.test_merging import ask, requests
from transit import trace


def test_a_run_is_read_after_what_it_descends_from_was_hidden(
    log: transit.Log, opened: transit.Log
) -> None:
    with trace.task(opened, "t") as task:
        asked = [ask(task, "base"), ask(task, "base", "more")]
    retry = task.retry(at=0, name="again")
    asked.append(ask(retry, "base", "other"))
    trace.merge(opened, ["t", "again"], policy="append", name="both")
    old = opened.stream("t")
    opened.hide(old)
    ask(trace.task(opened, "t"), "another", "run")
    for store in (log, opened):
        assert requests(store, "again") == [asked[0], asked[2]]
        assert requests(store, "both") == asked
        assert store.stream("again").parent_uids == (old.uid,)
        assert old.uid in {span.uid for span in store.lineage.spans("both")}
        both = store.stream("both")
        assert [step.inherited for step in trace.read(store, "both").steps()] == (
            [True] * both.own_start
        )
