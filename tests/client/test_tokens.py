"""What a token allows, over a connection: the errors, and what is seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import transit
from transit import trace
from transit.server.run import serving
from transit.server.tokens import new_token


@pytest.fixture
def tokens(tmp_path: Path) -> str:
    """The file of tokens."""
    return str(tmp_path / "tokens.toml")


@pytest.fixture
def guarded(path: Path, tokens: str) -> Iterator[tuple[transit.Log, str, str]]:
    """A store, the address of its server, which asks for tokens, and a token."""
    secret = new_token(tokens, "ci", {"runs/": ["read", "append", "branch"]})
    with transit.open(path, durability="os") as log, serving(log, tokens=tokens) as running:
        yield log, running.url, secret


def test_without_a_token_or_with_a_wrong_one_nothing_is_told(
    guarded: tuple[transit.Log, str, str],
) -> None:
    for token in (None, "wrong-token"):
        with pytest.raises(transit.StorePermissionError, match="check the token") as found:
            transit.connect(guarded[1], token=token)
        assert "wrong-token" not in str(found.value)
        assert found.value.exit_code == 6


def test_a_token_reaches_its_own_and_is_the_writer_of_its_records(
    guarded: tuple[transit.Log, str, str],
) -> None:
    opened, url, secret = guarded
    opened.create("other/a").append(b"x")
    with transit.connect(url, token=secret) as log:
        stream = log.create("runs/a")
        stream.append(b"x")
        assert stream.submit(b"y").result(120).offset == 1
        assert [record.writer for record in stream] == ["ci", "ci"]
        assert [each.name for each in log.streams()] == ["runs/a"]
        for call in (
            lambda: log.create("other/b"),
            lambda: log.stream("other/a"),
            lambda: log.merge("runs/m", ["runs/a", "runs/b"], policy="append"),
            log.verify,
        ):
            with pytest.raises(transit.StorePermissionError):
                call()
        assert stream.append(b"z").offset == 2
        with trace.task(log, "runs/t") as task:
            task.message("user", "hello")
        assert trace.read(log, "runs/t").ended is not None
