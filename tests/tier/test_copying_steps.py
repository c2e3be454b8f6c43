"""Copying in its order: cut short at any request, and what is erased before, meanwhile, after."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import transit
from transit.format.commit import decode_commit
from transit.format.digest import digest
from transit.store import ObjectStore, open_store
from transit.testing.doors import Fault, ProcessDiedError
from transit.tier.checkpoints import note_key
from transit.tier.remote import commit_key, redacted_key, segment_key

from ..engine.canary import CANARY
from .conftest import Contents, Place
from .copies import (
    QUIET,
    Both,
    erase,
    grow,
    is_beginning,
    published,
    read,
    same,
    sign,
    with_canary,
    write_secrets,
)


@pytest.fixture
def target(tmp_path: Path) -> ObjectStore:
    return open_store(tmp_path / "copy")


# The order, and what a stop leaves


@pytest.mark.parametrize("transfers_max", [1, 8])
def test_a_commit_comes_after_what_it_names_and_a_checkpoint_after_its_tiles(
    place: Place, target: ObjectStore, transfers_max: int
) -> None:
    published(place, 10)
    sign(place)
    commits: list[str] = []

    def check(at: int, kind: str, key: str) -> None:
        if kind == "create" and key.startswith("commits/"):
            commit = decode_commit(place.store.get(key, 100_000) or b"", "here")
            assert (commit.number, key) == (len(commits), commit_key(len(commits)))
            commits.append(key)
            for segment in commit.segments:
                assert target.size(segment_key(segment.digest)) == segment.bytes
            if commit.index is not None:
                assert target.size(f"index/{commit.index.digest}.idx") == commit.index.bytes
        if kind != "get" and key.startswith(("checkpoint", "HEAD", "tile/")):
            assert target.size(commit_key(9)) is not None
        if key == note_key(10) and kind == "create":
            assert target.size("tile/0/000.p/10") == 320
            assert target.size("tile/entries/000.p/10") is not None
        if key == "checkpoint" and kind == "put":
            assert target.size(note_key(10)) is not None
            assert target.size("HEAD") is not None

    settings = transit.Settings(transfers_max=transfers_max)
    transit.copy(place.store, Both(place, target, check).target, level=None, settings=settings)
    assert len(commits) == 10
    same(place, target)


def cut_at_each(
    place: Place,
    tmp_path: Path,
    faults: list[Fault],
    begin: Callable[[ObjectStore], object],
    level: str,
    wanted: Contents,
) -> None:
    """Copy once for each request that the whole takes, which fails; then once more.

    For one fault only, every third request.
    """
    number = 0
    for fault in faults:
        least, number = 0, 0
        while True:
            target = open_store(tmp_path / f"copy-{fault}-{number}")
            begin(target)
            stop = number
            both = Both(place, target, lambda at, *_, s=stop, f=fault: f if at == s else None)
            try:
                copied = both.copy()
            except (ProcessDiedError, transit.RemoteUnavailableError, transit.OutcomeUnknownError):
                count = is_beginning(target, wanted, level)
                assert count >= least, (fault, number)
                least = count
                both.rule = None
                copied = both.copy()
                assert copied.commits_there == count
            assert copied.commits_there + copied.commits == len(list(place.store.list("commits/")))
            same(place, target)
            shutil.rmtree(tmp_path / f"copy-{fault}-{number}")
            if len(both.requests) <= number:
                break
            number += 1 if len(faults) > 1 else 3
        assert number > 40


ALL: list[Fault] = ["lost_before", "lost_after", "exists_after", "die_before", "die_after"]


@pytest.mark.parametrize(
    "faults", [["die_after"], pytest.param(ALL, marks=pytest.mark.slow)], ids=str
)
def test_a_copy_that_fails_at_any_request_leaves_a_store_and_goes_on(
    place: Place, tmp_path: Path, faults: list[Fault]
) -> None:
    published(place, 2)
    sign(place)
    grow(place, 2)
    cut_at_each(place, tmp_path, faults, lambda target: None, "bodies", read(place.store))


@pytest.mark.parametrize(
    "faults", [["die_after"], pytest.param(ALL, marks=pytest.mark.slow)], ids=str
)
def test_an_erasure_that_is_copied_fails_at_any_request_and_goes_on(
    place: Place, tmp_path: Path, faults: list[Fault]
) -> None:
    with place.open() as log:
        write_secrets(log)
    shutil.copytree(place.remote_path, tmp_path / "before")
    wanted = read(place.store)
    erase(place)

    def begin(target: ObjectStore) -> None:
        transit.copy(tmp_path / "before", target, **QUIET)
        assert with_canary(target)

    # At no moment an auditor meets a gap that no record explains.
    cut_at_each(place, tmp_path, faults, begin, "bodies", wanted)
    assert with_canary(place.store) == []


@pytest.mark.slow
def test_a_first_copy_of_what_was_erased_fails_at_any_request_and_goes_on(
    place: Place, tmp_path: Path
) -> None:
    with place.open() as log:
        write_secrets(log)
    erase(place)
    # While its last commits are made, what says that bytes are gone is not there yet: "bodies"
    # finds the gap, as in any beginning of such a history.
    cut_at_each(place, tmp_path, ALL, lambda target: None, "roots", read(place.store))


# What was erased


def test_what_was_erased_before_is_copied_as_what_is_left(
    place: Place, target: ObjectStore
) -> None:
    with place.open() as log:
        write_secrets(log)
    erase(place)
    copied = transit.copy(place.store, target, level="bodies")
    assert copied.ok
    assert (copied.redacted, copied.segments, copied.erased) == (2, copied.commits, 0)
    same(place, target)
    assert transit.audit(target).counts["erased_records"] == 21


def test_what_is_erased_later_goes_from_the_copy(place: Place, target: ObjectStore) -> None:
    with place.open() as log:
        write_secrets(log)
    transit.copy(place.store, target)
    assert len(with_canary(target)) == 2
    erase(place)
    both = Both(place, target)
    copied = both.copy(level="bodies")
    assert copied.ok
    assert (copied.erased, copied.redacted, copied.versions, copied.kept) == (2, 0, 2, 0)
    assert with_canary(target) == []
    same(place, target)
    # What was erased once more: other chunks of the same segments.
    erase(place, "s1")
    copied = transit.copy(place.store, target, level="bodies")
    assert (copied.ok, copied.erased) == (True, 2)
    same(place, target)
    # What is left and was brought is not read again.
    grow(place, 1)
    both.clear()
    copied = both.copy()
    assert (copied.commits, copied.erased, copied.segments) == (1, 0, 1)
    assert not any(kind == "put" and key.startswith("redacted") for kind, key in both.requests)
    read_again = [key for kind, key in both.requests if kind == "get" and "redacted" in key]
    assert len(read_again) == 3 * 3
    same(place, target)


def test_commits_before_those_that_say_what_was_erased_come_first(
    place: Place, target: ObjectStore
) -> None:
    """Both for what an earlier run brought, and for what is new and erased already."""
    with place.open() as log:
        write_secrets(log)
    transit.copy(place.store, target, **QUIET)
    with place.open() as log:
        for name in ("new", "newer"):
            log.create(name).append_many([b"plain"] * 9)
            log.stream("secret").append(CANARY)
            log.seal()
    erase(place)
    last = len(list(place.store.list("commits/"))) - 1
    old = [key for key, _ in target.list("segments/")]
    gaps = [
        key
        for key, _ in place.store.list("redacted/")
        if key.replace("redacted", "segments") not in old
    ]
    assert len(gaps) == 2
    seen: Counter[str] = Counter()

    def check(at: int, kind: str, key: str) -> None:
        is_old = key.replace("redacted", "segments") in old
        if (kind == "put" and key.startswith("redacted/") and is_old) or kind == "delete":
            assert is_old
            assert target.size(commit_key(last - 1)) is not None
            assert target.size(commit_key(last)) is None
            seen["old"] += 1
        if (kind, key) == ("create", commit_key(4)):
            # The first that names a gap: with all that comes after at hand.
            assert all(target.size(gap) is not None for gap in gaps)
            named = {key for key, _ in place.store.list("segments/")}
            assert all(target.size(key) is not None for key in named)
            seen["new"] += 1

    copied = Both(place, target, check).copy(level="bodies")
    assert copied.ok
    assert (copied.redacted, copied.erased) == (2, 2)
    assert seen == {"old": 4, "new": 1}
    same(place, target)


def test_another_rest_of_a_segment_with_the_same_size_is_replaced(
    place: Place, target: ObjectStore
) -> None:
    with place.open() as log:
        write_secrets(log)
    erase(place)
    transit.copy(place.store, target, **QUIET)
    (key, size), *_ = sorted(target.list("redacted/"))
    whole = place.store.get(key, size) or b""
    target.put(key, whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    assert transit.copy(place.store, target, **QUIET).erased == 0
    # A run that reads what is there finds it wherever it is.
    assert transit.copy(place.store, target, verify=True, **QUIET).erased == 2
    same(place, target)
    # The digest of its table, right before the footer, tells it from an older one.
    ref = next(
        segment
        for number in range(3)
        for segment in decode_commit(place.store.get(commit_key(number), 10**5) or b"", "").segments
        if redacted_key(segment.digest) == key
    )
    at = whole.rindex(bytes.fromhex(ref.footer)) - 1
    while digest(whole[at : size - 48]).hex() != ref.footer:
        at -= 1
    target.put(key, whole[: at - 40] + bytes([whole[at - 40] ^ 1]) + whole[at - 39 :])
    grow(place, 1)
    assert transit.copy(place.store, target, **QUIET).erased == 1
    same(place, target)


@pytest.mark.parametrize("stride", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_an_erasure_at_any_moment_of_a_copy_is_all_there_or_not_at_all(
    place: Place, tmp_path: Path, stride: int
) -> None:
    """It happens in the source before each request in turn, whole, while the copy runs."""
    with place.open() as log:
        write_secrets(log)
    for name in ("a", "remote"):
        shutil.copytree(place.path / name, tmp_path / "before" / name)
    number, ends = 0, set()
    while True:
        for name in ("a", "remote"):
            shutil.rmtree(place.path / name)
            shutil.copytree(tmp_path / "before" / name, place.path / name)
        # Its notes on folders that were made are about another one.
        place.store = open_store(place.remote_path)
        target = open_store(tmp_path / f"copy-{number}")
        both = Both(place, target)

        def rule(at: int, kind: str, key: str, stop: int = number, door: Both = both) -> None:
            if at == stop:
                erase(place)

        both.rule = rule
        first = both.copy(level="bodies")
        assert first.ok, (number, first.report)
        if len(both.requests) <= number:
            break
        before = with_canary(target)
        ends.add(len(before))
        again = both.copy(level="bodies")
        assert again.ok
        assert again.erased == len(before)
        assert with_canary(target) == []
        same(place, target)
        number += stride
    assert ends >= {0, 2}
    assert number > 40


def test_a_killed_copy_leaves_nothing_of_what_is_erased_since(
    place: Place, target: ObjectStore
) -> None:
    with place.open() as log:
        write_secrets(log)
    both = Both(place, target)
    both.rule = lambda at, kind, key: (
        "die_before" if (kind, key) == ("create", commit_key(1)) else None
    )
    with pytest.raises(ProcessDiedError):
        both.copy()
    assert with_canary(target)
    # Half made, as a process leaves it that is killed while it writes.
    half = place.path / "copy" / "segments" / "0123456789abcdef.temporary"
    half.write_bytes(CANARY)
    erase(place)
    copied = transit.copy(place.store, target, level="bodies")
    assert copied.ok
    assert with_canary(target) == []
    assert not half.exists()
    same(place, target)


@pytest.mark.slow
def test_in_a_bucket_with_versions_every_version_of_the_original_goes(
    place: Place, moto_remote: Any
) -> None:
    # Only slow tests need a client of their own, which takes long to load.
    from .test_erasing_versions import Bucket

    bucket = Bucket(moto_remote[1])
    bucket.keep("Enabled")
    with place.open() as log:
        write_secrets(log)
    url = f"s3://{bucket.name}"
    transit.copy(place.store, url, target_options=bucket.options)
    assert len(bucket.with_canary()) == 2
    erase(place)
    copied = transit.copy(place.store, url, target_options=bucket.options, level="bodies")
    assert copied.ok
    assert (copied.erased, copied.versions, copied.kept) == (2, 2, 0)
    assert bucket.with_canary() == []
    bucket.close()
