"""What a store does not need: found in the folder and in the remote, and removed.

    segment, redacted   files and objects that no commit names: of a crash before a commit, of a
                        history that was left
    snapshot            index snapshots that no commit names, and, here, those that newer ones have
                        taken up, once they are in the remote
    diverged            folders of histories that a rebase left

In the remote snapshots that a commit names stay: an audit asks for them. Names that are not ours
are left alone. A remote is looked at only where all of ours is published and nobody else has gone
on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from transit.disk import (
    file_size,
    leads_to_folder,
    list_folder,
    read_file,
    remove,
    remove_tree,
    sync_folder,
)
from transit.errors import InvalidInputError
from transit.format.commit import decode_commit
from transit.format.names import (
    DIVERGED_DIR,
    INDEX_DIR,
    REDACTED_DIR,
    SEGMENT_DIR,
    parse_index_name,
    parse_segment_name,
)
from transit.format.snapshot import SNAPSHOT_BYTES_MAX, decode_snapshot
from transit.handle.handle import Handle
from transit.log.catalog import Catalog
from transit.store.versions import free
from transit.tier.remote import Remote

_FOLDERS = {SEGMENT_DIR: "segment", REDACTED_DIR: "redacted", INDEX_DIR: "snapshot"}


class Garbage(msgspec.Struct, frozen=True):
    """Something that a store does not need. kind: see `Log.gc`. place: path or address. bytes: its
    size, of a folder with all in it."""

    kind: str
    place: str
    bytes: int


class _Named(NamedTuple):
    """What commits name: digests of segments and of snapshots; those snapshots that are in use."""

    segments: frozenset[bytes]
    snapshots: frozenset[bytes]
    in_use: frozenset[bytes]


def collect(handle: Handle, *, dry_run: bool, bypass_governance: bool) -> tuple[Garbage, ...]:
    """Find what is not needed, and remove it; dry_run: only find it."""
    if handle.mode != "exclusive":
        raise InvalidInputError('gc() needs mode "exclusive"')
    handle.writer.check()
    if handle.remote is not None:
        handle.tiering.publish()

    def work() -> tuple[Garbage, ...]:
        catalog = handle.catalog
        named = _named(catalog)
        published = handle.remote is not None
        found = list(_here(catalog, named, published))
        if not dry_run:
            for each in found:
                catalog.check_place()
                _remove(each)
        for remote in handle.remotes:
            for each, key in _there(remote, named):
                found.append(each)
                if not dry_run:
                    free(remote.store, key, bypass_governance=bypass_governance)
        return tuple(found)

    return handle.while_sealing_pauses(work)


def _named(catalog: Catalog) -> _Named:
    segments = {bytes.fromhex(segment.ref.digest) for segment in catalog.view.segments}
    snapshots: set[bytes] = set()
    for number in range(catalog.commits.count):
        data = catalog.commits.read(number)
        commit = None if data is None else decode_commit(data, f"commit {number}")
        if commit is not None and commit.index is not None:
            snapshots.add(bytes.fromhex(commit.index.digest))
    return _Named(frozenset(segments), frozenset(snapshots), _in_use(catalog))


def _in_use(catalog: Catalog) -> frozenset[bytes]:
    """The snapshots that the last commit to name one stands on."""
    indexed = catalog.commits.indexed
    if indexed is None or indexed.index is None:
        return frozenset()
    name = indexed.index.digest
    data = read_file(catalog.places.snapshot(name), SNAPSHOT_BYTES_MAX)
    if data is None:
        return frozenset({bytes.fromhex(name)})
    layers = decode_snapshot(data, catalog.store_id, name).layers
    return frozenset({bytes.fromhex(name), *(layer.digest for layer in layers)})


def _here(catalog: Catalog, named: _Named, published: bool) -> Iterator[Garbage]:
    places = catalog.places
    for folder, kind, is_garbage in (
        (places.segments, "segment", _not_in(named.segments, parse_segment_name)),
        (places.redacted, "redacted", _not_in(named.segments, parse_segment_name)),
        (
            places.index,
            "snapshot",
            _not_in(named.in_use if published else named.snapshots, parse_index_name),
        ),
    ):
        for name in list_folder(folder):
            path = os.path.join(folder, name)
            if is_garbage(name):
                yield Garbage(kind, path, file_size(path) or 0)
    diverged = os.path.join(catalog.root, DIVERGED_DIR)
    for name in list_folder(diverged):
        path = os.path.join(diverged, name)
        if leads_to_folder(path):
            yield Garbage("diverged", path, _size(path))


def _there(remote: Remote, named: _Named) -> Iterator[tuple[Garbage, str]]:
    for folder, kind in _FOLDERS.items():
        is_garbage = (
            _not_in(named.snapshots, parse_index_name)
            if folder == INDEX_DIR
            else _not_in(named.segments, parse_segment_name)
        )
        # Listed whole before anything in it is removed.
        for key, size in list(remote.store.list(f"{folder}/")):
            if is_garbage(key.partition("/")[2]):
                yield Garbage(kind, remote.place(key), size), key


def _not_in(named: frozenset[bytes], parse: Callable[[str], bytes | None]) -> Callable[[str], bool]:
    """Whether a name is one of ours that is not named."""

    def is_garbage(name: str) -> bool:
        digest = parse(name)
        return digest is not None and digest not in named

    return is_garbage


def _size(folder: str) -> int:
    paths = [os.path.join(folder, name) for name in list_folder(folder)]
    return sum(_size(path) if leads_to_folder(path) else file_size(path) or 0 for path in paths)


def _remove(garbage: Garbage) -> None:
    if garbage.kind == "diverged":
        remove_tree(garbage.place)
        return
    remove(garbage.place)
    sync_folder(os.path.dirname(garbage.place))
