"""What a keyring gives out, and when: current, old and destroyed keys."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

import transit
from transit import (
    AlreadyExistsError,
    InvalidInputError,
    Key,
    KeyInfo,
    Keyring,
    KeyringError,
    NotFoundError,
)

from .conftest import STORE_ID, STREAM, told

ANN, BOB = "subject:ann", "subject:böb ☂"


def entries(file: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(file.read_text())["keys"]
    return found


def test_a_key_stays_the_same_until_it_is_rotated(ring: Keyring, file: Path, key_file: str) -> None:
    first = ring.current(STREAM)
    assert (len(first.id), len(first.secret)) == (8, 32)
    assert ring.current(STREAM) == first
    assert ring.current("store").secret != first.secret
    assert ring.rotate(STREAM) == 1
    second = ring.current(STREAM)
    assert second.id != first.id
    assert second.secret != first.secret
    other = Keyring.open(file, key_file=key_file)
    assert other.current(STREAM) == second
    assert other.find(first.id) == first
    assert other.current("store") == ring.current("store")


def test_rotating_all_concerns_the_current_keys_alone(ring: Keyring) -> None:
    before = ring.current_all(["store", STREAM, ANN, ANN])
    assert list(before) == ["store", STREAM, ANN]
    assert (ring.rotate(), ring.rotate(), ring.rotate(BOB)) == (3, 0, 0)
    after = ring.current_all(before)
    assert all(after[owner].id != before[owner].id for owner in before)
    assert [info.state for info in told(ring)] == ["old"] * 3 + ["current"] * 3


def test_keys_of_many_owners_are_made_in_one_write(ring: Keyring, file: Path) -> None:
    ring.current(ANN)
    before = file.read_bytes().count(b'"generation":2')
    owners = [ANN, *(f"stream:{number:032x}" for number in range(50))]
    keys = ring.current_all(owners)
    assert before == file.read_bytes().count(b'"generation":3') == 1
    assert len({key.id for key in keys.values()}) == len({*keys.values()}) == 51


def test_a_destroyed_key_is_gone_from_file_and_memory(
    ring: Keyring, file: Path, key_file: str
) -> None:
    other = Keyring.open(file, key_file=key_file)
    old = ring.current(BOB)
    ring.rotate(BOB)
    new = ring.current(BOB)
    kept = ring.current(ANN)
    assert other.find(old.id) == old
    assert other.current(BOB) == new
    wrapped = [entry["wrapped"] for entry in entries(file) if entry["owner"] == BOB]
    assert ring.destroy(BOB, reason="she asked") == 2
    assert not any(str(each).encode() in file.read_bytes() for each in wrapped)
    for each in (ring, other, Keyring.open(file, key_file=key_file)):
        assert each.find(old.id) is each.find(new.id) is None
        assert each.destroyed(old.id)
        assert each.destroyed(new.id)
        assert not each.destroyed(kept.id)
        assert not each.destroyed(bytes(8))
        assert each.find(kept.id) == kept
        assert not {old.secret, new.secret} & set(each._file._secrets.values())
    assert ring.destroy(BOB) == 0


def test_what_is_left_of_a_destroyed_key_says_when_and_why(ring: Keyring) -> None:
    key = ring.current(ANN)
    ring.destroy(ANN, "court order 7")
    (info,) = told(ring)
    assert isinstance(info, KeyInfo)
    assert (info.id, info.owner, info.state) == (key.id.hex(), ANN, "destroyed")
    assert info.reason == "court order 7"
    assert info.destroyed is not None
    assert info.destroyed >= info.made > 0


def test_an_owner_whose_keys_were_destroyed_gets_another(ring: Keyring) -> None:
    before = ring.current(ANN)
    ring.destroy(ANN)
    after = ring.current(ANN)
    assert after.id != before.id
    assert [info.state for info in told(ring)] == ["destroyed", "current"]


def test_the_key_of_indexes_never_changes(ring: Keyring, file: Path, key_file: str) -> None:
    index = ring.index_key
    assert len(index) == 32
    ring.rotate()
    ring.rewrap(passphrase="another")
    assert ring.index_key == index
    assert Keyring.open(file, passphrase="another").index_key == index


def test_the_file_is_for_its_owner_alone(ring: Keyring, file: Path) -> None:
    ring.current("store")
    for path in file.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {path.name for path in file.parent.iterdir()} == {"ring.json", "ring.json.lock"}


def test_a_keyring_is_made_once(ring: Keyring, file: Path, key_file: str) -> None:
    before = file.read_bytes()
    with pytest.raises(AlreadyExistsError, match="stays as it is"):
        Keyring.create(file, key_file=key_file)
    assert file.read_bytes() == before
    with pytest.raises(NotFoundError):
        Keyring.open(file.with_name("none"), key_file=key_file)


def test_a_link_to_a_keyring_stays_one(ring: Keyring, file: Path, key_file: str) -> None:
    link = file.parent.parent / "link"
    link.symlink_to(file)
    key = Keyring.open(link, key_file=key_file).current("store")
    assert link.is_symlink()
    assert ring.current("store") == key


def test_a_relative_path_is_kept_as_an_absolute_one(
    file: Path, key_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    ring = Keyring.create("ring.json", key_file=os.path.relpath(key_file))
    monkeypatch.chdir("/")
    assert ring.path == str(file)
    ring.current("store")


@pytest.mark.parametrize(
    "owner",
    ["", "stores", "stream:", "stream:" + "A" * 32, "stream:1", "subject:", "index", 7, None,
     "subject:" + "é" * 513, "subject:\ud800", "store\n"],
)  # fmt: skip
def test_keys_belong_to_owners_of_three_kinds(ring: Keyring, owner: str) -> None:
    for call in (ring.current, ring.destroy, lambda each: ring.current_all([each])):
        with pytest.raises(InvalidInputError, match="owner"):
            call(owner)
    assert ring.keys() == ()


def test_an_owner_may_have_as_much_text_as_fits(ring: Keyring) -> None:
    assert ring.current("subject:" + "é" * 512) == ring.current("subject:" + "é" * 512)
    assert ring.current("subject:a\n").id != ring.current("subject:a").id


def test_wrong_arguments_change_nothing(ring: Keyring, file: Path) -> None:
    ring.current("store")
    before = file.read_bytes()
    with pytest.raises(InvalidInputError, match="store's own"):
        ring.destroy("store")
    for reason in ("x" * 4097, "\ud800", 5):
        with pytest.raises(InvalidInputError, match="reason"):
            ring.destroy(ANN, reason)  # type: ignore[arg-type]
    for key_id in (b"", b"123456789", "12345678"):
        for call in (ring.find, ring.destroyed):
            with pytest.raises(InvalidInputError, match="8 bytes"):
                call(key_id)  # type: ignore[arg-type]
    assert file.read_bytes() == before


def test_a_keyring_is_for_one_store(ring: Keyring, file: Path, key_file: str) -> None:
    assert ring.store_id is None
    ring.attach(STORE_ID)
    ring.attach(STORE_ID)
    other = Keyring.open(file, key_file=key_file)
    assert other.store_id == ring.store_id == STORE_ID
    strange = bytes(16)
    with pytest.raises(KeyringError, match=f"{STORE_ID.hex()}, not for {strange.hex()}"):
        other.attach(strange)
    assert other.store_id == STORE_ID
    with pytest.raises(InvalidInputError, match="16 bytes"):
        ring.attach(STORE_ID.hex())  # type: ignore[arg-type]


def test_a_bound_keyring_is_attached_without_a_write(ring: Keyring, file: Path) -> None:
    ring.attach(STORE_ID)
    before = file.stat()
    ring.attach(STORE_ID)
    assert file.stat().st_ino == before.st_ino


def test_keys_do_not_lie_beside_what_they_decrypt(
    tmp_path: Path, key_file: str, ring: Keyring, file: Path
) -> None:
    store, remote = tmp_path / "store", tmp_path / "remote"
    inside = [store / "ring", store / "deep" / "ring", remote / "ring"]
    for path in inside:
        path.parent.mkdir(parents=True, exist_ok=True)
        bad = Keyring.create(path, key_file=key_file)
        with pytest.raises(InvalidInputError, match=f"{path}: lies in"):
            bad.attach(STORE_ID, str(store), str(remote))
        assert bad.store_id is None
    link = tmp_path / "link"
    link.symlink_to(store)
    through = Keyring.create(link / "another", key_file=key_file)
    with pytest.raises(InvalidInputError, match="lies in"):
        through.attach(STORE_ID, str(store))
    with pytest.raises(InvalidInputError, match=r"ring\.json: lies in"):
        ring.attach(STORE_ID, str(file.parent))
    ring.attach(STORE_ID, str(store), str(remote))
    within = Keyring.new_key_file(store / "new.key")
    beside = Keyring.create(file.with_name("second"), key_file=within)
    with pytest.raises(InvalidInputError, match=r"new\.key: lies in"):
        beside.attach(STORE_ID, str(tmp_path / "keys" / ".." / "store"))
    with pytest.raises(InvalidInputError, match=r"new\.key: lies in"):
        ring.rewrap(key_file=within)


def test_a_keyring_is_public() -> None:
    assert transit.Keyring is Keyring
    assert transit.Key is Key
