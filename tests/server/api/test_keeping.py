"""How long records are kept, told and changed over HTTP; and who may do that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import transit
from tests.server.api.calling import Server
from transit import Log
from transit.server.access import ADMIN, APPEND, BRANCH, EVERYTHING, MERGE, READ, Grant

OTHER = "a stream that the token does not allow to read"
LIMITS = {"keep_for": None, "expire_after": None, "bytes_max": None, "count_max": None}


def grant(*rights: str, prefix: str = "a/") -> Grant:
    return Grant("someone", ((prefix, frozenset(rights)),))


@pytest.fixture(autouse=True)
def streams(log: Log) -> None:
    for name in ("a/one", "a/two", "b/one"):
        log.create(name).append_many([b"0", b"1", b"2", b"3"])


CHANGES: dict[str, dict[str, Any]] = {
    "retain": {"count_max": 2},
    "hold": {"reason": "law"},
    "release-hold": {"reason": "before"},
    "trim": {"before": 2},
    "delete": {"reason": "wish"},
}


def test_a_stream_says_how_long_it_is_kept_and_who_said_so(server: Server, log: Log) -> None:
    server.app.granted = grant(READ, ADMIN)
    assert server.post("/v1/hold/a/one", {"reason": "case 7"}).status == 200
    limits = {"keep_for": 1000, "expire_after": 2000}
    assert server.post("/v1/retain/a/one", {**limits, "reason": "policy 3"}).status == 200
    found = server.get("/v1/retention/a/one").value
    stream = log.stream("a/one")
    held, limited = stream.became()
    assert (held.what, held.hold, held.by) == ("held", "case 7", "someone")
    assert (limited.what, limited.reason, limited.by) == ("limited", "policy 3", "someone")
    assert found["holds"] == [{"reason": "case 7", "since": held.when, "by": "someone"}]
    assert found["retention"] == {**LIMITS, **limits}
    assert found["kept_until"] == stream[3].written + 1000 * 10**9
    assert found["expires"] == stream[0].written + 2000 * 10**9
    assert "deleted" not in found


def test_what_went_is_told_with_when_who_on_what_and_why(server: Server, log: Log) -> None:
    server.app.granted = grant(READ, ADMIN)
    trimmed = server.post("/v1/trim/a/one", {"before": 2, "reason": "old", "basis": "court"})
    assert (trimmed.value["streams"], trimmed.value["records"]) == (["a/one"], 2)
    uid = log.stream("a/one").uid
    assert server.get("/v1/records/a/one", start="0").status == 410
    deleted = server.post("/v1/delete/a/one", {"reason": "wish", "basis": "gdpr-17"})
    assert (deleted.value["streams"], deleted.value["records"]) == (["a/one"], 2)
    assert server.get("/v1/streams/a/one").status == 404
    log.erase()
    found = server.get(f"/v1/retention/$${uid}").value
    told = [(each["what"], each.get("by", ""), each["basis"], each["reason"])
            for each in found["became"]]  # fmt: skip
    assert told == [
        ("trimmed", "someone", "court", "old"),
        ("deleted", "someone", "gdpr-17", "wish"),
        ("erased", "", "gdpr-17", "wish"),
    ]
    assert (found["deleted"], found["erased"], found["hidden"]) == (True, True, True)
    assert found["became"][-1]["bytes"] > 0


def test_the_list_has_what_is_held_limited_trimmed_or_deleted(server: Server, log: Log) -> None:
    log.stream("a/two").hold("law")
    log.stream("b/one").trim(before=1)
    log.delete("a/one", reason="wish")
    log.create("a/plain")

    def names(**query: str) -> list[str]:
        return [line["stream"] for line in server.get("/v1/retention", **query).lines]

    assert names() == ["a/one", "a/two", "b/one"]
    assert names(prefix="a/") == ["a/one", "a/two"]
    page = server.get("/v1/retention", limit="2")
    assert names(after=page.headers["transit-next"]) == ["b/one"]
    server.app.granted = grant(READ, prefix="b/")
    assert names() == ["b/one"]
    server.app.granted = grant(ADMIN, prefix="b/")
    assert server.get("/v1/retention").status == 403


# Rights


@pytest.mark.parametrize("verb", CHANGES)
def test_a_change_needs_the_right_admin_on_that_stream(server: Server, log: Log, verb: str) -> None:
    stream = log.stream("a/one")
    stream.hold("before")
    if verb in ("trim", "delete"):
        stream.release_hold("before")
    before = log.status().records, stream.became()
    all_but = grant(READ, APPEND, BRANCH, MERGE)
    for given in (all_but, grant(ADMIN, prefix="b/"), grant(ADMIN, prefix="a/two")):
        server.app.granted = given
        for name in ("a/one", f"$${stream.uid}"):
            reply = server.post(f"/v1/{verb}/{name}", CHANGES[verb])
            assert reply.status == 403, reply.body
    assert (log.status().records, stream.became()) == before
    server.app.granted = grant(ADMIN)
    assert server.post(f"/v1/{verb}/a/one", CHANGES[verb]).status == 200
    assert len(stream.became()) == len(before[1]) + 1


def test_what_is_about_all_streams_needs_the_right_for_all(server: Server, log: Log) -> None:
    log.stream("a/one").retain(transit.Retention(count_max=1))
    log.stream("a/one").branch("a/child", at=1)
    for given in (grant(READ, ADMIN), grant(READ, prefix="")):
        server.app.granted = given
        assert server.post("/v1/retain", {}).status == 403
        assert server.post("/v1/retain", {"dry_run": True}).status == 403
        cascade = {"reason": "wish", "cascade": True}
        assert server.post("/v1/delete/a/one", cascade).status == 403
        assert server.post("/v1/delete/a/one", {**cascade, "dry_run": True}).status == 403
    assert not log.stream("a/child").deleted
    server.app.granted = grant(ADMIN, prefix="")
    (due,) = server.post("/v1/retain", {"dry_run": True}).value
    assert due["refused"] == "a/child needs 0 to 1"
    done = server.post("/v1/delete/a/one", {"reason": "wish", "cascade": True}).value
    assert done["streams"] == ["a/child", "a/one"]


def test_streams_in_the_way_are_named_to_who_may_read_them(server: Server, log: Log) -> None:
    log.stream("a/one").branch("b/secret", at=1)
    log.stream("a/one").branch("a/known", at=0)
    server.app.granted = grant(READ, ADMIN)
    for path, body in (("delete", {"reason": "wish"}), ("trim", {"before": 3})):
        reply = server.post(f"/v1/{path}/a/one", body)
        assert (reply.status, reply.value["error"]) == (409, "DependentsError")
        assert b"b/secret" not in reply.body
        assert sorted(reply.value["dependents"]) == [[OTHER, 0, 1], ["a/known", 0, 0]]
        tried = server.post(f"/v1/{path}/a/one", {**body, "dry_run": True})
        assert tried.status == 200
        assert b"b/secret" not in tried.body
        assert sorted(tried.value["dependents"]) == [[OTHER, 0, 1], ["a/known", 0, 0]]
    server.app.granted = EVERYTHING
    assert b"b/secret" in server.post("/v1/delete/a/one", {"reason": "wish"}).body


# What is in the way, and what is asked for wrongly


def test_a_hold_keeps_everything_and_a_limit_keeps_until_its_time(server: Server) -> None:
    server.post("/v1/hold/a/one", {"reason": "law"})
    for path, body in (("delete", {"reason": "x", "basis": "court"}), ("trim", {"before": 1})):
        reply = server.post(f"/v1/{path}/a/one", body)
        assert (reply.status, reply.value["error"]) == (409, "RetainedError")
        assert (reply.value["exit_code"], reply.value["holds"]) == (16, ["law"])
    assert server.post("/v1/release-hold/a/one", {"reason": "other"}).status == 404
    assert server.post("/v1/release-hold/a/one", {"reason": "law"}).status == 200
    server.post("/v1/retain/a/one", {"keep_for": 100_000})
    reply = server.post("/v1/delete/a/one", {"reason": "x"})
    assert (reply.status, reply.value["until"] > 0) == (409, True)
    assert server.post("/v1/delete/a/one", {"reason": "x", "basis": "court"}).status == 200


def test_a_release_that_is_sent_again_is_done_once(server: Server, log: Log) -> None:
    stream = log.stream("a/one")
    stream.hold("law")
    (hold,) = server.get("/v1/retention/a/one").value["holds"]
    asked = {"reason": "law", "since": hold["since"]}
    for _ in range(2):
        assert server.post("/v1/release-hold/a/one", asked).status == 200
    assert [each.what for each in stream.became()] == ["held", "released"]
    # One that was placed later is another.
    stream.hold("law")
    assert server.post("/v1/release-hold/a/one", asked).status == 200
    assert stream.holds == ("law",)


def test_a_deletion_that_is_sent_again_takes_nothing_more(server: Server, log: Log) -> None:
    uid = log.stream("a/one").uid
    first = server.post(f"/v1/delete/$${uid}", {"reason": "x"}).value
    assert first["records"] == 4
    records = log.status().records
    again = server.post(f"/v1/delete/$${uid}", {"reason": "x"}).value
    assert (again["records"], again["streams"]) == (0, [])
    assert log.status().records == records


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("retain", {"keep_for": 0}), ("retain", {"keep_for": -1}), ("retain", {"days": 3}),
        ("retain", {"keep_for": 2**63}), ("hold", {}), ("hold", {"reason": ""}),
        ("hold", {"reason": "é" * 1000}), ("hold", {"reason": 7}), ("trim", {}),
        ("trim", {"before": -1}), ("trim", {"before": 5}), ("trim", {"before": "1"}),
        ("delete", {}), ("delete", {"reason": "x", "basis": "mood"}),
        ("delete", {"reason": "x", "durability": "tiered"}),
        ("delete", {"reason": "x", "by": "somebody else"}),
    ],
)  # fmt: skip
def test_a_change_that_cannot_be_is_refused(
    server: Server, log: Log, verb: str, body: dict[str, Any]
) -> None:
    reply = server.post(f"/v1/{verb}/a/one", body)
    assert reply.status == 400, reply.body
    assert log.stream("a/one").became() == ()


def test_another_expectation_of_the_stream_is_refused(server: Server, log: Log) -> None:
    for verb, body in (("delete", {"reason": "x"}), ("trim", {"before": 1}), ("retain", {})):
        reply = server.post(f"/v1/{verb}/a/one", {**body, "expect": 3})
        assert (reply.status, reply.value["error"]) == (409, "ConflictError"), verb
    assert log.stream("a/one").became() == ()


@pytest.fixture
def reading(log: Log) -> Iterator[Server]:
    log.sync()
    with transit.open(log.path, mode="read") as opened:
        server = Server(opened)
        yield server
        server.close()


@pytest.mark.parametrize("verb", CHANGES)
def test_a_store_that_is_only_read_takes_no_change(reading: Server, verb: str) -> None:
    reply = reading.post(f"/v1/{verb}/a/one", CHANGES[verb])
    assert (reply.status, reply.value["error"]) == (403, "ReadOnlyError")
    assert reading.get("/v1/retention/a/one").status == 200
