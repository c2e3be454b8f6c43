"""Deleting by destroying keys: what `protect` does, and what is left after a crash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from tests.encrypted.conftest import CANARY, files_with
from transit import ErasedError, InvalidInputError, Keyring, Settings

Opened = Callable[..., transit.Log]
MODES = ["remote", "all"]


def payloads(stream: transit.Stream) -> list[bytes]:
    return [record.payload for record in stream.read()]


def states(ring: Keyring) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    known = ring.keys()
    for key in known:
        found.setdefault(key.owner, set()).add(key.state)
    return found


def owner(stream: transit.Stream) -> str:
    return f"stream:{stream.uid.replace('-', '')}"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("published", [False, True])
def test_a_deleted_streams_key_is_destroyed(
    opened: Opened, tmp_path: Path, ring: Keyring, mode: str, published: bool
) -> None:
    with opened(encrypt=mode) as log:
        stream = log.create("own", protect="stream")
        other = log.create("other", protect="stream")
        for each in (stream, other):
            each.append_many([CANARY] * 3)
        if published:
            log.publish()
        stream.append(b"not sealed")
        own, others = owner(stream), owner(other)
        wish = log.delete("own", reason="asked for", dry_run=True)
        assert (wish.keys, "destroyed" in str(states(ring))) == (1, False)
        done = log.delete("own", reason="asked for")
        assert (done.records, done.keys) == (4, 1)
        with pytest.raises(ErasedError):
            payloads(log.stream(uid=stream.uid))
    assert states(ring)[own] == {"destroyed"}
    info = next(key for key in told(ring) if key.owner == own)
    assert info.reason == "asked for"
    with opened() as log:
        assert payloads(log.stream("other")) == [CANARY] * 3
        log.publish()
        report = log.verify()
        assert report.ok
        (erased,) = report.erased
        assert (erased.stream, erased.first, erased.last) == ("own", 0, 3)
        assert erased.reason == "asked for"
    assert "current" in states(ring)[others]
    report = transit.audit(tmp_path / "remote", keyring=ring)
    assert (report.ok, report.counts["erased_records"]) == (True, 4)
    assert transit.audit(tmp_path / "remote").ok
    with opened() as log:
        assert log.erase().records == 4
        assert log.verify().ok
        assert payloads(log.stream("other")) == [CANARY] * 3
    report = transit.audit(tmp_path / "remote", keyring=ring)
    assert (report.ok, report.counts["erased_records"]) == (True, 4)
    assert files_with(tmp_path / "remote") == []


def told(ring: Keyring) -> tuple[transit.KeyInfo, ...]:
    return ring.keys()


@pytest.mark.parametrize("mode", MODES)
def test_what_was_deleted_before_it_was_sealed_never_gets_a_key(
    opened: Opened, ring: Keyring, tmp_path: Path, mode: str
) -> None:
    with opened(encrypt=mode, settings=Settings(compression="none")) as log:
        stream = log.create("own", protect="stream")
        stream.append_many([CANARY] * 5)
        log.delete("own", reason="asked")
        assert states(ring)[owner(stream)] == {"destroyed"}
        log.publish()
        assert states(ring)[owner(stream)] == {"destroyed"}
        assert log.verify().ok
    copy = Keyring.open(ring.path, key_file=f"{ring.path}.key")
    report = transit.audit(tmp_path / "remote", keyring=copy)
    assert (report.ok, report.counts["erased_records"]) == (True, 5)


def test_a_subjects_key_goes_with_its_last_stream(
    opened: Opened, ring: Keyring, tmp_path: Path
) -> None:
    with opened(encrypt="remote") as log:
        for name in ("a", "b"):
            log.create(name, protect="subject:u17").append(CANARY)
        log.create("c", protect="subject:u18").append(CANARY)
        log.publish()
        assert log.delete("a", reason="asked").keys == 0
        assert states(ring)["subject:u17"] == {"current"}
        assert payloads(log.stream("b")) == [CANARY]
        assert log.delete("b", reason="asked").keys == 1
        assert states(ring)["subject:u17"] == {"destroyed"}
        # The subject comes back: another key, which opens nothing of before.
        log.create("again", protect="subject:u17").append(b"new")
        log.publish()
        assert states(ring)["subject:u17"] == {"destroyed", "current"}
        assert payloads(log.stream("again")) == [b"new"]
        assert payloads(log.stream("c")) == [CANARY]
        assert log.verify().ok
        assert log.delete("again", reason="asked").keys == 1
        log.publish()
        assert states(ring)["subject:u17"] == {"destroyed"}
    report = transit.audit(tmp_path / "remote", keyring=ring)
    assert (report.ok, report.counts["erased_records"]) == (True, 3)


def test_branches_and_merges_are_protected_as_what_they_are_made_from(
    opened: Opened, ring: Keyring
) -> None:
    with opened(encrypt="remote") as log:
        one = log.create("one", protect="stream")
        two = log.create("two", protect="subject:u17")
        three = log.create("three", protect="subject:u17")
        clear = log.create("clear")
        made = {
            "branch": one.branch("branch"),
            "of-subject": two.branch("of-subject"),
            "both": log.merge("both", [two, three], policy="interleave"),
            "mixed": log.merge("mixed", [one, two], policy="interleave"),
            "half": log.merge("half", [one, clear], policy="interleave"),
            "plain": clear.branch("plain"),
        }
        for stream in (one, two, three, clear, *made.values()):
            stream.append(CANARY)
        log.publish()
        owners = {*states(ring)}
        assert owners == {
            "store", owner(one), owner(made["branch"]), "subject:u17", owner(made["mixed"]),
            owner(made["half"]),
        }  # fmt: skip


def test_what_is_about_a_stream_has_its_key(opened: Opened, ring: Keyring) -> None:
    with opened(encrypt="remote") as log:
        own = log.create("own", protect="stream")
        subject = log.create("subject", protect="subject:u17")
        layer = log.layer("notes")
        about = [
            layer.create(f"about/{stream.uid.replace('-', '')}", {"x": 1})
            for stream in (own, subject)
        ]
        for stream in (own, subject, *about, layer.create("else")):
            stream.append(CANARY)
        log.publish()
        assert {*states(ring)} == {"store", owner(own), "subject:u17"}
        # Deleted alone, it takes no key along.
        assert log.delete(f"$notes/about/{own.uid.replace('-', '')}", reason="asked").keys == 0
        assert log.delete("own", reason="asked").keys == 1
        assert log.verify().ok


def test_protect_is_checked(opened: Opened, tmp_path: Path) -> None:
    with transit.open(tmp_path / "clear") as log:
        with pytest.raises(InvalidInputError, match="needs an encrypted store"):
            log.create("a", protect="stream")
        with pytest.raises(InvalidInputError, match="needs an encrypted store"), log.batch() as b:
            b.create("a", protect="stream")
        assert "a" not in log
    with opened(encrypt="all") as log:
        for wrong in ("", "store", "streams", "subject:", f"subject:{'x' * 201}", 5):
            with pytest.raises(InvalidInputError, match="protect must be"):
                log.create("a", protect=wrong)  # type: ignore[arg-type]
        with log.batch() as batch:
            staged = batch.create("a", protect="subject:ö\n x")
            batch.append(staged, CANARY)
        assert payloads(log.stream("a")) == [CANARY]


@pytest.mark.parametrize("mode", MODES)
def test_cut_short_between_the_record_and_the_key_it_goes_on(
    opened: Opened, ring: Keyring, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    with opened(encrypt=mode) as log:
        stream = log.create("own", protect="stream")
        stream.append(CANARY)
        log.publish()
        with monkeypatch.context() as patch:

            def killed(self: Keyring, who: str, reason: str = "") -> int:
                raise KeyboardInterrupt

            patch.setattr(Keyring, "destroy", killed)
            with pytest.raises(KeyboardInterrupt):
                log.delete("own", reason="asked")
        assert states(ring)[owner(stream)] == {"current"}
        with pytest.raises(ErasedError):
            payloads(log.stream(uid=stream.uid))
    with opened() as log:
        log.erase()
        assert states(ring)[owner(stream)] == {"destroyed"}
        assert log.verify().ok


def test_a_key_that_was_destroyed_without_a_record_is_a_finding(
    opened: Opened, ring: Keyring, tmp_path: Path
) -> None:
    with opened(encrypt="all") as log:
        stream = log.create("own", protect="stream")
        stream.append(CANARY)
        log.publish()
        stream.append(CANARY)
        ring.destroy(owner(stream))
    for keyring in (ring,):
        report = transit.audit(tmp_path / "remote", keyring=keyring)
        assert not report.ok
        assert "no record of $names" in report.findings[0].found
    with opened() as log:
        # Nothing made up is read in their place.
        with pytest.raises(ErasedError):
            payloads(log.stream("own"))
        with pytest.raises(ErasedError):
            log.stream("own").batches().__iter__().__next__().to_arrow()
        assert not log.verify().ok


def test_rooms_keep_nothing_of_what_was_deleted(opened: Opened, tmp_path: Path) -> None:
    with opened(encrypt="remote") as log:
        log.create("own", protect="stream").append(CANARY)
        log.seal()
        log.cache("views").put("columns.bin", CANARY)
        assert files_with(tmp_path / "store" / "rooms") != []
        log.delete("own", reason="asked")
        assert files_with(tmp_path / "store" / "rooms") == []


def test_where_all_is_encrypted_rooms_files_are_not_in_the_folder(
    opened: Opened, tmp_path: Path
) -> None:
    with opened(encrypt="all") as log:
        path = log.cache("views").put("columns.bin", CANARY)
        assert Path(path).read_bytes() == CANARY
        assert log.cache("views").read("columns.bin") == CANARY
    assert files_with(tmp_path / "store") == []
