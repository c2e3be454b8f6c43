"""A name that was hidden and bound again: lineage goes by uids and numbers."""

from __future__ import annotations

import transit


def test_lineage_tells_streams_of_one_name_apart(log: transit.Log) -> None:
    old = log.create("a")
    old.append_many([b"one", b"two"])
    branch = old.branch("b", at=0)
    log.hide(old)
    new = log.create("a")
    new.append(b"three")
    merged = log.merge("m", [old, new, branch], policy="append")
    assert branch.parent_uids == (old.uid,)
    assert merged.parent_uids == (old.uid, new.uid, branch.uid)
    assert (old.parent_uids, new.parent_uids) == ((), ())
    assert [(span.uid, span.origin, span.count) for span in log.lineage.spans(merged)] == [
        (old.uid, ("a", 0), 2),
        (new.uid, ("a", 0), 1),
    ]
    (only_new,) = log.lineage.diff(new, old).left
    assert (only_new.uid, only_new.origin) == (new.uid, ("a", 0))
    graph = log.lineage.graph()
    assert [(edge.parent_id, edge.child_id) for edge in graph.edges] == [
        (old.id, branch.id),
        (old.id, merged.id),
        (new.id, merged.id),
        (branch.id, merged.id),
    ]
    assert graph.family([new.id]) == {new.id, merged.id}
    assert graph.family([branch.id]) == {old.id, branch.id, merged.id}
