"""Who may do what: tokens by prefix and right, from a file that changes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from transit import AlreadyExistsError, InvalidInputError, NotFoundError
from transit.server import tokens
from transit.server.access import RIGHTS, Grant
from transit.server.tokens import Tokens, new_token, parse_allowed, read_tokens, remove_token

from .raw import SERVERS, TEXT, Client, Served, ask, create, served, until


class Guarded(NamedTuple):
    """A server that asks for tokens, and theirs."""

    server: Served
    file: Path
    all: str
    reads: str
    appends: str
    run: str
    over: str


def _file(folder: Path) -> tuple[Path, dict[str, str]]:
    file = folder / "tokens.toml"
    made = {
        name: new_token(str(file), name, allowed)
        for name, allowed in {
            "all": {"": list(RIGHTS)},
            "reads": {"a/": ["read"]},
            "appends": {"a/": ["append"]},
            "run": {"run-1/": ["read", "append", "branch"]},
        }.items()
    }
    made["over"] = new_token(str(file), "over", {"": ["read"]}, time.time() - 1)
    return file, made


@pytest.fixture(params=SERVERS, scope="module")
def guarded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    file, made = _file(tmp_path_factory.mktemp("tokens"))
    with served(request.param, tokens=str(file)) as server:
        create(server, "a/1", b"hi", made["all"])
        create(server, "b/1", b"hi", made["all"])
        yield Guarded(server, file, **made)


# Rows 1 to 3 of the table


def test_without_a_token_it_is_401_and_the_scheme_is_named(guarded: Guarded) -> None:
    for method, path in (("GET", "/v1/stream/a/1"), ("POST", "/v1/stream/a/1"), ("GET", "/none")):
        reply = ask(guarded.server, method, path)
        assert reply.status == 401
        assert reply.headers["www-authenticate"].startswith("Bearer ")


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer wrong", "Basic d3Jvbmc6", "bearer\ttab", "Bearer \xff", "x"],
)
def test_a_wrong_token_is_401(guarded: Guarded, authorization: str) -> None:
    reply = ask(guarded.server, "GET", "/v1/stream/a/1", {"authorization": authorization})
    assert reply.status == 401
    assert "www-authenticate" in reply.headers


def test_a_token_that_is_almost_right_is_401(guarded: Guarded) -> None:
    good = guarded.all
    for wrong in (good[:-1], good + "x", good.upper(), good[1:], f"{good},{good}", f"{good} x"):
        assert ask(guarded.server, "GET", "/v1/stream/a/1", token=wrong).status == 401


def test_a_token_whose_time_is_over_is_401(guarded: Guarded) -> None:
    assert ask(guarded.server, "GET", "/v1/stream/a/1", token=guarded.over).status == 401


def test_a_token_for_another_prefix_is_403(guarded: Guarded) -> None:
    assert ask(guarded.server, "GET", "/v1/stream/b/1", token=guarded.reads).status == 403
    assert ask(guarded.server, "GET", "/v1/stream/a/1", token=guarded.reads).status == 200


def test_what_is_not_allowed_does_not_tell_what_is_there(guarded: Guarded) -> None:
    replies = [
        ask(guarded.server, "GET", f"/v1/stream/b/{name}", token=guarded.reads)
        for name in ("1", "not-there")
    ]
    assert [reply.status for reply in replies] == [403, 403]


def test_a_token_that_reads_does_nothing_else(guarded: Guarded) -> None:
    for method in ("PUT", "POST", "DELETE"):
        reply = ask(guarded.server, method, "/v1/stream/a/1", TEXT, b"x", guarded.reads)
        assert reply.status == 403
    fork = TEXT | {"stream-forked-from": "/v1/stream/a/1"}
    assert ask(guarded.server, "PUT", "/v1/stream/a/2", fork, b"", guarded.reads).status == 403


def test_a_token_that_appends_does_not_read(guarded: Guarded) -> None:
    assert ask(guarded.server, "GET", "/v1/stream/a/1", token=guarded.appends).status == 403
    with Client(guarded.server.address) as client:
        client.begin("HEAD", "/v1/stream/a/1", token=guarded.appends)
        assert client.head().status == 403
    reply = ask(guarded.server, "POST", "/v1/stream/a/1", TEXT, b"x", guarded.appends)
    assert reply.status == 204


def test_a_fork_needs_the_right_to_read_what_it_inherits(guarded: Guarded) -> None:
    fork = TEXT | {"stream-forked-from": "/v1/stream/b/1"}
    reply = ask(guarded.server, "PUT", "/v1/stream/run-1/fork", fork, b"", guarded.run)
    assert reply.status == 403


@pytest.mark.parametrize("key", ["token", "access_token", "Token", "api_key", "%74oken"])
def test_a_token_in_the_query_is_401_even_beside_a_good_one(guarded: Guarded, key: str) -> None:
    path = f"/v1/stream/a/1?{key}={guarded.all}"
    assert ask(guarded.server, "GET", path).status == 401
    assert ask(guarded.server, "GET", path, token=guarded.all).status == 401


def test_a_token_in_a_cookie_is_401(guarded: Guarded) -> None:
    cookie = {"cookie": f"token={guarded.all}; authorization=Bearer {guarded.all}"}
    assert ask(guarded.server, "GET", "/v1/stream/a/1", cookie).status == 401


def test_two_authorizations_are_401(guarded: Guarded) -> None:
    with Client(guarded.server.address) as client:
        client.send(
            f"GET /v1/stream/a/1 HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {guarded.all}"
            f"\r\nauthorization: Bearer {guarded.all}\r\n\r\n".encode()
        )
        assert client.reply().status == 401


def test_the_writer_of_a_record_is_the_name_of_its_token(guarded: Guarded) -> None:
    ask(guarded.server, "POST", "/v1/stream/a/1", TEXT, b"by", guarded.appends)
    assert guarded.server.log.stream("a/1")[-1].writer == "appends"


def test_no_layer_is_reached_as_a_stream(guarded: Guarded) -> None:
    for name in ("$server/states", "$trace/ends", "$lineage", "%24trace/ends", "$"):
        for method in ("GET", "PUT", "POST", "DELETE"):
            reply = ask(guarded.server, method, f"/v1/stream/{name}", TEXT, b"x", guarded.all)
            assert reply.status == 400


# Layers


def _grant(*rights: tuple[str, str]) -> Grant:
    runs = {"uid-1": "run-1/a", "uid-2": "run-2/a", "uid-3": "$trace/notes/uid-1"}
    pairs = tuple((prefix, frozenset(given.split())) for prefix, given in rights)
    return Grant("t", pairs, runs.get)


def test_a_token_for_a_run_reaches_artifacts_and_its_own_notes() -> None:
    grant = _grant(("run-1/", "read append"))
    assert grant.allows("read", "$trace/artifact/aa")
    assert grant.allows("append", "$trace/artifact/aa")
    assert grant.allows("read", "$trace/notes/uid-1")
    assert grant.allows("append", "$trace/notes/uid-1")
    assert not grant.allows("merge", "$trace/notes/uid-1")


@pytest.mark.parametrize(
    "stream",
    [
        "$trace/ends", "$trace/notes/uid-2", "$trace/notes/uid-3", "$trace/notes/none",
        "$trace/notes/", "$trace/notes/uid-1/x", "$trace", "$trace/artifacts", "$server/states/1",
        "$lineage", "$views/x", "$", "$run-1/",
    ],
)  # fmt: skip
def test_a_token_for_a_run_reaches_nothing_else_of_layers(stream: str) -> None:
    grant = _grant(("run-1/", " ".join(RIGHTS)))
    assert not any(grant.allows(right, stream) for right in RIGHTS)


def test_a_token_that_only_reads_appends_to_no_artifact() -> None:
    grant = _grant(("run-1/", "read"), ("run-2/", "branch"))
    assert not grant.allows("append", "$trace/artifact/aa")
    assert not grant.allows("append", "$trace/notes/uid-1")
    assert not grant.allows("read", "$trace/notes/uid-2")


def test_a_token_for_all_reaches_layers_but_not_what_the_server_keeps() -> None:
    grant = _grant(("", " ".join(RIGHTS)))
    assert grant.allows("read", "$trace/ends")
    assert grant.allows("append", "$views/x")
    assert not any(grant.allows(right, "$server/states/1") for right in RIGHTS)
    assert not any(grant.allows(right, "$lineage") for right in RIGHTS)


def test_a_token_for_one_layer_reaches_that_one_and_no_artifacts() -> None:
    grant = _grant(("$views/", "read append"))
    assert grant.allows("read", "$views/x")
    assert not grant.allows("read", "$trace/artifact/aa")
    assert not grant.allows("read", "run-1/a")


def test_notes_are_found_by_the_run_s_uid_in_the_store(guarded: Guarded) -> None:
    create(guarded.server, "run-1/noted", token=guarded.all)
    stream = guarded.server.log.stream("run-1/noted")
    gate = guarded.server.app.gate
    assert gate._name_of(stream.uid) == "run-1/noted"
    assert gate._name_of("not-a-uid") is None


# The file


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is looked at each time."""
    monkeypatch.setattr(tokens, "LOOK_S", 0.0)


