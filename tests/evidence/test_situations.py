"""Checkpoints and proofs where stores are used: grown, evicted, restored, copied, shared, hidden.

Each is what users of other logs reported, tried on this one.
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

import transit


def key_of(log: transit.Log) -> transit.SigningKey:
    return transit.SigningKey.generate(f"example.com/runs/{log.store_id}")


def filled(log: transit.Log, name: str = "s", count: int = 5) -> transit.Stream:
    stream = log.create(name)
    stream.append_many([b"%d of " % n + name.encode() for n in range(count)])
    return stream


def test_proofs_made_while_the_log_grows_are_of_one_checkpoint(path: Path) -> None:
    """A log grew between asking for its size and for a path: rekor 956."""
    with transit.open(path) as log:
        filled(log)
        key = key_of(log)
        log.checkpoint(key)
        failures: list[BaseException] = []

        def grow() -> None:
            try:
                for n in range(30):
                    filled(log, f"t-{n}", 1)
                    log.seal()
                    log.checkpoint(key)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=grow)
        thread.start()
        sizes = set()
        while thread.is_alive() or not sizes:
            checked = transit.check_proof(log.prove("s", 3), key.verifying)
            sizes.add(checked.shown.checkpoint.size)
        thread.join()
        assert not failures
        assert transit.check_proof(log.prove("t-29", 0), key.verifying).shown.records == (0, 1)


def test_a_record_that_is_only_in_the_remote_is_proved(tmp_path: Path) -> None:
    remote = str(tmp_path / "bucket")
    with transit.open(tmp_path / "store", remote=remote) as log:
        filled(log)
        log.checkpoint(key := key_of(log))
        log.evict(bytes_max=0)
        assert transit.check_proof(log.prove("s", 2), key.verifying)
    with transit.open(remote, mode="read") as log:
        checked = transit.check_proof(log.prove("s", 2, end=False), key.verifying)
        assert [record.payload for record in checked.records()] == [b"2 of s"]
    transit.restore(remote, tmp_path / "lazy", lazy=True)
    with transit.open(tmp_path / "lazy", remote=remote, mode="read") as log:
        assert transit.check_proof(log.prove("s", records=(0, None), end=True), key.verifying)


def test_a_store_restored_elsewhere_goes_on_signing(tmp_path: Path) -> None:
    remote = str(tmp_path / "bucket")
    with transit.open(tmp_path / "store", remote=remote) as log:
        filled(log)
        key = key_of(log)
        first = log.checkpoint(key)
    transit.restore(remote, tmp_path / "again")
    with transit.open(tmp_path / "again", remote=remote) as log:
        filled(log, "more")
        second = log.checkpoint(key)
        assert second.checkpoint.size > first.checkpoint.size
        assert log.prove_growth(first, second)


def published_twice(tmp_path: Path) -> tuple[str, transit.SigningKey]:
    """A published store in folder `a` and a copy of it in `b`; the remote, and a key."""
    remote = str(tmp_path / "bucket")
    with transit.open(tmp_path / "a", remote=remote) as log:
        filled(log)
        key = key_of(log)
        log.publish()
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    return remote, key


def test_an_old_copy_is_brought_up_to_date_before_it_signs(tmp_path: Path) -> None:
    """It does not have the memory of what was signed since it was made; the remote has."""
    remote, key = published_twice(tmp_path)
    with transit.open(tmp_path / "a", remote=remote) as log:
        filled(log, "more")
        signed = log.checkpoint(key)
    with transit.open(tmp_path / "b", remote=remote) as log:
        assert log.checkpoint(key).checkpoint == signed.checkpoint


def test_a_history_that_was_rebased_does_not_contradict_what_was_signed(tmp_path: Path) -> None:
    remote, key = published_twice(tmp_path)
    b = transit.open(tmp_path / "b", remote=remote)
    with transit.open(tmp_path / "a", remote=remote) as a:
        filled(a, "of-a")
        signed = a.checkpoint(key)
    filled(b, "of-b")
    with pytest.raises(transit.FencedError):
        b.checkpoint(key)
    b.rebase_onto_remote()
    with transit.open(tmp_path / "b", remote=remote) as b:
        after = b.checkpoint(key)
        assert b.prove_growth(signed, after)
        assert transit.check_proof(b.prove("of-b", 0), key.verifying)


def test_a_local_checkpoint_of_a_history_that_a_rebase_replaced_is_never_contradicted(
    tmp_path: Path,
) -> None:
    remote, key = published_twice(tmp_path)
    with transit.open(tmp_path / "b") as b:
        filled(b, "of-b")
        # Nobody but this folder has these commits, and they are signed now.
        b.checkpoint(key)
    with transit.open(tmp_path / "a", remote=remote) as a:
        filled(a, "of-a")
        a.publish()
    b = transit.open(tmp_path / "b", remote=remote)
    with pytest.raises(transit.FencedError):
        b.publish()
    b.rebase_onto_remote()
    with (
        transit.open(tmp_path / "b", remote=remote) as b,
        pytest.raises(transit.SplitViewError, match="another history"),
    ):
        b.checkpoint(key)


def test_a_stream_that_took_over_a_name_is_told_by_its_uid(path: Path) -> None:
    with transit.open(path) as log:
        old = filled(log)
        log.hide(old)
        new = filled(log)
        log.checkpoint(key := key_of(log))
        shown = [
            transit.check_proof(log.prove(stream, 0), key.verifying).shown for stream in (old, new)
        ]
        assert [each.stream for each in shown] == ["s", "s"]
        assert [each.uid for each in shown] == [old.uid, new.uid]


def test_a_reader_beside_the_writer_proves_what_the_writer_signed(path: Path) -> None:
    with transit.open(path) as log, transit.open(path, mode="read") as reader:
        filled(log)
        key = key_of(log)
        with pytest.raises(transit.ReadOnlyError):
            reader.checkpoint(key)
        log.checkpoint(key)
        assert transit.check_proof(reader.prove("s", 1), key.verifying)


def test_processes_that_share_a_store_sign_one_history(path: Path) -> None:
    with transit.open(path, mode="shared") as one, transit.open(path, mode="shared") as other:
        filled(one, "one")
        key = key_of(one)
        first = one.checkpoint(key)
        filled(other, "other")
        second = other.checkpoint(key)
        third = one.checkpoint(key)
        assert third.note == second.note
        assert one.prove_growth(first, third)
        for log in (one, other):
            assert transit.check_proof(log.prove("other", 0), key.verifying)


def test_a_checkpoint_given_again_can_be_signed_by_more_keys(tmp_path: Path) -> None:
    remote = tmp_path / "bucket"
    with transit.open(tmp_path / "store", remote=str(remote)) as log:
        filled(log)
        first = key_of(log)
        name = first.verifying.name
        second = transit.SigningKey.generate(name)
        quantum = transit.SigningKey.generate(name, kind="ml-dsa-44")
        alone = log.checkpoint(first)
        both = log.checkpoint([first, second])
        assert both.checkpoint == alone.checkpoint
        log.checkpoint([first, quantum])
        proof = log.prove("s", 0)
        for key in (first, second, quantum):
            assert transit.check_proof(proof, key.verifying)
        published = (remote / "checkpoint").read_bytes()
        assert published == (remote / "checkpoints" / f"{1:020}").read_bytes()
        assert published == proof["checkpoint"]


@pytest.mark.parametrize("name", ["example.com/runs", "/", "x/" + "0" * 32])
def test_a_key_that_is_not_named_for_the_store_signs_nothing(path: Path, name: str) -> None:
    with transit.open(path) as log:
        filled(log)
        key = transit.SigningKey.generate(name)
        with pytest.raises(transit.InvalidInputError, match="must be NAME/"):
            log.checkpoint(key)
        with pytest.raises(transit.InvalidInputError, match="have one name"):
            log.checkpoint([key_of(log), key])
        assert not (path / "checkpoints").exists()


def test_a_second_origin_is_refused(path: Path) -> None:
    with transit.open(path) as log:
        filled(log)
        log.checkpoint(key_of(log))
        other = transit.SigningKey.generate(f"example.org/other/{log.store_id}")
        with pytest.raises(transit.SplitViewError, match="have one origin"):
            log.checkpoint(other)


def test_a_signer_that_fails_leaves_the_store_as_it_was(path: Path) -> None:
    with transit.open(path) as log:
        filled(log)
        good = key_of(log)
        known = good.verifying
        calls = []

        def fail(message: bytes) -> bytes:
            calls.append(message)
            raise OSError("the key service is away")

        broken = transit.SigningKey.from_callable(known.name, known.public, fail)
        with pytest.raises(OSError, match="away"):
            log.checkpoint(broken)
        garbage = transit.SigningKey.from_callable(known.name, known.public, lambda _: bytes(64))
        with pytest.raises(transit.ProofError):
            log.checkpoint(garbage)
        log.stream("s").append(b"goes on")
        assert transit.check_proof(log.prove("s", 5, checkpoint=log.checkpoint(good)), known)
        assert len(calls) == 1


def test_an_empty_store_has_nothing_to_sign_but_its_own_first_record(path: Path) -> None:
    with transit.open(path) as log:
        key = key_of(log)
        found = log.checkpoint(key)
        assert found.checkpoint.size == 1
        assert log.checkpoint(key) == found


def test_a_damaged_memory_of_what_was_signed_signs_nothing(path: Path) -> None:
    with transit.open(path) as log:
        filled(log)
        key = key_of(log)
        log.checkpoint(key)
        signed = path / "checkpoints" / "SIGNED"
        whole = signed.read_bytes()
        log.stream("s").append(b"more")
        for place in range(len(whole)):
            for bit in (0, 7):
                damaged = bytearray(whole)
                damaged[place] ^= 1 << bit
                signed.write_bytes(damaged)
                with pytest.raises((transit.CorruptError, transit.SplitViewError)):
                    log.checkpoint(key)
        signed.write_bytes(whole)
        assert log.checkpoint(key).checkpoint.size == 2
