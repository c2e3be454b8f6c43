"""Stores for adapters: embedded, shared with other processes, and served; and what is in them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import transit
from rigs.server.serving import Serving
from tests.adapters.stub import stub
from tests.engine.canary import places_with
from transit.server.run import serving
from transit.server.tokens import new_token
from transit.trace import dropped


@pytest.fixture(params=["exclusive", "shared", "served"])
def log(request: pytest.FixtureRequest, path: Path) -> Iterator[transit.Log]:
    """An open store, as each kind of log there is."""
    if request.param != "served":
        with transit.open(path, mode=request.param, durability="os") as opened:
            yield opened
        return
    with transit.open(path, durability="os") as opened:
        serving = Serving(opened)
        try:
            with transit.connect(serving.url, timeout_s=120) as connected:
                yield connected
        finally:
            serving.close()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a stand-in for the servers of OpenAI and Anthropic."""
    with stub() as address:
        yield address


@pytest.fixture
def nothing_dropped() -> Iterator[None]:
    """All that the test made was recorded."""
    dropped.reset()
    yield
    assert not dropped, dropped.errors


class EncryptedPlace(NamedTuple):
    """A store that is to be encrypted whole, and its remote."""

    store: Path
    remote: Path
    keyring: transit.Keyring

    @property
    def how(self) -> dict[str, Any]:
        """What `open` is given to encrypt all of it."""
        return {"remote": str(self.remote), "encrypt": "all", "keyring": self.keyring}

    def clear(self, word: str) -> list[str]:
        """The files, of the store and of the remote, that have a word in the clear."""
        folders = (self.store, self.remote)
        return [name for each in folders for name in places_with(each, word.encode())]

    def says(self, word: str) -> bool:
        """Whether a record has the word, or the digest of one, for who has the keys."""
        with transit.open(f"file://{self.remote}", mode="read", keyring=self.keyring) as log:
            streams = (*log.streams(), *log.streams("$"))
            return any(word.encode() in record.payload for each in streams for record in each)


@pytest.fixture
def encrypted(tmp_path: Path) -> EncryptedPlace:
    """Where a store can be made that is encrypted whole."""
    pytest.importorskip("cryptography", reason="needs the extra encryption")
    place = tmp_path / "encrypted"
    place.mkdir()
    key_file = transit.Keyring.new_key_file(place / "key")
    keyring = transit.Keyring.create(place / "ring", key_file=key_file)
    return EncryptedPlace(place / "store", place / "remote", keyring)


def rest_of(child: subprocess.Popen[str]) -> list[int]:
    """The numbers that a killed child had still printed, a whole line each, when it was killed.

    By the reader that was used before, which has read ahead: `communicate` does not have that.
    """
    assert child.stdout is not None
    said = child.stdout.read()
    child.wait()
    return [int(line) for line in said.split("\n")[:-1]]


class Guarded(NamedTuple):
    """A server that asks for tokens: the store, its address, and a token of each kind."""

    log: transit.Log
    url: str
    deleting: str
    recording: str


@pytest.fixture
def guarded(path: Path, tmp_path: Path) -> Iterator[Guarded]:
    """A served store, a token that may delete, and one that may not."""
    tokens = str(tmp_path / "tokens.toml")
    rights = ["read", "append", "branch", "merge"]
    deleting = new_token(tokens, "owner", {"": [*rights, "admin"]})
    recording = new_token(tokens, "agent", {"": rights})
    with transit.open(path, durability="os") as log, serving(log, tokens=tokens) as running:
        yield Guarded(log, running.url, deleting, recording)


@pytest.fixture
def everything(path: Path, tmp_path: Path) -> Callable[[], str]:
    """All that the store in `path` keeps, in its files and in a remote, as one text.

    Names, metadata, headers and payloads of all streams, those of layers and hidden ones too; the
    bytes of all files, before they are compressed and afterwards.
    """

    def all_of(log: transit.Log) -> Iterator[str]:
        for streams in (log.streams(), log.hidden(), log.streams("$"), log.hidden("$")):
            for stream in streams:
                yield f"{stream.name} {json.dumps(dict(stream.metadata))}"
                for record in () if stream.deleted else stream.read():
                    yield record.payload.decode("utf-8", "replace")
                    yield json.dumps(dict(record.headers))

    def read() -> str:
        bucket = tmp_path / "bucket"
        files = [_text(each) for each in sorted(path.rglob("*")) if each.is_file()]
        with transit.open(path, remote=str(bucket)) as log:
            said = list(all_of(log))
            log.seal()
            log.publish()
        with transit.open(f"file://{bucket}", mode="read") as log:
            said += all_of(log)
        files += [_text(each) for each in sorted(bucket.rglob("*")) if each.is_file()]
        return "\n".join((*said, *files))

    return read


def _text(file: Path) -> str:
    return f"{file.name} " + file.read_bytes().decode("utf-8", "replace")
