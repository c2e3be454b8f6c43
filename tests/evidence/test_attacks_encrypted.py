"""Attacks on an encrypted store, each refused beside a control that is accepted.

The numbers are those of the threat table in INTEGRITY.md. The attacker may write everywhere in the
remote and computes all checksums, roots and trees again: who has no key finds nothing wrong.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import transit
from transit import Key, Keyring
from transit.format.envelope import Envelope, encode_header, envelope_at
from transit.keyring.envelopes import StoreKeys

from .attempts import DAMAGED, FINDING, Attempt, audited, command, judge_all
from .published import Published

REFUSED = 6
COMMITMENT = "the commitment to the key"
VICTIM = "run-1"

Forge = Callable[[StoreKeys, dict[int, bytes], bytes], bytes]


class Encrypted(Published):
    """A published store whose records are encrypted, with its keyring beside it."""

    def __init__(self, base: Path) -> None:
        base.mkdir()
        self.key_file = Keyring.new_key_file(base / "master.key")
        self.ring = Keyring.create(base / "ring.json", key_file=self.key_file)
        super().__init__(base, rounds=2)

    def open(self, name: str = "a", **options: object) -> transit.Log:
        return super().open(name, keyring=self.ring, **options)

    @property
    def unlocked(self) -> tuple[str, ...]:
        return "--keyring", self.ring.path, "--key-file", self.key_file

    def read_victim(self) -> list[transit.Record]:
        with transit.open(f"file://{self.remote}", mode="read", keyring=self.ring) as log:
            return list(log.stream(VICTIM).read())


def forged(monkeypatch: pytest.MonkeyPatch, base: Path, forge: Forge | None = None) -> Encrypted:
    """The store, with `forge`d envelopes of one stream; all that is over them is made of these."""
    made: dict[int, bytes] = {}
    sealed = StoreKeys.sealed

    def seal(
        keys: StoreKeys, owner: str, stream: int, first: int, count: int, last: int, chunk: bytes
    ) -> bytes:
        genuine = sealed(keys, owner, stream, first, count, last, chunk)
        if forge is not None and b" of 1" in chunk:
            return forge(keys, made, genuine)
        if b" of 0" in chunk:
            made[0] = genuine
        return genuine

    with monkeypatch.context() as patch:
        patch.setattr(StoreKeys, "sealed", seal)
        return Encrypted(base)


def moved(keys: StoreKeys, made: dict[int, bytes], genuine: bytes) -> bytes:
    """What another stream's envelope holds, under the header that belongs here."""
    here, other = envelope_at(genuine, 0, "here"), envelope_at(made[0], 0, "there")
    assert here.stream != other.stream
    assert here.key_id == other.key_id
    head = encode_header(
        here.stream, here.first, here.count, other.codec, other.chunk_bytes,
        len(other.body), here.last_written,
    )  # fmt: skip
    return b"".join((head, here.key_id, other.salt, other.commitment, other.body))


def encrypted_again(
    keys: StoreKeys, made: dict[int, bytes], genuine: bytes, *, commits: bool
) -> bytes:
    """The records under a key that the attacker has, and says is the store's."""
    here = envelope_at(genuine, 0, "here")
    said = here.stream, here.first, here.count, here.codec, here.chunk_bytes, here.last_written
    body = keys.opened(here, "here")
    again = keys._sealed(Key(here.key_id, os.urandom(32)), said, body)
    if commits:
        return again
    theirs: Envelope = envelope_at(again, 0, "again")
    return b"".join((theirs.bound, theirs.salt, here.commitment, theirs.body))


FORGED: dict[str, Forge] = {
    "51 moved to another stream's place": moved,
    "52 encrypted again": partial(encrypted_again, commits=True),
    "52 encrypted again, the commitment kept": partial(encrypted_again, commits=False),
}


@pytest.mark.parametrize("row", FORGED)
def test_an_attack_on_ciphertext_is_refused_by_who_has_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: str
) -> None:
    monkeypatch.chdir(tmp_path)
    genuine = forged(monkeypatch, tmp_path / "genuine")
    attacked = forged(monkeypatch, tmp_path / "attacked", FORGED[row])

    def attempts() -> Iterator[Attempt]:
        for sound in (genuine, attacked):
            yield Attempt(lambda at=sound: at.audit(), None)  # type: ignore[misc]
            yield Attempt(audited(sound), 0)
        at = f"file://{genuine.remote}"
        yield Attempt(lambda: audit(genuine), None)
        yield Attempt(audited(genuine, *genuine.unlocked), 0)
        yield Attempt(genuine.read_victim, None)
        yield Attempt(command("verify", "--store", at, *genuine.unlocked), 0)
        at = f"file://{attacked.remote}"
        yield Attempt(lambda: audit(attacked), FINDING, COMMITMENT)
        yield Attempt(audited(attacked, *attacked.unlocked), DAMAGED)
        yield Attempt(attacked.read_victim, transit.CorruptError, COMMITMENT)
        yield Attempt(command("read", VICTIM, "--store", at, *attacked.unlocked), DAMAGED)
        yield Attempt(command("verify", "--store", at, *attacked.unlocked), DAMAGED)

    judge_all(attempts())
    assert [record.offset for record in genuine.read_victim()] == list(range(5))


def audit(published: Encrypted) -> transit.Report:
    return transit.audit(f"file://{published.remote}", keyring=published.ring)


def test_53_another_stores_keyring_is_refused_before_any_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mine = Encrypted(tmp_path / "mine")
    theirs = Encrypted(tmp_path / "theirs")
    here = f"file://{mine.remote}"

    def read(ring: Keyring, place: object) -> None:
        transit.open(place, mode="read", keyring=ring).close()  # type: ignore[arg-type]

    def write(ring: Keyring) -> None:
        transit.open(mine.folder, keyring=ring).close()

    def attempts() -> Iterator[Attempt]:
        verify = ("verify", "--store", mine.folder)
        append = ("append", VICTIM, "x", "--store", mine.folder)
        yield Attempt(lambda: read(mine.ring, here), None)
        yield Attempt(lambda: write(mine.ring), None)
        yield Attempt(command(*verify, *mine.unlocked), 0)
        before = {path: path.read_bytes() for path in mine.folder.rglob("*.seg")}
        for path in before:
            # What is not read is not missed.
            path.unlink()
        both = f"is for the store {theirs.store_id}, not for {mine.store_id}"
        for refused in (
            lambda: read(theirs.ring, mine.folder),
            lambda: write(theirs.ring),
            lambda: read(theirs.ring, here),
        ):
            yield Attempt(refused, transit.KeyringError, both)
        for words in (verify, append, ("verify", "--store", here)):
            yield Attempt(command(*words, *theirs.unlocked), REFUSED)
        for path, data in before.items():
            path.write_bytes(data)
        # The right keyring, and the key file of another; of the right length.
        shutil.copy(theirs.key_file, mine.key_file)
        yield Attempt(
            lambda: Keyring.open(mine.ring.path, key_file=mine.key_file),
            transit.KeyringError,
            "not unlocked: a key file",
        )
        yield Attempt(command(*verify, *mine.unlocked), REFUSED)

    judge_all(attempts())
