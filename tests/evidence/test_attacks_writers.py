"""What a writer that signs meets: witnesses, copies of its folder, other writers, lost requests.

Whatever it meets, one size of one store has one signed root, appends go on, and the same is signed
and published when it is asked again.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from transit.proof.checkpoint import cosign, sign
from transit.proof.notes import parse_note
from transit.proof.witness import Latest, decide
from transit.store import open_store
from transit.testing.doors import FaultDoor, ProcessDiedError

from .published import SETTINGS, Published, key_of, write

WAIT_S = 120
Answer = tuple[int, str, bytes]


@pytest.fixture
def published(tmp_path: Path) -> Published:
    return Published(tmp_path / "made", rounds=3)


def head_of(note: bytes) -> transit.Checkpoint:
    return transit.Checkpoint.parse(parse_note(note).text)


def head_of_text(message: bytes) -> transit.Checkpoint:
    return transit.Checkpoint.parse(message.decode())


def goes_on(log: transit.Log) -> None:
    """Appending and reading go on, whatever became of a checkpoint."""
    run = log.stream("run-0")
    receipt = run.append(b"goes on")
    assert run[receipt.offset].payload == b"goes on"


# Witnesses (44, 45)


def witness_key() -> transit.SigningKey:
    return transit.SigningKey.generate("w.example/1", role="witness")


class Cosigner:
    """A witness that does what it should."""

    def __init__(self, log: transit.VerifyingKey) -> None:
        self.key = witness_key()
        self._logs = {log.name: [log]}
        self._latest: dict[str, Latest] = {}

    def __call__(self, body: bytes) -> Answer:
        answer = decide(body, self._latest, logs=self._logs, keys=[self.key], now=1_700_000_000)
        if answer.new_state is not None:
            self._latest[answer.origin] = answer.new_state
        return answer.status, answer.content_type, answer.body


def raising(body: bytes) -> Answer:
    raise TimeoutError("nobody answers")


def foreign_line(body: bytes) -> Answer:
    head = head_of(body.partition(b"\n\n")[2])
    return 200, "text/plain", cosign(head, witness_key(), 1_700_000_000).encode()


BAD_WITNESSES: dict[str, Callable[[bytes], Answer]] = {
    "300 lines": lambda body: (200, "text/plain", b"\xe2\x80\x94 w.example/1 AAAAAAAA\n" * 300),
    "another key": foreign_line,
    "HTML": lambda body: (200, "text/html", b"<html>"),
    "an error": lambda body: (500, "text/plain", b"no"),
    "never": raising,
    "9 MB": lambda body: (200, "text/plain", b"x" * 9_000_000),
    "no size": lambda body: (409, "text/x.tlog.size", b"many\n"),
    "the same size again": lambda body: (409, "text/x.tlog.size", b"0\n"),
}


@pytest.mark.parametrize("said", BAD_WITNESSES)
def test_a_witness_that_does_not_cosign_is_left_out(published: Published, said: str) -> None:
    key = witness_key().verifying
    bad = transit.Witness(BAD_WITNESSES[said], key)
    good = Cosigner(published.key.verifying)
    other = transit.Witness(good, good.key.verifying)
    quorum = transit.Policy.of([published.key.verifying], [key, good.key.verifying], 2)
    with published.open() as log:
        published.write_round(log, 7)
        with pytest.raises(transit.ProofError, match="cosigned by 'w2', which is not the quorum"):
            log.checkpoint(published.key, witnesses=[bad, other], policy=quorum)
        # Signed, kept, and not published as what it is not.
        assert head_of((published.remote / "checkpoint").read_bytes()).size == 3
        goes_on(log)
        made = log.checkpoint(published.key, witnesses=[bad, other])
        assert bad.error is not None
        assert other.error is None
        assert [each.key for each in made.witnesses] == [good.key.verifying]
        enough = transit.Policy.of([published.key.verifying], [good.key.verifying], 1)
        assert log.checkpoint(published.key, policy=enough).note == made.note
    assert published.audit(policy=enough).stage == "cosignature"
    report = published.audit(policy=quorum)
    assert not report.ok


def test_a_witness_that_has_seen_more_stops_the_signer(published: Published) -> None:
    witness = transit.Witness(
        lambda body: (409, "text/x.tlog.size", b"9\n"), witness_key().verifying
    )
    before = (published.remote / "checkpoint").read_bytes()
    with published.open() as log:
        published.write_round(log, 7)
        with pytest.raises(transit.FencedError, match="has seen size 9"):
            log.checkpoint(published.key, witnesses=[witness])
        assert (published.remote / "checkpoint").read_bytes() == before
        goes_on(log)


# Copies of the folder (46)


def test_an_older_copy_of_the_folder_signs_nothing(published: Published, tmp_path: Path) -> None:
    older = tmp_path / "older"
    shutil.copytree(published.folder, older)
    with published.open() as log:
        published.write_round(log, 7)
        log.checkpoint(published.key)
    # Nobody shows it the commits that came after, but for the checkpoint.
    published.cut(3)
    # What it signed was not among what was saved.
    shutil.rmtree(older / "checkpoints")
    with transit.open(older, remote=published.remote, settings=SETTINGS) as log:
        with pytest.raises(
            transit.SplitViewError, match=r"covers 4 commits, and this history has 3"
        ):
            log.checkpoint(published.key)
        goes_on(log)
    assert head_of((published.remote / "checkpoint").read_bytes()).size == 4


def test_a_copy_that_goes_its_own_way_signs_nothing(published: Published, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(published.folder, copy)
    with published.open() as log:
        published.write_round(log, 7)
        log.checkpoint(published.key)
    published.cut(3)
    with transit.open(copy, remote=published.remote, settings=SETTINGS) as log:
        log.create("another way").append(b"x")
        with pytest.raises(transit.SplitViewError, match="another history than this one of 4"):
            log.checkpoint(published.key)
        goes_on(log)


def test_what_a_folder_signed_it_remembers_without_a_remote(path: Path, tmp_path: Path) -> None:
    with transit.open(path) as log:
        key = key_of(log.store_id)
        for _ in range(3):
            if len(list(log.streams())) == 2:
                shutil.copytree(path, tmp_path / "older")
            log.create(f"run-{len(list(log.streams()))}").append(b"x")
            log.checkpoint(key)
    older = tmp_path / "older"
    shutil.rmtree(older / "checkpoints")
    shutil.copytree(path / "checkpoints", older / "checkpoints")
    for kept in (older / "checkpoints").glob("0*"):
        kept.unlink()
    # The memory is of 3 commits, and 2 are there: nothing shorter is signed, nor another third.
    for _ in range(3):
        with transit.open(older) as log:
            with pytest.raises(transit.SplitViewError, match="this store signed before"):
                log.checkpoint(key)
            log.create(f"other-{len(list(log.streams()))}").append(b"y")
            log.seal()


# The key (47)


def test_a_signer_that_fails_signs_the_same_the_next_time(published: Published) -> None:
    genuine, texts = published.key, []
    answers: list[Callable[[bytes], bytes]] = [
        lambda message: (_ for _ in ()).throw(RuntimeError("the agent is away")),
        lambda message: b"garbage",
        lambda message: bytes(64),
        lambda message: genuine.sign(b"something else"),
    ]

    def signing(message: bytes) -> bytes:
        # Remembered before it is signed.
        remembered = (published.folder / "checkpoints/SIGNED").read_text()
        assert f'"root":"{head_of_text(message).root.hex()}"' in remembered
        texts.append(message)
        return (answers.pop(0) if answers else genuine.sign)(message)

    key = transit.SigningKey.from_callable(
        genuine.verifying.name, genuine.verifying.public, signing
    )
    with published.open() as log:
        published.write_round(log, 7)
        for error in (RuntimeError, *[transit.ProofError] * 3):
            with pytest.raises(error):
                log.checkpoint(key)
            assert head_of((published.remote / "checkpoint").read_bytes()).size == 3
        goes_on(log)
        # Not sealed: it is no part of what is signed again.
        assert set(texts) == {texts[0]}
        made = log.checkpoint(key)
        assert made.checkpoint.size == 5
    assert published.audit(keys=published.vkey).ok


def test_appends_go_on_while_a_signer_takes_its_time(published: Published) -> None:
    asked, may_sign = threading.Event(), threading.Event()

    def signing(message: bytes) -> bytes:
        asked.set()
        assert may_sign.wait(WAIT_S)
        return published.key.sign(message)

    verifying = published.key.verifying
    key = transit.SigningKey.from_callable(verifying.name, verifying.public, signing)
    with published.open() as log:
        published.write_round(log, 7)
        thread = threading.Thread(target=log.checkpoint, args=(key,))
        thread.start()
        try:
            assert asked.wait(WAIT_S)
            goes_on(log)
            # Sealing does not wait for the signer either, nor does who waits for what is sealed.
            log.seal()
            log.stream("run-0").append(b"published meanwhile", durability="tiered")
        finally:
            may_sign.set()
            thread.join(WAIT_S)
        assert not thread.is_alive()
    assert head_of((published.remote / "checkpoint").read_bytes()).size == 4


# Requests that are lost, and processes that die (47)


def complete(published: Published) -> None:
    """No checkpoint in the remote lacks its tiles, and all of them are of one history."""
    report = published.audit(keys=published.vkey)
    assert report.ok, report.findings


@pytest.mark.parametrize("fault", ["lost_before", "lost_after", "die_before", "die_after"])
def test_no_checkpoint_is_there_without_its_tiles(published: Published, fault: str) -> None:
    store = open_store(published.remote)
    for number in range(40):
        door = FaultDoor(store)
        log = transit.open(published.folder, remote=door, durability="os", settings=SETTINGS)
        published.write_round(log, 10 + number)
        log.publish()
        start, count = len(door.requests), number % 8
        door.rule = lambda at, kind, key, limit=start + count: fault if at == limit else None  # type: ignore[assignment]
        try:
            made = log.checkpoint(published.key).note
        except (transit.TransitError, ProcessDiedError):
            made = None
        door.rule = None
        complete(published)
        again = log.checkpoint(published.key).note
        assert made in (None, again)
        complete(published)
        assert head_of(again).size == number + 4
        log.close()
        if number > 8 and count > len(door.requests) - start:
            break


def test_a_checkpoint_that_was_made_and_not_published_is_published_as_it_is(
    published: Published,
) -> None:
    store = open_store(published.remote)
    door = FaultDoor(store)
    with transit.open(published.folder, remote=door, settings=SETTINGS) as log:
        published.write_round(log, 7)
        log.publish()
        door.rule = lambda at, kind, key: "lost_before" if kind in ("put", "create") else None
        with pytest.raises(transit.TransitError):
            log.checkpoint(published.key)
    kept = (published.folder / f"checkpoints/{4:020}").read_bytes()
    older = published.base / "older"
    shutil.copytree(published.folder, older)
    with published.open() as log:
        assert log.checkpoint(published.key).note == kept
        assert (published.remote / "checkpoint").read_bytes() == kept
        complete(published)
        published.write_round(log, 8)
        log.checkpoint(published.key)
    # Not by an older copy of the folder, over a newer one.
    published.cut(4)
    with (
        transit.open(older, remote=published.remote, settings=SETTINGS) as log,
        pytest.raises(transit.SplitViewError, match="covers 5 commits, and this history has 4"),
    ):
        log.checkpoint(published.key)
    assert head_of((published.remote / "checkpoint").read_bytes()).size == 5


# Two writers (48)


def test_two_copies_with_one_history_sign_one_root(published: Published, tmp_path: Path) -> None:
    other_key = key_of(published.store_id)
    copy = tmp_path / "copy"
    with published.open() as log:
        published.write_round(log, 7)
        log.publish()
    shutil.copytree(published.folder, copy)
    with published.open() as log:
        first = log.checkpoint(published.key)
    with transit.open(copy, remote=published.remote, settings=SETTINGS) as log:
        second = log.checkpoint(other_key)
    # One object of that size, which both keys have signed.
    both = (published.remote / f"checkpoints/{4:020}").read_bytes()
    assert head_of(both) == first.checkpoint == second.checkpoint
    assert published.audit(keys=[published.key.verifying, other_key.verifying]).ok
    for key in (published.key, other_key):
        assert f" {key.verifying.name} ".encode() in both


def test_of_two_histories_one_is_signed(published: Published, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(published.folder, copy)
    with published.open() as log:
        published.write_round(log, 7)
        with transit.open(copy, mode="shared", remote=published.remote, settings=SETTINGS) as other:
            other.create("another way").append(b"x")
            made = log.checkpoint(published.key)
            with pytest.raises(transit.FencedError):
                other.checkpoint(published.key)
            goes_on(other)
    assert (published.remote / f"checkpoints/{4:020}").read_bytes() == made.note
    complete(published)


def test_a_note_of_another_history_at_our_size_stops_publishing(published: Published) -> None:
    head = transit.Checkpoint(published.key.verifying.name, 4, bytes(32))
    foreign = sign(head, [published.key]).encode()
    with published.open() as log:
        published.write_round(log, 7)
        write(published.remote / f"checkpoints/{4:020}", foreign)
        with pytest.raises(transit.SplitViewError, match="a checkpoint of another history"):
            log.checkpoint(published.key)
        assert (published.remote / f"checkpoints/{4:020}").read_bytes() == foreign
        assert head_of((published.remote / "checkpoint").read_bytes()).size == 3
        goes_on(log)
