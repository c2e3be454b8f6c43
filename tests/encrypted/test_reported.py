"""What users of other encrypted stores reported, tried here.

Each test names the report; what is reproduced is its kind, on a store of ours.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import transit
from tests.encrypted.conftest import CANARY, files_with, ring_of
from transit import CorruptError, Keyring, KeyringError, SealedError, views

Opened = Callable[..., transit.Log]


class Event(msgspec.Struct, frozen=True):
    n: int


class Total(msgspec.Struct, frozen=True):
    name: str
    n: int


total = views.table("total", Total, key="name")


@views.reducer(total, reads=Event)
def count(rows: Any, event: Event, at: Any) -> None:
    rows.put(Total("all", event.n + (rows.get("all") or Total("all", 0)).n))


def totals(state: Any) -> int:
    return int(state.total.get("all").n)


def everything_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def payloads(stream: transit.Stream) -> list[bytes]:
    return [record.payload for record in stream.read()]


def test_a_keyring_put_in_anothers_place_is_told_by_name(
    opened: Opened, tmp_path: Path, ring: Keyring
) -> None:
    """restic 3430, 4848: keys of another repository, or of a second `init`, opened nothing, and
    the error said only that a ciphertext did not verify."""
    with opened(encrypt="remote") as log:
        log.create("a").append(CANARY)
        log.publish()
    other = ring_of(tmp_path / "other")
    with transit.open(tmp_path / "elsewhere", encrypt="remote", keyring=other):
        pass
    shutil.copy(other.path, ring.path)
    with pytest.raises(KeyringError):
        Keyring.open(ring.path, key_file=f"{ring.path}.key")
    swapped = Keyring.open(ring.path, key_file=f"{other.path}.key")
    with pytest.raises(KeyringError, match="this keyring is for the store"):
        opened(keyring=swapped)


def test_a_new_keyring_in_the_place_of_the_lost_one_is_sealed_not_damage(
    opened: Opened, tmp_path: Path
) -> None:
    """restic 4848, SecuScan 1770: a lost key looked like a corrupt repository."""
    with opened(encrypt="remote") as log:
        log.create("a").append(CANARY)
        log.publish()
    fresh = ring_of(tmp_path / "fresh")
    with opened(mode="read", keyring=fresh) as log:
        with pytest.raises(SealedError, match="does not have"):
            list(log.streams())
        assert log.verify().ok
    report = transit.audit(tmp_path / "remote", keyring=fresh)
    assert report.ok
    assert report.counts["sealed_chunks"] > 0


def test_a_key_rotated_elsewhere_is_used_at_once(opened: Opened, ring: Keyring) -> None:
    """velociraptor 1036: a cached cipher outlived the rotation of its key."""
    with opened(encrypt="all") as log:
        stream = log.create("a")
        stream.append(b"before")
        code = (
            "import sys, transit; transit.Keyring.open(sys.argv[1], key_file=sys.argv[2]).rotate()"
        )
        command = [sys.executable, "-c", code, ring.path, f"{ring.path}.key"]
        subprocess.run(command, check=True, timeout=120)
        stream.append(b"after")
        known = ring.keys()
        states = [key.state for key in known if key.owner == "store"]
        assert states == ["old", "current"]
        log.publish()
        assert payloads(stream) == [b"before", b"after"]


def test_rotation_touches_nothing_in_the_remote(
    opened: Opened, tmp_path: Path, ring: Keyring
) -> None:
    """minio 7399: keys could not be changed in a bucket that is locked."""
    with opened(encrypt="remote") as log:
        log.create("a").append(CANARY)
        log.publish()
    before = {
        path: path.read_bytes() for path in (tmp_path / "remote").rglob("*") if path.is_file()
    }
    ring.rotate()
    ring.rewrap(key_file=Keyring.new_key_file(f"{ring.path}.new"))
    assert everything_in(tmp_path / "remote") == before
    with opened(keyring=Keyring.open(ring.path, key_file=f"{ring.path}.new")) as log:
        assert payloads(log.stream("a")) == [CANARY]


def test_without_the_library_nothing_is_written_clear(tmp_path: Path) -> None:
    """openfoia 30: with the cipher's library missing, it warned and stored plain text."""
    code = textwrap.dedent(
        """
        import sys
        class Missing:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "cryptography":
                    raise ImportError("not installed")
        sys.meta_path.insert(0, Missing())
        import transit
        ring = transit.Keyring.create(sys.argv[1] + "/ring", wrap=bytes, unwrap=bytes)
        try:
            with transit.open(sys.argv[1] + "/store", encrypt="all", keyring=ring) as log:
                log.create("a").append(b"canary-0815")
        except ImportError as error:
            print("refused:", error)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("refused:")
    assert files_with(tmp_path) == []


def test_a_checksum_of_what_is_clear_is_nowhere(opened: Opened, tmp_path: Path) -> None:
    """SQLite3MultipleCiphers 175: frames of its WAL had checksums of plain pages."""
    from transit.format.checksum import checksum
    from transit.format.digest import digest

    with opened(encrypt="all") as log:
        stream = log.create("a")
        stream.append(CANARY)
        log.publish()
        stream.append(CANARY)
    for found in (digest(CANARY), checksum(CANARY).to_bytes(8, "little")):
        assert files_with(tmp_path / "store", found) == []
        assert files_with(tmp_path / "remote", found) == []
        assert files_with(tmp_path / "remote", found.hex().encode()) == []


def test_a_query_spills_nothing(opened: Opened, tmp_path: Path) -> None:
    """turso 8632: sorts and joins of an encrypted database went to plain temporary files."""
    pytest.importorskip("duckdb")
    with opened(encrypt="all") as log:
        stream = log.create("a", codec="json")
        stream.append_many([b'{"n": %d, "s": "canary-0815"}' % n for n in range(5_000)])
        log.seal()
        found = views.sql(log, "SELECT count(*) AS c FROM (SELECT * FROM events ORDER BY payload)")
        assert list(found.to_arrow()["c"].to_pylist()) == [5_000]
    assert files_with(tmp_path / "store") == []


def test_a_view_over_what_was_shredded_says_so(opened: Opened) -> None:
    """sequent 222, Axon: projections could not be built again once a key was gone."""
    with opened(encrypt="remote") as log:
        for name in ("kept", "gone"):
            log.create(name, protect="stream", codec="json").append_many([b'{"n": 1}'] * 3)
        log.publish()
        counts = views.open(log, count)
        assert [totals(counts.of(name)) for name in ("kept", "gone")] == [3, 3]
        log.delete("gone", reason="asked")
        assert totals(counts.of("kept")) == 3
        with pytest.raises(transit.NotFoundError):
            counts.of("gone")
    with opened() as log:
        assert totals(views.open(log, count).of("kept")) == 3
        assert log.verify().ok


def test_a_file_that_was_cut_while_it_was_copied_is_damage(
    opened: Opened, tmp_path: Path, ring: Keyring
) -> None:
    """borg: a key file that was cut opened with an error of the cipher."""
    with opened(encrypt="remote") as log:
        log.create("a").append(CANARY)
    data = Path(ring.path).read_bytes()
    Path(ring.path).write_bytes(data[: len(data) // 2])
    with pytest.raises(CorruptError):
        Keyring.open(ring.path, key_file=f"{ring.path}.key")


def test_files_beside_the_keyring_are_left_alone(opened: Opened, ring: Keyring) -> None:
    """restic 810: one more file among the keys made every call fail."""
    with opened(encrypt="remote") as log:
        log.create("a").append(CANARY)
        log.seal()
    Path(f"{ring.path}.extra").write_text("not a key")
    with opened() as log:
        assert payloads(log.stream("a")) == [CANARY]
