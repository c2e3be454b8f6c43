"""Checkpoints, proofs and exhibits over HTTP: what is given to whom, and what a stranger checks."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import threading
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest

import transit
from tests.server.api.calling import Reply, Server
from transit import Log, SigningKey, trace
from transit.protocol.folders import unpack_zip
from transit.server.access import ADMIN, EVERYTHING, READ, Grant
from transit.server.proving import Signing, signing_of
from transit.server.run import serving
from transit.server.settings import ServerSettings
from transit.trace.files.exhibits import exhibit

SECRET = b"nobody else may read this"
AFTER = b"written in the parent after the fork"
ADMIN_OF_A = Grant("admin", (("a/", frozenset({READ, ADMIN})),))


def reader(*prefixes: str, log: Log | None = None) -> Grant:
    """A token that reads streams below these; log: finds the runs that notes are about."""
    rights = tuple((prefix, frozenset({READ})) for prefix in prefixes)
    if log is None:
        return Grant("reader", rights)
    return Grant("reader", rights, lambda uid: log.stream(uid=uid).name)


@pytest.fixture
def key(log: Log) -> SigningKey:
    return SigningKey.generate(f"example.com/{log.store_id}")


@pytest.fixture
def filled(log: Log, key: SigningKey) -> bytes:
    """Streams of two owners, in one chunk each, and a checkpoint over them: its note."""
    parent = log.create("secret/parent")
    parent.append_many([b"seen by children", AFTER])
    parent.branch("a/child", at=0).append(b"own")
    log.create("secret/other").append(SECRET)
    log.create("a/plain").append_many([b"0", b"1", b"2"])
    log.create("a/left").append(b"left")
    log.merge(
        "a/chosen", ["a/left", "secret/other"], policy="select", params={"selected": "a/left"}
    )
    with trace.task(log, "secret/run") as task:
        task.message("user", SECRET.decode())
    with trace.task(log, "a/run") as task:
        task.message("user", "hello")
        task.artifact(b"diff " * 100, kind="patch")
    trace.annotate(log, "a/run", "correct", score=1)
    with trace.task(log, "a/first") as task:
        task.message("user", "hello")
    log.stream("secret/run").branch("a/forked", at=1, metadata={"task_id": "forked"})
    return log.checkpoint(key).note


def files_of(reply: Reply) -> Mapping[str, bytes]:
    assert reply.status == 200, reply.body[:500]
    return unpack_zip(reply.body)


# What a stranger does


@pytest.fixture
def url(log: Log, filled: bytes, key: SigningKey) -> Iterator[str]:
    with serving(log, signing=signing_of(log, [key])) as running:
        yield running.url


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=120) as answer:
        data: bytes = answer.read()
        return data


def checked(place: Path, key: SigningKey, *more: str) -> str:
    """What `transit proof check` prints, in a process of its own."""
    command = [sys.executable, "-m", "transit", "proof", "check", str(place), "--vkey",
               key.verifying.to_text(), *more]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=place.parent, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_proof_that_is_downloaded_is_checked_without_the_server(
    url: str, key: SigningKey, tmp_path: Path
) -> None:
    asked = f"{url}/v1/proofs/a/plain?start=0&end=true"
    folder = tmp_path / "zip"
    with zipfile.ZipFile(io.BytesIO(fetch(asked))) as packed:
        packed.extractall(folder)
    assert '"records":[0,3],"end":true' in checked(folder, key)
    folder = tmp_path / "tar"
    with tarfile.open(fileobj=io.BytesIO(fetch(f"{asked}&format=tar"))) as packed:
        # Python 3.11.4 and later ask for one, earlier ones take none.
        packed.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    assert '"records":[0,3],"end":true' in checked(folder, key)
    # As it came, without unpacking it.
    one = tmp_path / "one.zip"
    one.write_bytes(fetch(f"{url}/v1/proofs/a/plain?offset=1"))
    assert '"payload":"1"' in checked(one, key, "--records")


def test_an_exhibit_that_is_downloaded_is_checked_without_the_server(
    url: str, key: SigningKey, log: Log, tmp_path: Path
) -> None:
    whole = tmp_path / "run.zip"
    whole.write_bytes(fetch(f"{url}/v1/exhibits/a/run"))
    assert '"kind":"exhibit"' in checked(whole, key)
    exhibit(log, "a/run", tmp_path / "here.zip")
    assert whole.read_bytes() == (tmp_path / "here.zip").read_bytes()


def test_checkpoints_growth_and_choices_are_checked_without_the_server(
    url: str, key: SigningKey, log: Log, tmp_path: Path
) -> None:
    old, grown, choice = tmp_path / "old", tmp_path / "grown", tmp_path / "choice.zip"
    old.write_bytes(fetch(f"{url}/v1/checkpoint"))
    assert '"kind":"checkpoint"' in checked(old, key)
    log.create("later").append(b"x")
    with urllib.request.urlopen(f"{url}/v1/checkpoint", data=b"", timeout=120) as answer:
        newer = answer.read()
    assert newer != old.read_bytes()
    assert newer == log.checkpoint_note()
    grown.write_bytes(fetch(f"{url}/v1/growth?old_size=1"))
    assert '"old_size":1' in checked(grown, key, "--old", str(old))
    choice.write_bytes(fetch(f"{url}/v1/fork-choice/a/chosen?size=1"))
    assert "transit.fork-choice.v1" in checked(choice, key)


# Rights


@pytest.fixture
def server(log: Log, filled: bytes) -> Iterator[Server]:
    server = Server(log)
    yield server
    server.close()


INHERITED = ("proofs/a/child?offset=0", "proofs/a/child?start=0", "proofs/a/child?offset=1",
             "proofs/a/child", "finality/a/child", "exhibits/a/forked")  # fmt: skip


@pytest.mark.parametrize("path", INHERITED)
def test_a_proof_that_shows_another_stream_needs_the_right_to_read_that_too(
    server: Server, path: str
) -> None:
    path, _, query = path.partition("?")
    named = dict(each.split("=") for each in query.split("&") if each)
    for grant in (reader("a/"), reader("a/", "other/")):
        server.app.granted = grant
        reply = server.get(f"/v1/{path}", **named)
        assert reply.status == 403
        assert b"secret" not in reply.body
        assert AFTER not in reply.body
    server.app.granted = reader("a/", "secret/")
    found = files_of(server.get(f"/v1/{path}", **named))
    assert any(b"secret/" in data for data in found.values()), "so it had to be refused"


def test_a_chunk_of_a_parent_is_whole_which_is_why_the_child_is_not_enough(server: Server) -> None:
    server.app.granted = reader("a/", "secret/")
    found = files_of(server.get("/v1/proofs/a/child", offset="0"))
    assert any(AFTER in data for data in found.values())


def test_a_choice_is_shown_to_who_may_read_all_that_it_was_made_from(server: Server) -> None:
    for grant, status in ((reader("a/"), 403), (reader("a/", "secret/other"), 200)):
        server.app.granted = grant
        reply = server.get("/v1/fork-choice/a/chosen")
        assert reply.status == status, reply.body[:300]
        assert status == 200 or b"secret" not in reply.body


def test_what_is_in_the_way_of_a_proof_is_told_to_who_may_read_it(
    server: Server, log: Log, key: SigningKey
) -> None:
    log.stream("secret/other").append(b"it went on")
    log.checkpoint(key)
    server.app.granted = reader("a/", "secret/")
    assert server.get("/v1/fork-choice/a/chosen").status == 400
    server.app.granted = reader("a/")
    assert server.get("/v1/fork-choice/a/chosen").status == 403


def test_who_reads_one_stream_gets_its_proofs_and_nothing_of_another(
    server: Server, log: Log, key: SigningKey
) -> None:
    server.app.granted = reader("a/", log=log)
    for asked in ("proofs/a/plain?start=0&end=true", "finality/a/plain", "exhibits/a/run"):
        path, _, query = asked.partition("?")
        named = dict(each.split("=") for each in query.split("&") if each)
        for name, data in files_of(server.get(f"/v1/{path}", **named)).items():
            assert SECRET not in data, name
            assert b"secret/" not in data, name
    for path in ("proofs/secret/other", "finality/secret/other", "exhibits/secret/run",
                 "fork-choice/secret/other", "retention/secret/other"):  # fmt: skip
        assert server.get(f"/v1/{path}").status == 403, path
    uid = log.stream("secret/other").uid
    assert server.get(f"/v1/proofs/$${uid}").status == 403


def test_what_the_store_keeps_for_itself_is_proved_to_nobody(server: Server, log: Log) -> None:
    about = "$trace/notes/" + log.stream("a/run").uid
    server.app.granted = reader("a/", log=log)
    assert server.get(f"/v1/proofs/{about}", start="0").status == 200
    server.app.granted = reader("secret/", log=log)
    assert server.get(f"/v1/proofs/{about}", start="0").status == 404
    server.app.granted = EVERYTHING
    for name in ("$lineage", "$names", "$server/frames/1"):
        assert server.get(f"/v1/proofs/{name}").status in (400, 404), name


def test_who_reads_nothing_gets_no_checkpoint_and_only_an_administrator_has_one_signed(
    log: Log, filled: bytes, key: SigningKey
) -> None:
    server = Server(log)
    server.app.evidence._signing = Signing((key,))
    try:
        server.app.granted = Grant("nobody", (("a/", frozenset({ADMIN})),))
        for path in ("/v1/checkpoint", "/v1/checkpoints", "/v1/growth"):
            assert server.get(path, **{"old_size": "1"} if "growth" in path else {}).status == 403
        for grant in (reader(""), ADMIN_OF_A):
            server.app.granted = grant
            assert server.post("/v1/checkpoint").status == 403
            assert log.checkpoints() == (1,)
        server.app.granted = Grant("admin", (("", frozenset({ADMIN})),))
        log.create("later")
        assert server.post("/v1/checkpoint").status == 200
        assert log.checkpoints() == (1, 2)
    finally:
        server.close()


# Checkpoints


def test_a_checkpoint_that_did_not_change_is_not_sent_again(
    server: Server, filled: bytes, log: Log, key: SigningKey
) -> None:
    first = server.get("/v1/checkpoint")
    assert first.body == filled
    assert first.headers["content-type"] == "text/plain; charset=utf-8"
    tag = first.headers["etag"]
    for asked in (tag, f'"x", W/{tag}', "*"):
        again = server.get("/v1/checkpoint", {"If-None-Match": asked})
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    log.create("later")
    log.checkpoint(key)
    assert server.get("/v1/checkpoint", {"If-None-Match": tag}).status == 200
    assert server.get("/v1/checkpoint", size="1").body == filled
    assert server.get("/v1/checkpoint", size="7").status == 404
    lines = server.get("/v1/checkpoints").lines
    assert [line["size"] for line in lines] == [1, 2]
    page = server.get("/v1/checkpoints", limit="1")
    assert [line["size"] for line in page.lines] == [1]
    assert page.headers["transit-next"] == "1"
    assert [line["size"] for line in server.get("/v1/checkpoints", after="1").lines] == [2]


def test_a_server_without_a_key_signs_nothing(server: Server) -> None:
    reply = server.post("/v1/checkpoint")
    assert reply.status == 501
    assert "--checkpoint-key" in reply.value["detail"]


def test_a_key_of_another_store_is_refused_when_the_server_begins(log: Log) -> None:
    other = SigningKey.generate("example.com/" + "0" * 32)
    with pytest.raises(transit.InvalidInputError, match="id of the store"):
        signing_of(log, [other])
    with pytest.raises(transit.InvalidInputError, match="without a key"):
        signing_of(log, [])


# What is asked for wrongly


def test_a_checkpoint_that_is_none_or_of_another_history_is_refused(
    server: Server, log: Log, filled: bytes, tmp_path: Path
) -> None:
    with transit.open(tmp_path / "other") as other:
        other.create("a").append(b"x")
        stranger = other.checkpoint(SigningKey.generate(f"e.com/{other.store_id}")).note.decode()
    origin, size, _, *rest = filled.decode().split("\n")
    forged = "\n".join((origin, size, "A" * 43 + "=", *rest))
    for note in ("", "x", "\n\n", "é" * 10_000, stranger, forged, forged.replace("\n1\n", "\n9\n")):
        for path in ("/v1/proofs/a/plain", "/v1/finality/a/plain"):
            reply = server.post(path, {"checkpoint": note})
            assert reply.status in (404, 409), reply.body[:300]
            assert reply.headers["content-type"] == "application/problem+json"
        assert server.post("/v1/growth", {"old": note}).status in (404, 409)


@pytest.mark.parametrize(
    "query",
    ["offset=0&start=0", "size=1&checkpoint=x", "offset=9", "start=3&stop=1", "start=0&stop=9",
     "end=perhaps", "offset=1e3", "offset=99999999999999999999", "format=exe", "size=-1",
     "start=0&stop=1&end=true", "offset=0&offset=1", "checkpoint=%ff"],
)  # fmt: skip
def test_a_proof_that_cannot_be_asked_for_is_refused(server: Server, query: str) -> None:
    reply = server.call("GET", "/v1/proofs/a/plain", raw_query=query)
    assert reply.status == 400, reply.body[:300]
    assert server.app.evidence._pending == 0


def test_a_store_without_checkpoints_says_so(log: Log) -> None:
    log.create("a").append(b"x")
    server = Server(log)
    try:
        assert server.get("/v1/checkpoint").status == 404
        assert server.get("/v1/checkpoints").lines == []
        reply = server.get("/v1/proofs/a")
        assert (reply.status, reply.value["error"]) == (400, "InvalidInputError")
    finally:
        server.close()


def test_what_is_no_run_has_no_exhibit(server: Server) -> None:
    assert server.get("/v1/exhibits/a/plain").status == 400
    assert server.get("/v1/exhibits/a/none").status == 404


def test_a_file_is_named_in_plain_characters(log: Log, key: SigningKey) -> None:
    name = 'é/x"; filename=evil\r\n.exe'
    name = name.replace("\r\n", " ")
    log.create(name).append(b"x")
    log.checkpoint(key)
    server = Server(log)
    try:
        reply = server.call("GET", "/v1/proofs/" + quote(name, safe="/"), query={"offset": "0"})
        assert reply.status == 200, reply.body
        told = reply.headers["content-disposition"]
        assert told == 'attachment; filename="x_filename_evil_.exe@0.proof.zip"'
    finally:
        server.close()


# Bounds


def test_a_proof_over_the_limit_is_refused_before_it_is_made(log: Log, filled: bytes) -> None:
    server = Server(log, ServerSettings(proof_bytes_max=4096))
    try:
        big = log.create("a/big")
        big.append_many([b"x" * 1000] * 5)
        log.create("a/many").append_many([b""] * 200)
        with trace.task(log, "a/long") as task:
            task.message("user", "x" * 5000)
        log.checkpoint(SigningKey.generate(f"example.com/{log.store_id}"))
        for asked in ("proofs/a/big?start=0", "proofs/a/many?start=0", "exhibits/a/long"):
            path, _, query = asked.partition("?")
            reply = server.call("GET", f"/v1/{path}", raw_query=query)
            assert reply.status == 413, reply.body[:300]
        assert server.get("/v1/proofs/a/big", offset="4").status == 200
        # That nothing came after a stream shows every commit since.
        assert server.get("/v1/finality/a/plain").status == 413
        assert server.get("/v1/finality/a/big").status == 200
    finally:
        server.close()


def test_proofs_wait_for_their_turn_and_no_more_than_so_many(log: Log, filled: bytes) -> None:
    server = Server(log, ServerSettings(proofs_max=1, proofs_waiting_max=2))
    evidence, begun, go_on = server.app.evidence, threading.Event(), threading.Event()

    def busy() -> None:
        begun.set()
        assert go_on.wait(120)

    try:
        working = server.start(evidence.work(busy))
        assert begun.wait(120)
        waiting = server.begin("GET", "/v1/proofs/a/plain", query={"offset": "0"})
        # Asked on the server's loop, so after the other one.
        reply = server.get("/v1/proofs/a/plain", offset="0")
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        go_on.set()
        assert waiting.result(120).status == 200
        working.result(120)
        assert server.get("/v1/proofs/a/plain", offset="0").status == 200
        evidence.close()
        assert server.get("/v1/proofs/a/plain", offset="0").status == 503
    finally:
        go_on.set()
        server.close()
