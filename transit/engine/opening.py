"""`open`: what is said of a store that is opened, checked, and the `Log` made of it."""

from __future__ import annotations

import os
from collections.abc import Sequence

from transit.config import Level, Mode, Settings, durability_level
from transit.engine.log import Log
from transit.engine.trusted import Kept, remembered_of
from transit.errors import InvalidInputError
from transit.handle.attaching import (
    Attached,
    RemoteAddress,
    StorageOptions,
    attach_all,
    check_settings,
    release_all,
)
from transit.handle.encrypting import check_encryption
from transit.handle.handle import Handle
from transit.handle.opening import check_mode, folder_of
from transit.keyring import Keyring
from transit.store.addresses import is_url
from transit.tier.apart import check_apart


def open(  # noqa: PLR0913 - as many things are said of a store that is opened
    path: str | os.PathLike[str],
    *,
    remote: RemoteAddress | Sequence[RemoteAddress] | None = None,
    durability: str = "local",
    mode: str = "exclusive",
    storage_options: StorageOptions | Sequence[StorageOptions | None] | None = None,
    settings: Settings | None = None,
    checkpoint: Kept | None = None,
    encrypt: str | None = None,
    keyring: Keyring | None = None,
) -> Log:
    """Open the store in folder `path`, and make it when there is none (not in mode "read").

    path: a folder; in mode "read" also the address of a remote, which needs no folder then.
    remote: where the store is published: any fsspec URL, a folder, or an `ObjectStore`. An empty
    `path` continues the store that is there. Of a list, the first is that, and the others are its
    replicas: each follows it, and is asked nothing before; in mode "read" they are left out.
    durability: what appends wait for unless they say otherwise: "memory", "os", "local", "tiered",
    in the first remote, "replicated", in as many as `Settings.replicated_remotes` says.
    mode: "exclusive" (one writing process), "shared" (several), "read" (no lock, never writes).
    storage_options: passed to the remotes' fsspec file systems: endpoint, profile, keys, ...; a
    list has one for each remote.
    checkpoint: one that was kept, or the bytes of its note: a store whose history does not extend
    it is refused with `SplitViewError`, before anything of it is used, and in mode "read" also what
    is published later.
    keyring: holds the keys of an encrypted store (`Keyring`). encrypt: what is encrypted from now
    on: "remote", all that is sealed, and so all that leaves this folder; "all", the WAL too; None:
    as before, or "remote". A store that is encrypted stays so: only its keyring writes to it.
    Raises `LockedError`, `NotFoundError` (mode "read"), `InvalidInputError` when something else is
    at `path`, `UnsupportedVersionError`, `CorruptError`, `StorePermissionError`,
    `UnsupportedPlatformError`; `KeyringError`, and `SealedError` for an encrypted store without its
    keyring; with a remote `RemoteUnavailableError`, `UnsuitableRemoteError`.
    """
    checked_mode = check_mode(mode)
    level = durability_level(durability)
    chosen = check_settings(settings)
    kept, asked = remembered_of(checkpoint), check_encryption(encrypt, keyring)
    if level >= Level.TIERED and remote is None and checked_mode != "read":
        raise InvalidInputError(f'durability "{level.durability}" needs remote=')
    if is_url(path):
        if checked_mode != "read" or remote is not None:
            raise InvalidInputError(
                f'{path}: is a remote: open it with mode="read" alone, or a folder with remote='
            )
        remote = str(path)
    if remote is None:
        if storage_options is not None:
            raise InvalidInputError("storage_options without a remote")
        root = folder_of(path)
        return Log(Handle(root, checked_mode, level.durability, chosen, (), kept, asked))
    attached = attach_all(remote, storage_options, chosen)
    try:
        root = _checked_root(path, attached, level, checked_mode, chosen)
        return Log(Handle(root, checked_mode, level.durability, chosen, attached, kept, asked))
    except BaseException:
        release_all(attached)
        raise


def _checked_root(
    path: str | os.PathLike[str],
    attached: list[Attached],
    level: Level,
    mode: Mode,
    settings: Settings,
) -> str:
    """The store's folder or address, once its remotes suit it; those not to be asked are let go."""
    if mode == "read":
        release_all(attached[1:])
        del attached[1:]
    else:
        _check_enough(level, settings, len(attached))
    if is_url(path):
        return attached[0].store.url
    root = folder_of(path)
    for each in attached:
        check_apart(root, each.store)
    return root


def _check_enough(level: Level, settings: Settings, remotes: int) -> None:
    """`InvalidInputError` where what is to be replicated never could be."""
    if level is Level.REPLICATED and remotes < 2:
        raise InvalidInputError('durability "replicated" needs remote=[first, another]')
    wanted = settings.replicated_remotes
    if wanted is not None and remotes > 1 and wanted > remotes:
        raise InvalidInputError(
            f"settings: replicated_remotes is {wanted}, and there are {remotes} remotes"
        )