def _tokens(file: Path) -> Tokens:
    return Tokens(str(file), lambda uid: None)


def test_the_file_holds_no_token(tmp_path: Path) -> None:
    file, made = _file(tmp_path)
    text = file.read_text()
    assert not any(secret in text or secret[8:20] in text for secret in made.values())
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("eager")
def test_a_change_is_seen_without_a_restart(tmp_path: Path) -> None:
    file, made = _file(tmp_path)
    found = _tokens(file)
    assert found.find(made["run"]) is not None
    remove_token(str(file), "run")
    assert found.find(made["run"]) is None
    again = new_token(str(file), "run", {"": ["read"]})
    assert found.find(made["run"]) is None
    assert found.find(again) is not None


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("text", ["[tokens.a", "x = 1", "[tokens.a]\nsha256 = 'x'\nallow = {}"])
def test_a_file_that_cannot_be_read_changes_nothing(tmp_path: Path, text: str) -> None:
    file, made = _file(tmp_path)
    found = _tokens(file)
    before = file.read_bytes()
    file.write_text(text)
    assert found.find(made["run"]) is not None
    file.unlink()
    assert found.find(made["run"]) is not None
    file.write_bytes(before)
    file.chmod(0o644)
    assert found.find(made["run"]) is not None
    file.chmod(0o600)
    file.write_bytes(b"")
    assert found.find(made["run"]) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    file, _ = _file(tmp_path)
    file.chmod(mode)
    with pytest.raises(InvalidInputError, match="chmod 600"):
        _tokens(file)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[tokens.a]\nallow = {}", "sha256"),
        (f"[tokens.a]\nsha256 = '{'a' * 63}'\nallow = {{}}", "64 digits"),
        (f"[tokens.a]\nsha256 = '{'A' * 64}'\nallow = {{}}", "64 digits"),
        (f"[tokens.a]\nsha256 = '{'a' * 64}'\nallow = {{ x = ['rule'] }}", "rule"),
        (f"[tokens.a]\nsha256 = '{'a' * 64}'\nallow = {{ x = [] }}", "right"),
        (f"[tokens.a]\nsha256 = '{'a' * 64}'\nallow = {{}}\nexpires = 2027-01-01", "expires"),
        (
            f"[tokens.a]\nsha256 = '{'a' * 64}'\nallow = {{}}\nexpires = 2027-01-01T00:00:00",
            "time zone",
        ),
        (f"[tokens.a]\nsha256 = '{'a' * 64}'\nallow = {{}}\nalow = 1", "alow"),
        (f"[tokens.a]\nsha256 = '{'a' * 64}'\nallow = {{}}\nrequests_max = 0", "requests_max"),
        (f"[tokens.'a b']\nsha256 = '{'a' * 64}'\nallow = {{}}", "name"),
        ("tokens = 1", "tokens"),
        ("token = {}", "token"),
        (
            "".join(f"[tokens.{each}]\nsha256 = '{'a' * 64}'\nallow = {{}}\n" for each in "ab"),
            "two names",
        ),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, what: str) -> None:
    file = tmp_path / "tokens.toml"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(InvalidInputError, match=what):
        _tokens(file)


