"""`restore`: a store's folder from its remote alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import msgspec

from transit.config import Settings
from transit.disk import (
    is_folder,
    list_folder,
    make_folder,
    put_if_absent,
    sync_folder,
)
from transit.engine.trusted import Kept, remembered_of
from transit.errors import AlreadyExistsError, InvalidInputError
from transit.format.commit import encode_format
from transit.format.names import (
    FORMAT_FILE,
    LOCK_FILE,
    Places,
    check_layer,
    findable,
)
from transit.handle.attaching import RemoteAddress, attach, check_settings
from transit.handle.encrypting import check_encryption, keys_of
from transit.handle.opening import folder_of, make_folders, tidy_up
from transit.keyring import Keyring
from transit.locks import Lock
from transit.tier.apart import check_apart
from transit.tier.progress import Progress
from transit.tier.remote import Remote
from transit.tier.restore import Restorer, needed_segments


class Restored(msgspec.Struct, frozen=True):
    """What a restore brought: the cut's last root and its count of commits, segments and records.

    segments, bytes: in the folder now. segments_remote: left in the remote.
    """

    path: str
    store_id: str
    root: str
    commits: int
    records: int
    segments: int
    bytes: int
    segments_remote: int


def restore(  # noqa: PLR0913 - as many things are said of what is wanted
    remote: RemoteAddress,
    path: str | os.PathLike[str],
    *,
    lazy: bool = False,
    streams: Sequence[str] | None = None,
    at: int | str | None = None,
    storage_options: Mapping[str, object] | None = None,
    settings: Settings | None = None,
    progress: Callable[[Progress], None] | None = None,
    checkpoint: Kept | None = None,
    keyring: Keyring | None = None,
) -> Restored:
    """Make folder `path` the store that is in `remote`, every commit and segment verified.

    lazy: only commits and index; blocks are fetched when they are read, by a store opened with
    `remote=`. streams: only the segments that hold these streams, what they inherit and the lineage
    they need; the rest as with `lazy`; "$trace/" stands for all streams of layer "trace", the
    artifacts of runs. at: a commit number, or a root (64 hex digits): the store as it was after
    that commit (opened for writing with its remote, it goes on from the last one).
    checkpoint: one that was kept, or the bytes of its note: a history that does not extend it is
    refused with `SplitViewError`, and no store is made.
    keyring: of an encrypted store, whose names `streams` are looked for; all else needs no key.
    Interrupted, it goes on when it is called again. Raises `AlreadyExistsError` when there is a
    store at `path`, `NotFoundError` when the remote holds no store, commit or stream of that name,
    `CorruptError`, `RemoteUnavailableError`, `StorePermissionError`; `SealedError` for `streams` of
    an encrypted store without its keyring.
    """
    root = folder_of(path)
    chosen = check_settings(settings)
    names = _check(streams, at)
    kept = remembered_of(checkpoint)
    asked = check_encryption(None, keyring)
    store, release = attach(remote, storage_options, chosen)
    try:
        check_apart(root, store)
        with _Target(root) as target:
            source = Remote(store, chosen)
            store_id = source.existing_store_id()
            keys = keys_of(asked, store_id, root, (store,), chosen, write=False)
            restorer = Restorer(source, root, store_id, progress, kept, keys)
            restored = _fill(restorer, root, store_id, lazy, names, at)
            target.finish(store_id)
    finally:
        release()
    return restored


def _fill(
    restorer: Restorer,
    root: str,
    store_id: bytes,
    lazy: bool,
    names: Sequence[str] | None,
    at: int | str | None,
) -> Restored:
    refs = restorer.fetch_commits(at)
    restorer.fetch_snapshots()
    wanted = refs
    if lazy or names is not None:
        catalog = restorer.catalog()
        wanted = needed_segments(catalog, names, restorer.url) if names is not None else []
    size = restorer.fetch_segments(wanted)
    chain = restorer.chain
    return Restored(
        path=root,
        store_id=store_id.hex(),
        root=chain.root,
        commits=chain.count,
        records=chain.next_lsn,
        segments=len(wanted),
        bytes=size,
        segments_remote=len(refs) - len(wanted),
    )


class _Target:
    """The folder to fill, locked: empty, or left by a restore that was cut short."""

    def __init__(self, root: str) -> None:
        self._root = root
        if is_folder(root) and FORMAT_FILE in list_folder(root):
            raise AlreadyExistsError(f"{root}: there is a store; open it with remote= to go on")
        if is_folder(root) and list_folder(root) and LOCK_FILE not in list_folder(root):
            raise InvalidInputError(f"{root}: is neither empty nor a restore that was cut short")
        make_folder(root)
        self._lock = Lock(Places(root).lock)

    def __enter__(self) -> _Target:
        try:
            self._lock.acquire()
            self._lock.check()
            self._lock.sign()
            # By this name the next restore knows the folder: it is durable before any other is.
            sync_folder(self._root)
            if FORMAT_FILE in list_folder(self._root):
                raise AlreadyExistsError(f"{self._root}: another process just restored it")
            make_folders(self._root)
            tidy_up(self._root)
        except BaseException:
            self._lock.close()
            raise
        return self

    def finish(self, store_id: bytes) -> None:
        """Now it is a store."""
        put_if_absent(self._root, FORMAT_FILE, encode_format(store_id))

    def __exit__(self, *_: object) -> None:
        self._lock.close()


def _check(streams: Sequence[str] | None, at: int | str | None) -> Sequence[str] | None:
    if at is not None and type(at) not in (int, str):
        raise InvalidInputError(f"at must be a commit number or a root, not {at!r}")
    if isinstance(at, int) and at < 0:
        raise InvalidInputError(f"at must be a commit number from 0 on, not {at}")
    if streams is None:
        return None
    if isinstance(streams, str) or not isinstance(streams, Sequence):
        raise InvalidInputError("streams must be a sequence of stream names")
    return [_check_wanted(name) for name in streams]


def _check_wanted(name: object) -> str:
    if isinstance(name, str) and name.startswith("$") and name.endswith("/"):
        return f"${check_layer(name[1:-1])}/"
    return findable(name)
