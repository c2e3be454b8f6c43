"""Passphrases, key files and key services: the right one opens, all others are refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from transit import (
    AlreadyExistsError,
    InvalidInputError,
    Keyring,
    KeyringError,
    NotFoundError,
    TransitError,
)

from .conftest import STREAM, KeyService

Ways = dict[str, dict[str, Any]]


@pytest.fixture
def ways(key_file: str, service: KeyService) -> Ways:
    return {
        "passphrase": {"passphrase": "correct horse"},
        "key-file": {"key_file": key_file},
        "service": {"wrap": service.wrap, "unwrap": service.unwrap},
    }


@pytest.mark.parametrize("by", ["passphrase", "key-file", "service"])
def test_each_way_opens_what_it_made(file: Path, ways: Ways, by: str) -> None:
    ring = Keyring.create(file, **ways[by])
    assert ring.by == by
    key = ring.current(STREAM)
    ring.rotate()
    again = Keyring.open(file, **ways[by])
    assert again.find(key.id) == key
    assert again.current(STREAM).id != key.id
    assert again.index_key == ring.index_key
    assert again.id == ring.id


@pytest.mark.parametrize("by", ["passphrase", "key-file", "service"])
def test_another_way_than_its_own_is_refused(file: Path, ways: Ways, by: str) -> None:
    Keyring.create(file, **ways[by])
    for other in ways.keys() - {by}:
        with pytest.raises(KeyringError, match="it is unlocked by a "):
            Keyring.open(file, **ways[other])


@pytest.mark.parametrize("before", ["passphrase", "key-file", "service"])
@pytest.mark.parametrize("after", ["passphrase", "key-file", "service"])
def test_wrapped_anew_the_keys_are_the_same(
    file: Path, ways: Ways, tmp_path: Path, before: str, after: str
) -> None:
    other = KeyService()
    new: Ways = {
        "passphrase": {"passphrase": b"another"},
        "key-file": {"key_file": Keyring.new_key_file(tmp_path / "second.key")},
        "service": {"wrap": other.wrap, "unwrap": other.unwrap},
    }
    ring = Keyring.create(file, **ways[before])
    keys = ring.current_all([STREAM, "store", "subject:gone"])
    ring.rotate("store")
    ring.destroy("subject:gone")
    told, old = ring.keys(), Keyring.open(file, **ways[before])
    ring.rewrap(**new[after])
    opened = Keyring.open(file, **new[after])
    for each in (ring, opened):
        assert (each.by, each.keys()) == (after, told)
        assert each.find(keys["store"].id) == keys["store"]
        assert each.current(STREAM) == keys[STREAM]
        assert each.find(keys["subject:gone"].id) is None
    with pytest.raises(KeyringError):
        Keyring.open(file, **ways[before])
    with pytest.raises(KeyringError, match="open it again"):
        old.current("subject:new")
    assert ring.current("subject:new") == opened.current("subject:new")


def test_a_wrong_passphrase_is_refused_and_not_shown(file: Path) -> None:
    Keyring.create(file, passphrase="correct horse")
    for wrong in ("correct  horse", "Correct horse", "x", b"\xff"):
        with pytest.raises(KeyringError, match="not unlocked: a passphrase") as refused:
            Keyring.open(file, passphrase=wrong)
        assert "orrect" not in str(refused.value)


def test_a_passphrase_is_one_however_it_is_composed(file: Path) -> None:
    key = Keyring.create(file, passphrase="fu\u0308r").current("store")
    assert Keyring.open(file, passphrase="f\u00fcr").current("store") == key
    assert Keyring.open(file, passphrase="f\u00fcr".encode()).current("store") == key
    with pytest.raises(KeyringError):
        Keyring.open(file, passphrase="fu\u0308r".encode())


@pytest.mark.parametrize("passphrase", ["", b"", "\ud800", 5, bytearray(b"x")])
def test_a_passphrase_is_text_or_bytes(file: Path, passphrase: str) -> None:
    with pytest.raises(InvalidInputError, match="passphrase"):
        Keyring.create(file, passphrase=passphrase)
    assert not file.exists()


def test_exactly_one_way_is_given(file: Path, key_file: str, service: KeyService) -> None:
    Keyring.create(file, key_file=key_file)
    given: list[dict[str, Any]] = [
        {},
        {"passphrase": "x", "key_file": key_file},
        {"passphrase": "x", "wrap": service.wrap, "unwrap": service.unwrap},
        {"key_file": key_file, "unwrap": service.unwrap},
        {"wrap": service.wrap},
        {"unwrap": service.unwrap},
        {"wrap": "aws", "unwrap": service.unwrap},
    ]
    calls: list[Callable[..., object]] = [
        lambda **way: Keyring.open(file, **way),
        lambda **way: Keyring.create(file.with_name("new"), **way),
        Keyring.open(file, key_file=key_file).rewrap,
    ]
    for way in given:
        for call in calls:
            with pytest.raises(InvalidInputError):
                call(**way)
    assert not file.with_name("new").exists()


def test_a_key_file_is_raw_or_hex(file: Path, tmp_path: Path) -> None:
    secret = os.urandom(32)
    path = tmp_path / "any.key"
    spellings = [secret, secret.hex().encode(), secret.hex().upper().encode() + b"\r\n"]
    path.touch(0o600)
    path.write_bytes(secret)
    key = Keyring.create(file, key_file=path).current("store")
    for spelling in spellings:
        path.write_bytes(spelling)
        assert Keyring.open(file, key_file=path).current("store") == key


@pytest.mark.parametrize(
    "data", [b"", b"x" * 31, b"x" * 33, b"0" * 63, b"g" * 64, b"0" * 5000, b"0 " * 32]
)
def test_other_files_are_no_key_files(file: Path, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "any.key"
    path.touch(0o600)
    path.write_bytes(data)
    with pytest.raises(KeyringError, match="32 bytes, or 64 hex digits"):
        Keyring.create(file, key_file=path)


def test_another_key_file_of_the_right_length_is_refused(
    ring: Keyring, file: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyringError, match="not unlocked: a key file"):
        Keyring.open(file, key_file=Keyring.new_key_file(tmp_path / "other.key"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o660, 0o777])
def test_a_key_file_that_others_may_use_is_refused(
    ring: Keyring, file: Path, key_file: str, mode: int
) -> None:
    Path(key_file).chmod(mode)
    with pytest.raises(KeyringError, match=f"others may read this key file .mode {mode:04o}"):
        Keyring.open(file, key_file=key_file)
    Path(key_file).chmod(0o400)
    Keyring.open(file, key_file=key_file)


def test_a_key_file_is_made_once_and_for_its_owner(key_file: str, tmp_path: Path) -> None:
    before = Path(key_file).read_bytes()
    assert Path(key_file).stat().st_mode & 0o777 == 0o600
    with pytest.raises(AlreadyExistsError):
        Keyring.new_key_file(key_file)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AlreadyExistsError):
        Keyring.new_key_file(tmp_path / "link")
    assert Path(key_file).read_bytes() == before
    assert len(bytes.fromhex(before.decode())) == 32
    with pytest.raises(NotFoundError):
        Keyring.new_key_file(tmp_path / "no" / "key")


def test_a_folder_or_nothing_is_no_key_file(ring: Keyring, file: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such key file"):
        Keyring.open(file, key_file=tmp_path / "none")
    with pytest.raises(InvalidInputError, match="folder"):
        Keyring.open(file, key_file=tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(InvalidInputError, match="no file"):
        Keyring.open(file, key_file=tmp_path / "pipe")


def test_another_key_service_is_refused(file: Path, service: KeyService) -> None:
    ring = Keyring.create(file, wrap=service.wrap, unwrap=service.unwrap)
    other = KeyService()
    with pytest.raises(KeyringError, match="unwrap raised KeyError"):
        Keyring.open(file, wrap=other.wrap, unwrap=other.unwrap)
    answers: list[object] = [b"", b"x" * 104, b"x" * 70_000, "text", None]
    for answer in answers:
        with pytest.raises(KeyringError, match="service"):
            Keyring.open(file, wrap=other.wrap, unwrap=lambda _, said=answer: said)  # type: ignore[misc]
    assert ring.current("store")


def test_a_key_service_is_asked_once_a_key(file: Path, service: KeyService) -> None:
    ring = Keyring.create(file, wrap=service.wrap, unwrap=service.unwrap)
    for _ in range(3):
        ring.current(STREAM)
    assert service.asked.count("wrap") == 3  # the MACs' key, the index's, the stream's
    again = Keyring.open(file, wrap=service.wrap, unwrap=service.unwrap)
    for _ in range(3):
        assert again.current(STREAM) == ring.current(STREAM)
    assert service.asked.count("unwrap") == 2


def test_a_key_service_that_fails_leaves_the_keyring_as_it_was(
    file: Path, service: KeyService
) -> None:
    failing = False

    def wrap(data: bytes) -> bytes:
        if failing:
            raise TimeoutError("no answer")
        return service.wrap(data)

    ring = Keyring.create(file, wrap=wrap, unwrap=service.unwrap)
    before, failing = file.read_bytes(), True
    with pytest.raises(KeyringError, match="wrap raised TimeoutError") as refused:
        ring.current("store")
    assert isinstance(refused.value.__cause__, TimeoutError)
    assert file.read_bytes() == before
    failing = False
    assert ring.current("store")


def test_a_key_service_that_gives_another_entry_is_noticed(file: Path, service: KeyService) -> None:
    ring = Keyring.create(file, wrap=service.wrap, unwrap=service.unwrap)
    first = ring.current("store")
    handle = next(iter(service._known))
    again = Keyring.open(file, wrap=service.wrap, unwrap=service.unwrap)
    service.unwrap = lambda _: service._known[handle]  # type: ignore[method-assign]
    crossed = Keyring.open(file, wrap=service.wrap, unwrap=lambda _: service._known[handle])
    assert again.find(first.id) == first
    with pytest.raises(TransitError, match="wrapped for this keyring, id and owner"):
        crossed.find(first.id)


def test_what_scrypt_costs_is_in_the_file(file: Path) -> None:
    Keyring.create(file, passphrase="x")
    unlock = json.loads(file.read_text())["unlock"]
    assert unlock.pop("salt")
    assert unlock == {"by": "passphrase", "n": 2**15, "r": 8, "p": 1}


# A process without the package, and a keyring that was made in another.
WITHOUT = """
import sys, transit
sys.modules["cryptography"] = None
path, key_file = sys.argv[1:]
for call in (
    lambda: transit.Keyring.create(path + ".new", key_file=key_file),
    lambda: transit.Keyring.open(path, key_file=key_file).index_key,
):
    try:
        call()
    except transit.InvalidInputError as error:
        print(error)
"""


def test_without_the_package_it_says_how_to_get_it(
    ring: Keyring, file: Path, key_file: str, poor: Callable[..., str]
) -> None:
    said = "encryption needs cryptography: pip install 'transit[encryption]'"
    assert poor(WITHOUT, file, key_file).splitlines() == [said, said]
    assert not Path(f"{file}.new").exists()