def test_what_an_editor_wrote_beside_stays(tmp_path: Path) -> None:
    file, _ = _file(tmp_path)
    file.write_text(f"# ours\n{file.read_text()}\n# the end\n")
    new_token(str(file), "x", {'q"uo\\te/é\x7f': ["read"]})
    remove_token(str(file), "reads")
    text = file.read_text()
    assert text.startswith("# ours\n")
    assert "# the end" in text
    names = [token.name for token in read_tokens(str(file))[1]]
    assert names == ["all", "appends", "run", "over", "x"]
    assert read_tokens(str(file))[1][-1].rights[0][0] == 'q"uo\\te/é\x7f'


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    file, _ = _file(tmp_path)
    before = file.read_bytes()
    with pytest.raises(AlreadyExistsError):
        new_token(str(file), "run", {"": ["read"]})
    with pytest.raises(NotFoundError):
        remove_token(str(file), "nobody")
    with pytest.raises(InvalidInputError):
        new_token(str(file), "no good", {"": ["read"]})
    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == ["tokens.toml"]


@pytest.mark.parametrize("text", ["runs/", "runs/=", "runs/=rule", "runs/=read,", ""])
def test_rights_are_read_strictly(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_allowed(text)


def test_rights_are_read_as_they_are_meant() -> None:
    assert parse_allowed("a=b/=append, read") == ("a=b/", ["read", "append"])
    assert parse_allowed("=all") == ("", list(RIGHTS))


# What a token uses


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("kind", SERVERS)
def test_readers_of_a_token_that_is_taken_back_are_let_go(tmp_path: Path, kind: str) -> None:
    file, made = _file(tmp_path)
    with served(kind, tokens=str(file), long_poll_s=3600.0, sse_s=3600.0) as server:
        create(server, "run-1/a", b"hi", made["all"])
        path = "/v1/stream/run-1/a?offset=now&live="
        with Client(server.address) as polls, Client(server.address) as streams:
            polls.begin("GET", path + "long-poll", token=made["run"])
            streams.begin("GET", path + "sse", token=made["run"])
            assert streams.head().status == 200
            until(lambda: server.app.streams.tails.count == 2)
            remove_token(str(file), "run")
            assert ask(server, "GET", "/v1/stream/run-1/a", token=made["all"]).status == 200
            assert polls.reply().status == 401
            assert b"control" in b"".join(streams.chunks())
        until(lambda: server.app.streams.tails.count == 0)


@pytest.mark.parametrize("kind", SERVERS)
def test_a_token_has_so_many_requests_at_once(tmp_path: Path, kind: str) -> None:
    file, made = _file(tmp_path)
    with served(kind, tokens=str(file), requests_max=3) as server:
        create(server, "run-1/a", b"hi", made["all"])
        path = "/v1/stream/run-1/a?offset=now&live=sse"
        readers = [Client(server.address) for _ in range(3)]
        for reader in readers:
            reader.begin("GET", path, token=made["run"])
            assert reader.head().status == 200
        reply = ask(server, "GET", path, token=made["run"])
        assert reply.status == 429
        assert "retry-after" in reply.headers
        assert ask(server, "GET", "/v1/stream/run-1/a", token=made["all"]).status == 200
        readers.pop().socket.close()
        until(lambda: ask(server, "GET", "/v1/stream/run-1/a", token=made["run"]).status == 200)
        for reader in readers:
            reader.socket.close()


def test_a_token_makes_so_many_requests_a_second(tmp_path: Path) -> None:
    file, made = _file(tmp_path)
    with served(tokens=str(file), rate_max=0.001) as server:
        create(server, "a/1", b"hi", made["all"])
        assert ask(server, "GET", "/v1/stream/a/1", token=made["reads"]).status == 200
        reply = ask(server, "GET", "/v1/stream/a/1", token=made["reads"])
        assert reply.status == 429
        assert int(reply.headers["retry-after"]) >= 1
