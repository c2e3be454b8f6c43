"""Redaction: what must not be recorded is nowhere in the store."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import trace
from transit.trace.redaction import FAILED

SECRET = "sk-ant-REDACTEDexample0123456789"
PASSWORD = "hunter2"
MAIL = "ada.lovelace@example.org"
POLICY = trace.Redaction([trace.EMAIL, trace.KEYS, trace.TOKENS], fields=["Password"])


@pytest.fixture(autouse=True)
def _no_default() -> Iterator[None]:
    yield
    trace.set_redaction(None)


def stored(log: transit.Log) -> bytes:
    """Everything the store's files hold of what was recorded."""
    log.sync()
    return b"".join(path.read_bytes() for path in Path(log.path).rglob("*") if path.is_file())


def record_all(log: transit.Log, secret: str) -> None:
    with trace.task(
        log, "t", actor=secret, reason=f"because {secret}", redact=POLICY,
        metadata={"who": secret, "password": PASSWORD}, manifest={"argv": [secret]},
    ) as task:  # fmt: skip
        task.message("user", f"write to {secret}", name=secret)
        messages = [{"role": "user", "content": [{"type": "text", "text": secret}]}]
        task.model_call(model="m", request={"messages": messages, "key": secret}, response=secret)
        with task.model("m", {secret: secret}) as model:
            model.chunk(secret)
            model.failure(ValueError(secret))
        with task.tool("bash", {"cmd": f"curl -u {secret}", "password": PASSWORD}) as call:
            call.result({"out": [secret]})
        task.tool("bash").failure(ValueError(secret))
        task.call("f", [secret], lambda value: {"got": value})
        with pytest.raises(KeyError):
            task.call("g", {"password": PASSWORD}, lambda password: {}[secret])
        task.evaluate("e", decision="d", reason=secret)
        task.checkpoint("final", status="success", reason=secret)
        task.custom("bytes", {"raw": secret.encode(), "keys": {1: 2, "password": PASSWORD}})
        task.tool("raw", [bytearray(secret.encode())]).result(secret.encode())
        task.call("raw", [secret.encode(), {1: 2, "password": PASSWORD}], lambda *given: given)
        task.custom("own", {"deep": [{"password": [PASSWORD]}, (secret,)]})
        task.retry(reason=secret, actor=secret).custom("x", secret)
        raise ValueError(f"left with {secret}")


@pytest.mark.parametrize("secret", [SECRET, MAIL, "Bearer abcdefgh12345678"])
def test_what_must_not_be_recorded_is_nowhere(log: transit.Log, secret: str) -> None:
    with pytest.raises(ValueError, match="left"):
        record_all(log, secret)
    whole = stored(log)
    gone = secret.removeprefix("Bearer ")
    assert gone.encode() not in whole
    assert base64.b64encode(secret.encode()) not in whole
    assert PASSWORD.encode() not in whole
    found = [record.event for record in trace.read(log, "t")]
    assert all(isinstance(event, trace.Event) for event in found)
    assert [type(e).__name__ for e in found if not e.redacted] == ["ToolRequest"]  # type: ignore[union-attr]
    message: Any = found[1]
    assert message.content.startswith("write to ")
    assert "[redacted]" in message.content
    assert message.redacted == 2
    assert PASSWORD not in str(log.stream("t").metadata)
    log.seal()
    assert gone.encode() not in stored(log)


def test_without_a_policy_nothing_is_changed(log: transit.Log) -> None:
    trace.task(log, "t").message("user", MAIL)
    (record,) = trace.read(log, "t")
    assert isinstance(record.event, trace.Message)
    assert (record.event.content, record.event.redacted) == (MAIL, 0)


def test_a_policy_may_be_that_of_the_process(log: transit.Log) -> None:
    trace.set_redaction(POLICY)
    task = trace.task(log, "t")
    task.message("user", MAIL)
    trace.set_redaction(None)
    task.message("user", MAIL)
    found: list[Any] = [record.event for record in trace.read(log, "t")]
    assert [event.content for event in found] == ["[redacted]"] * 2
    with pytest.raises(transit.InvalidInputError):
        trace.set_redaction("all")  # type: ignore[arg-type]


def test_the_name_of_a_run_is_redacted_too(log: transit.Log) -> None:
    task = trace.task(log, f"run of {MAIL}", redact=POLICY)
    assert task.name == "run of [redacted]"
    assert MAIL.encode() not in stored(log)


def test_it_fails_closed(log: transit.Log) -> None:
    def broken(text: str) -> str:
        if "secret" in text:
            raise ValueError(text)
        return text

    policy = trace.Redaction(functions=[broken, lambda text: text.replace("x", "y")])
    odd = trace.Redaction(functions=[lambda text: None])  # type: ignore[arg-type,return-value]
    task = trace.task(log, "t", redact=policy)
    task.message("user", "the secret")
    task.message("user", "x")
    trace.task(log, "odd", redact=odd, reason="kept?")
    one, two = [record.event for record in trace.read(log, "t")]
    assert isinstance(one, trace.Message)
    assert isinstance(two, trace.Message)
    assert (one.content, two.content) == (FAILED, "y")
    assert b"the secret" not in stored(log)
    assert b"kept?" not in stored(log)
    assert trace.dropped.count == 0


def test_a_replay_compares_what_was_recorded_and_gives_what_is_left_only_when_it_may(
    log: transit.Log,
) -> None:
    @trace.recorded("ask")
    def ask(question: str) -> dict[str, str]:
        return {"answer": f"ask {MAIL}"}

    @trace.recorded("count")
    def count(who: str) -> int:
        return len(who)

    with trace.task(log, "t", redact=POLICY):
        assert count(MAIL) == len(MAIL)
        assert ask(MAIL)["answer"] == f"ask {MAIL}"
    with trace.replay(log, "t", redact=POLICY, allow_redacted=True):
        assert count(MAIL) == len(MAIL)
        assert ask(MAIL) == {"answer": "ask [redacted]"}
    with trace.replay(log, "t", redact=POLICY):
        count("somebody.else@example.org")
        with pytest.raises(trace.NotReplayableError, match="allow_redacted"):
            ask(MAIL)
    with pytest.raises(trace.ReplayDivergenceError), trace.replay(log, "t"):
        count(MAIL)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("mail ada@example.org now", "mail [redacted] now"),
        ("a@b is none, nor @c.de", "a@b is none, nor @c.de"),
        (f"key {SECRET}!", "key [redacted]!"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "[redacted]"),
        ("AKIAIOSFODNN7EXAMPLE", "[redacted]"),
        ("xoxb-123456789012-abcdef", "[redacted]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY----- x", "[redacted] x"),
        ("-----BEGIN PRIVATE KEY-----\ncut off", "[redacted]"),
        ("Authorization: Bearer abcdefgh.12345678", "Authorization: Bearer [redacted]"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "[redacted]"),
        ("skis and sk-shops", "skis and sk-shops"),
    ],
)
def test_the_ready_made_patterns(text: str, kept: str) -> None:
    assert POLICY.text(text)[0] == kept


@pytest.mark.parametrize(
    "arguments",
    [{"patterns": "a"}, {"patterns": ["("]}, {"patterns": [3]}, {"functions": [3]},
     {"functions": len}, {"fields": "password"}, {"fields": [3]}],
    ids=str,
)  # fmt: skip
def test_what_is_no_policy_is_refused(arguments: Any) -> None:
    with pytest.raises(transit.InvalidInputError):
        trace.Redaction(**arguments)
