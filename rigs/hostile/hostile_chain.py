"""Hostile FORMAT, HEAD and commits."""

from __future__ import annotations

import msgspec

from transit.format.commit import TreeState

from .hostile import (
    CASES,
    MIB,
    OTHER,
    TIME,
    Bucket,
    Parts,
    case,
    commit_key,
)

# FORMAT and HEAD


@case("FORMAT")
def format_missing() -> Bucket:
    bucket = Bucket().begin()
    del bucket.objects["FORMAT"]
    return bucket


@case("FORMAT")
def format_junk() -> Bucket:
    bucket = Bucket().begin()
    bucket.objects["FORMAT"] = b"\xff\xfe[" * 100
    return bucket


@case("FORMAT")
def format_huge() -> Bucket:
    bucket = Bucket().begin()
    bucket.objects["FORMAT"] = b" " * MIB
    return bucket


@case("FORMAT")
def format_of_a_newer_version() -> Bucket:
    bucket = Bucket().begin()
    data = bucket.objects["FORMAT"].replace(b'"format":1', b'"format":7')
    bucket.objects["FORMAT"] = data
    return bucket


@case("commits/")
def format_of_another_store() -> Bucket:
    bucket = Bucket().begin()
    bucket.objects["FORMAT"] = Bucket(OTHER).objects["FORMAT"]
    return bucket


@case("ok")
def head_points_past_the_chain() -> Bucket:
    bucket = Bucket().begin()
    bucket.head(10**18, 10**17)
    return bucket


@case("ok")
def head_huge_junk() -> Bucket:
    bucket = Bucket().begin()
    bucket.objects["HEAD"] = b"[" * MIB
    return bucket


# Commits


def with_commit_bytes(data: bytes) -> Bucket:
    bucket = Bucket().begin().grow(2)
    bucket.objects[commit_key(1)] = data
    return bucket


for _name, _data in {
    "commit_empty": b"",
    "commit_cut": b'{"checksum":"',
    "commit_of_a_mebibyte": b" " * MIB,
    "commit_nested": b"[" * 60_000,
    "commit_nested_objects": b'{"a":' * 12_000,
    "commit_of_a_huge_number": b'{"number":' + b"9" * 60_000 + b"}",
    "commit_not_utf8": b'{"checksum":"\xff\xff"}',
    "commit_of_a_newer_version": b'{"format":999999999}',
}.items():
    CASES[_name] = (commit_key(1), lambda data=_data: with_commit_bytes(data))  # type: ignore[misc]


def with_commit(**changes: object) -> Bucket:
    bucket = Bucket().begin().grow(1)
    bucket.add([(1, 6, [b"x"])], **changes)
    bucket.add([(1, 7, [b"y"])])
    return bucket


for _name, _changes in {
    "commit_of_another_number": {"number": 1, "tree": {"size": 1, "range": ["0" * 64]}},
    "commit_of_another_history": {"previous": "12" * 32},
    "commit_of_another_tree": {"tree": {"size": 2, "range": ["0" * 64]}},
    "commit_of_a_wider_tree": {"tree": {"size": 2, "range": ["0" * 64] * 60}},
    "commit_of_a_lower_epoch": {"epoch": 2},
    "commit_of_another_store": {"store": OTHER.hex()},
    "commit_without_segments": {"segments": ()},
}.items():

    def _with(changes: dict[str, object] = _changes) -> Bucket:
        tree = changes.get("tree")
        if isinstance(tree, dict):
            changes = {**changes, "tree": TreeState(size=tree["size"], range=tuple(tree["range"]))}
        return with_commit(**changes)

    CASES[_name] = (commit_key(2), _with)


def with_ref(**changes: object) -> Bucket:
    """The third commit names a segment that it says other things of than are true."""
    bucket = Bucket().begin().grow(1)
    said = dict(changes)

    def change(parts: Parts) -> None:
        parts.ref = said

    bucket.add([(1, 6, [b"x"])], change=change)
    return bucket


for _name, _place, _said in (
    ("segment_of_an_absurd_size", "segments/", {"bytes": 2**62}),
    ("segment_of_ten_bytes", "segments/", {"bytes": 10}),
    ("segment_of_no_bytes", "segments/", {"bytes": 0}),
    ("segment_of_one_byte_more", "segments/", {"bytes": 10_000}),
    ("segment_of_another_footer", "segments/", {"footer": "34" * 32}),
    ("segment_of_more_streams", "footer", {"streams": 2**60}),
    ("segment_of_another_time", "footer", {"time": (TIME - 1, TIME)}),
    ("records_up_to_the_last_lsn", "footer", {"lsn": (6, 2**63 - 1), "records": 2**63 - 6}),
    ("lsn_gap", commit_key(2), {"lsn": (7, 7)}),
    ("lsn_overlap", commit_key(2), {"lsn": (5, 5)}),
    ("digest_like_a_path", commit_key(2), {"digest": "../../../../etc/passwd".ljust(64, "/")}),
    ("digest_in_capitals", commit_key(2), {"digest": "AB" * 32}),
    ("digest_in_other_digits", commit_key(2), {"digest": "\u0661" * 64}),
    ("digest_with_a_null", commit_key(2), {"digest": "a" * 63 + "\0"}),
    ("digest_too_long", commit_key(2), {"digest": "a" * 60_000}),
):
    CASES[_name] = (_place, lambda said=_said: with_ref(**said))  # type: ignore[misc]


@case(commit_key(2))
def number_skipped() -> Bucket:
    bucket = Bucket().begin().grow(4)
    del bucket.objects[commit_key(2)]
    return bucket


@case(commit_key(1))
def commits_swapped() -> Bucket:
    objects = (bucket := Bucket().begin().grow(3)).objects
    first, second = commit_key(1), commit_key(2)
    objects[first], objects[second] = objects[second], objects[first]
    return bucket


@case(commit_key(0))
def commits_from_another_store() -> Bucket:
    bucket, other = Bucket().begin(), Bucket(OTHER).begin().grow(5)
    bucket.objects = {**other.objects, "FORMAT": bucket.objects["FORMAT"]}
    return bucket


@case(commit_key(2))
def commits_of_another_store_in_the_middle() -> Bucket:
    bucket, other = Bucket().begin().grow(1), Bucket(OTHER).begin().grow(5)
    kept = {key: bucket.objects[key] for key in ("FORMAT", commit_key(0), commit_key(1))}
    bucket.objects = {**other.objects, **bucket.objects, **kept}
    return bucket


@case("commits/")
def the_same_segment_many_times() -> Bucket:
    bucket = Bucket().begin(records=100)
    name = bucket.commits[0].segments[0]
    refs = [
        msgspec.structs.replace(name, lsn=(lsn, lsn), records=1)
        for lsn in range(bucket.lsn, bucket.lsn + 150)
    ]
    bucket.commit(*refs)
    return bucket
