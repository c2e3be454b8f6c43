"""Canary: no secret is shown, pickled, copied, or in a file in the clear."""

from __future__ import annotations

import base64
import copy
import gc
import logging
import pickle
import traceback
from pathlib import Path

import pytest

from transit import Keyring, KeyringError, TransitError, UnpicklableError

from .conftest import STORE_ID, STREAM

CANARY = "correct horse canary staple"


def spellings(secret: bytes) -> list[str]:
    return [
        repr(secret)[2:-1],
        secret.hex(),
        base64.b64encode(secret).decode().rstrip("=")[:-1],
        str(list(secret)),
    ]


@pytest.mark.parametrize("by", ["passphrase", "key-file"])
def test_no_secret_is_shown_or_kept_in_the_clear(
    file: Path, key_file: str, by: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    way = {"passphrase": CANARY} if by == "passphrase" else {"key_file": key_file}
    ring = Keyring.create(file, **way)
    keys = ring.current_all(["store", STREAM])
    ring.attach(STORE_ID)
    shown = [repr(ring), str(ring), f"{ring}", repr(keys), f"{keys['store']}", repr(ring.keys())]
    for call in (
        lambda: ring.attach(bytes(16)),
        lambda: ring.current("me"),
        lambda: Keyring.open(file, passphrase=CANARY + "x"),
        lambda: Keyring.create(file, **way),
        lambda: pickle.dumps(ring),
        lambda: pickle.dumps(keys["store"]),
        lambda: copy.copy(keys["store"]),
        lambda: copy.deepcopy(keys),
        lambda: copy.deepcopy(ring),
    ):
        with pytest.raises(TransitError) as refused:
            call()
        shown += traceback.format_exception(refused.value)
        shown.append(repr(vars(refused.value)))
    text = "\n".join([*shown, caplog.text, file.read_text(), Path(f"{file}.lock").read_text()])
    secrets = [ring.index_key, *(key.secret for key in keys.values()), ring._file.master.mac_key]
    if by == "key-file":
        secrets.append(bytes.fromhex(Path(key_file).read_text()))
    for secret in secrets:
        assert not [each for each in spellings(secret) if each in text]
    # The lines of this file are in the tracebacks, but not what they stand for.
    assert CANARY not in text


def test_what_has_secrets_is_not_pickled(ring: Keyring) -> None:
    key = ring.current("store")
    for each in (ring, key):
        for copied in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(UnpicklableError):
                copied(each)
    # A tuple all the same.
    assert key == (key.id, key.secret)
    assert repr(key) == f"Key({key.id.hex()})"


def test_a_passphrase_is_not_kept(file: Path) -> None:
    """Only what was derived from it is."""
    passphrase = CANARY + file.name
    ring = Keyring.create(file, passphrase=passphrase)
    reached: list[object] = [ring]
    seen: set[int] = set()
    while reached:
        each = reached.pop()
        if id(each) in seen or isinstance(each, type) or len(seen) > 100_000:
            continue
        seen.add(id(each))
        if isinstance(each, str | bytes):
            assert each not in (passphrase, passphrase.encode())
        if type(each).__module__.startswith("transit") or isinstance(each, dict | list | tuple):
            reached += gc.get_referents(each)


def test_an_error_goes_to_another_process(ring: Keyring) -> None:
    ring.attach(STORE_ID)
    with pytest.raises(KeyringError) as refused:
        ring.attach(bytes(16))
    again = pickle.loads(pickle.dumps(refused.value))
    assert (type(again), str(again)) == (KeyringError, str(refused.value))
