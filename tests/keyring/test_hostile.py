"""Files that somebody changed: each is refused, named, and costs no more than it may."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from transit import (
    CorruptError,
    FormatError,
    InvalidInputError,
    Keyring,
    KeyringError,
    TransitError,
    UnsupportedVersionError,
)
from transit.keyring import document as documents
from transit.keyring.document import BYTES_MAX, Document, encode
from transit.keyring.masters import KeyFile

from .conftest import STORE_ID, STREAM

Change = Callable[[dict[str, Any]], object]
Sign = Callable[[Document], None]


@pytest.fixture
def full(ring: Keyring) -> Keyring:
    """A keyring with keys in each state."""
    ring.attach(STORE_ID)
    ring.current_all(["store", STREAM, "subject:gone"])
    ring.rotate(STREAM)
    ring.current(STREAM)
    ring.destroy("subject:gone", "why")
    return ring


@pytest.fixture
def rewrite(file: Path) -> Callable[[Change], None]:
    """Changes the JSON of the file, in its one spelling, and nothing else."""

    def change_file(change: Change) -> None:
        plain = json.loads(file.read_text())
        change(plain)
        put(file, json.dumps(plain, separators=(",", ":"), ensure_ascii=False).encode())

    return change_file


@pytest.fixture
def sign(file: Path, key_file: str) -> Sign:
    """Writes a document as one who has the master secret."""

    def write(document: Document) -> None:
        way = KeyFile(key_file)
        master = way.unlock(bytes.fromhex(document.id), document.unlock)
        assert master is not None
        file.write_bytes(encode(document, master.mac_key))

    return write


def put(file: Path, data: bytes) -> None:
    """As whoever replaces the file does: another file gets its name."""
    new = file.with_name("new")
    new.write_bytes(data)
    new.replace(file)


def read(file: Path) -> Document:
    return documents.decode(file.read_bytes(), "here")


def test_written_again_a_file_is_the_same(full: Keyring, file: Path, sign: Sign) -> None:
    before = file.read_bytes()
    sign(read(file))
    assert file.read_bytes() == before


def test_each_changed_byte_is_noticed(full: Keyring, file: Path, key_file: str) -> None:
    whole = file.read_bytes()
    for at in range(len(whole)):
        for flip in (0x01, 0x20):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
            with pytest.raises((FormatError, KeyringError)):
                Keyring.open(file, key_file=key_file)
    file.write_bytes(whole)
    assert Keyring.open(file, key_file=key_file).keys() == full.keys()


def test_each_cut_is_noticed(full: Keyring, file: Path, key_file: str) -> None:
    whole = file.read_bytes()
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        with pytest.raises(CorruptError):
            Keyring.open(file, key_file=key_file)
    for more in (b"\n", b" ", b"{}", whole):
        file.write_bytes(whole + more)
        with pytest.raises(CorruptError):
            Keyring.open(file, key_file=key_file)


def _exchange_wrapped(plain: dict[str, Any]) -> None:
    one, other = plain["keys"][0], plain["keys"][1]
    one["wrapped"], other["wrapped"] = other["wrapped"], one["wrapped"]


CHANGES: dict[str, Change] = {
    "another owner": lambda plain: plain["keys"][0].update(owner="subject:me"),
    "another state": lambda plain: plain["keys"][3].update(state="old"),
    "a key that is not destroyed any more": lambda plain: plain["keys"][2].update(
        state="old", wrapped=plain["keys"][0]["wrapped"], destroyed=None
    ),
    "another reason": lambda plain: plain["keys"][2].update(reason=""),
    "another time": lambda plain: plain["keys"][0].update(made=1),
    "wrapped bytes exchanged": _exchange_wrapped,
    "entries in another order": lambda plain: plain["keys"].reverse(),
    "an entry left out": lambda plain: plain["keys"].pop(),
    "an entry twice": lambda plain: plain["keys"].append(plain["keys"][0]),
    "another store": lambda plain: plain.update(store="00" * 16),
    "no store": lambda plain: plain.update(store=None),
    "another generation": lambda plain: plain.update(generation=1),
    "another key of indexes": lambda plain: plain.update(index=plain["keys"][0]["wrapped"]),
    "another MAC": lambda plain: plain.update(mac="00" * 32),
    "no MAC": lambda plain: plain.update(mac=""),
    "a field more": lambda plain: plain.update(more=1),
    "a field more in an entry": lambda plain: plain["keys"][0].update(more=1),
    "a field less": lambda plain: plain.pop("store"),
    "a number that is too large": lambda plain: plain["keys"][0].update(made=2**63),
    "a negative number": lambda plain: plain.update(generation=-1),
    "an id in capitals": lambda plain: plain["keys"][0].update(id="AA" * 8),
    "an id with a newline": lambda plain: plain["keys"][0].update(id="aa" * 8 + "\n"),
    "another kind": lambda plain: plain.update(kind="transit-store"),
    "version 0": lambda plain: plain.update(version=0),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_was_changed_without_the_master_secret_is_damage(
    full: Keyring,
    file: Path,
    key_file: str,
    rewrite: Callable[[Change], None],
    change: Change,
) -> None:
    rewrite(change)
    with pytest.raises(CorruptError, match=r"ring\.json"):
        Keyring.open(file, key_file=key_file)
    # One that has it open does not go on with it either.
    with pytest.raises((CorruptError, KeyringError)):
        full.current("subject:new")


@pytest.mark.parametrize(
    "change",
    [
        lambda plain: plain.update(id="00" * 16),
        lambda plain: plain.update(check="00" * 32),
        lambda plain: plain.update(unlock={"by": "passphrase", "salt": "", "n": 2, "r": 1, "p": 1}),
    ],
)
def test_what_says_how_it_is_unlocked_is_not_believed(
    full: Keyring,
    file: Path,
    key_file: str,
    rewrite: Callable[[Change], None],
    change: Change,
) -> None:
    rewrite(change)
    with pytest.raises(KeyringError):
        Keyring.open(file, key_file=key_file)
    with pytest.raises(KeyringError):
        full.keys()


def _entry(document: Document, number: int, **fields: Any) -> Document:
    keys = list(document.keys)
    keys[number] = msgspec.structs.replace(keys[number], **fields)
    return msgspec.structs.replace(document, keys=tuple(keys))


WRONG: dict[str, Callable[[Document], Document]] = {
    "two current keys": lambda found: _entry(found, 1, state="current"),
    "two of one id": lambda found: _entry(found, 1, id=found.keys[0].id),
    "an owner of no kind": lambda found: _entry(found, 0, owner="me"),
    "destroyed and wrapped": lambda found: _entry(found, 2, wrapped=found.keys[0].wrapped),
    "destroyed at no time": lambda found: _entry(found, 2, destroyed=None),
    "old and not wrapped": lambda found: _entry(found, 1, wrapped=None),
    "old and destroyed": lambda found: _entry(found, 1, destroyed=5),
    "the store's destroyed": lambda found: _entry(
        found, 0, state="destroyed", wrapped=None, destroyed=5
    ),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_what_contradicts_itself_is_damage_whoever_wrote_it(
    full: Keyring,
    file: Path,
    key_file: str,
    sign: Sign,
    change: Callable[[Document], Document],
) -> None:
    sign(change(read(file)))
    with pytest.raises(CorruptError, match=r"key [0-9a-f]{16}: expected a key's entry"):
        Keyring.open(file, key_file=key_file)


def test_an_entry_does_not_open_in_anothers_place(
    full: Keyring, file: Path, key_file: str, sign: Sign
) -> None:
    found = read(file)
    one, other = found.keys[0], found.keys[1]
    crossed = _entry(found, 0, wrapped=other.wrapped)
    renamed = _entry(found, 1, owner="subject:me")
    numbered = _entry(found, 0, id="12" * 8)
    index = msgspec.structs.replace(found, index=one.wrapped)
    cut = _entry(found, 0, wrapped=(one.wrapped or b"")[:-1])
    for document, number in ((crossed, 0), (renamed, 1), (numbered, 0), (cut, 0)):
        sign(document)
        ring = Keyring.open(file, key_file=key_file)
        with pytest.raises(CorruptError, match="wrapped for this keyring, id and owner"):
            ring.find(bytes.fromhex(document.keys[number].id))
    sign(index)
    with pytest.raises(CorruptError, match="wrapped for this keyring, id and owner"):
        Keyring.open(file, key_file=key_file).index_key  # noqa: B018


def test_an_entry_of_another_keyring_does_not_open(
    full: Keyring, file: Path, key_file: str, sign: Sign
) -> None:
    mine = read(file)
    other = Keyring.create(file.with_name("other"), key_file=key_file)
    other.current("store")
    theirs = read(file.with_name("other"))
    sign(_entry(mine, 0, id=theirs.keys[0].id, wrapped=theirs.keys[0].wrapped))
    ring = Keyring.open(file, key_file=key_file)
    with pytest.raises(CorruptError, match="wrapped for this keyring, id and owner"):
        ring.current("store")


def test_a_newer_version_is_told_as_one(
    full: Keyring, file: Path, key_file: str, rewrite: Callable[[Change], None]
) -> None:
    changes: list[Change] = [
        lambda plain: plain.update(version=2),
        lambda plain: plain.update(cipher="new"),
        lambda plain: plain.pop("unlock"),
    ]
    for change in changes:
        rewrite(change)
        with pytest.raises(UnsupportedVersionError, match="version 2; this transit reads up to"):
            Keyring.open(file, key_file=key_file)


def test_an_older_copy_is_refused_by_who_saw_the_newer(
    ring: Keyring, file: Path, key_file: str
) -> None:
    before = file.read_bytes()
    key = ring.current("store")
    put(file, before)
    with pytest.raises(CorruptError, match="an older copy, of generation 1"):
        ring.current("store")
    # Nobody else can tell.
    assert Keyring.open(file, key_file=key_file).find(key.id) is None


def test_a_copy_put_into_the_file_is_noticed(ring: Keyring, file: Path) -> None:
    """As cp does it: the file stays the same one."""
    before = file.read_bytes()
    ring.current("store")
    file.write_bytes(before)
    with pytest.raises(CorruptError, match="an older copy"):
        ring.current("store")


def test_another_keyring_in_its_place_is_refused(ring: Keyring, file: Path, key_file: str) -> None:
    Keyring.create(file.with_name("other"), key_file=key_file)
    put(file, file.with_name("other").read_bytes())
    with pytest.raises(KeyringError, match="another keyring is there now"):
        ring.current("store")


def test_a_keyring_that_went_away_is_told(ring: Keyring, file: Path) -> None:
    key = ring.current("store")
    file.unlink()
    for call in (lambda: ring.current("store"), lambda: ring.find(key.id), ring.keys):
        with pytest.raises(KeyringError, match="not there any more"):
            call()
    assert not file.exists()


@pytest.mark.parametrize(
    ("n", "r", "p", "salt"),
    [
        (2**21, 8, 1, 16),
        (2**20, 16, 1, 16),
        (2**15, 33, 1, 16),
        (2**15, 8, 17, 16),
        (2**15 + 1, 8, 1, 16),
        (0, 8, 1, 16),
        (1, 8, 1, 16),
        (2**15, 0, 1, 16),
        (2**15, 8, 0, 16),
        (2**62, 2**62, 2**62, 16),
        (2**15, 8, 1, 15),
        (2**15, 8, 1, 4096),
    ],
)
def test_a_file_may_not_ask_for_any_work(
    file: Path, rewrite: Callable[[Change], None], n: int, r: int, p: int, salt: int
) -> None:
    Keyring.create(file, passphrase="x")
    encoded = msgspec.json.decode(msgspec.json.encode(bytes(salt)))
    asked = {"by": "passphrase", "salt": encoded, "n": n, "r": r, "p": p}
    rewrite(lambda plain: plain.update(unlock=asked))
    with pytest.raises(KeyringError, match="hashed by scrypt with"):
        Keyring.open(file, passphrase="x")


def test_other_files_are_no_keyrings(file: Path, key_file: str, tmp_path: Path) -> None:
    deep = b"[" * 100_000
    nested = b'{"kind":' + b'{"a":' * 100_000
    for data in (b"", b"null", b"{}", b"[]", b"\xff\xfe", b'{"kind":"\xff"}', deep, nested):
        file.write_bytes(data)
        with pytest.raises(CorruptError, match=r"ring\.json"):
            Keyring.open(file, key_file=key_file)
    with pytest.raises(InvalidInputError, match="folder"):
        Keyring.open(tmp_path, key_file=key_file)


def test_a_file_that_is_too_large_is_not_read(file: Path, key_file: str) -> None:
    with file.open("wb") as sparse:
        sparse.truncate(BYTES_MAX + 1)
    with pytest.raises(CorruptError, match="at most"):
        Keyring.open(file, key_file=key_file)


def test_a_keyring_does_not_grow_out_of_its_reach(
    ring: Keyring, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ring.current("store")
    before = file.read_bytes()
    monkeypatch.setattr("transit.keyring.shared.BYTES_MAX", len(before) + 100)
    with pytest.raises(InvalidInputError, match="the keyring is full: 2 keys"):
        ring.current("subject:one too many")
    assert file.read_bytes() == before
    assert ring.current("store") == key


def test_no_secret_is_in_what_is_raised(full: Keyring, file: Path, key_file: str) -> None:
    """Whatever is wrong with the file: what is said of it has no wrapped byte and no key."""
    master = Path(key_file).read_text().strip()
    whole = file.read_bytes()
    wrapped = [str(entry["wrapped"]) for entry in json.loads(whole)["keys"] if entry["wrapped"]]
    for at in range(0, len(whole), 7):
        file.write_bytes(whole[:at] + b"\x00" + whole[at + 1 :])
        with pytest.raises(TransitError) as refused:
            Keyring.open(file, key_file=key_file)
        said = str(refused.value)
        assert master not in said
        assert not any(each[:12] in said for each in wrapped)
