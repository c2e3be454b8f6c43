"""What users say about a remote, checked, and the object store it names."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from transit.config import Settings
from transit.errors import InvalidInputError
from transit.store import ObjectStore, open_store
from transit.tier.apart import check_distinct

RemoteAddress = str | os.PathLike[str] | ObjectStore
StorageOptions = Mapping[str, object]


def check_settings(settings: Settings | None) -> Settings:
    """The given settings, or the defaults."""
    if settings is not None and not isinstance(settings, Settings):
        raise InvalidInputError(f"settings must be Settings, not {type(settings).__name__}")
    return settings or Settings()


class Attached(NamedTuple):
    """An object store, and how to let it go: one that was given open stays open."""

    store: ObjectStore
    release: Callable[[], None]


def attach(
    remote: RemoteAddress,
    storage_options: Mapping[str, object] | None,
    settings: Settings,
) -> Attached:
    """The object store that `remote` names. Nothing is asked of it yet."""
    if isinstance(remote, str | os.PathLike):
        store = open_store(remote, storage_options, settings.remote_timeout_s)
        return Attached(store, store.close)
    if storage_options is not None:
        raise InvalidInputError("storage_options are for a remote given as text")
    return Attached(remote, _nothing)


def attach_all(
    remotes: RemoteAddress | Sequence[RemoteAddress],
    storage_options: StorageOptions | Sequence[StorageOptions | None] | None,
    settings: Settings,
) -> list[Attached]:
    """The object stores that `remotes` names, one or several. Nothing is asked of them yet.

    storage_options: for all that are given as text, or a list, of one for each.
    """
    addresses: list[RemoteAddress]
    if isinstance(remotes, Sequence) and not isinstance(remotes, str):
        addresses = list(remotes)
    else:
        addresses = [remotes]
    if not addresses:
        raise InvalidInputError("remote=[] names none; leave it out for a store without")
    if isinstance(storage_options, list | tuple):
        if len(storage_options) != len(addresses):
            raise InvalidInputError(
                f"storage_options has {len(storage_options)} entries for {len(addresses)} remotes"
            )
        options = list(storage_options)
    elif len(addresses) > 1:
        options = [storage_options if _is_text(each) else None for each in addresses]
    else:
        options = [storage_options]
    attached: list[Attached] = []
    try:
        for address, each in zip(addresses, options, strict=True):
            attached.append(attach(address, each, settings))
        check_distinct([each.store for each in attached])
    except BaseException:
        release_all(attached)
        raise
    return attached


def release_all(attached: Sequence[Attached]) -> None:
    """Let object stores go, each whatever becomes of the others."""
    with ExitStack() as stack:
        for each in attached:
            stack.callback(each.release)


def _is_text(address: RemoteAddress) -> bool:
    return isinstance(address, str | os.PathLike)


def _nothing() -> None:
    pass


def check_eviction(bytes_max: object, older_than: object) -> None:
    """`InvalidInputError` unless at least one limit is given, and each is a number from 0 on."""
    if bytes_max is None and older_than is None:
        raise InvalidInputError("evict: give bytes_max= or older_than=")
    if bytes_max is not None and (type(bytes_max) is not int or bytes_max < 0):
        raise InvalidInputError(f"evict: bytes_max must be bytes, not {bytes_max!r}")
    if older_than is not None and (type(older_than) not in (int, float) or not older_than >= 0):  # type: ignore[operator]
        raise InvalidInputError(f"evict: older_than must be seconds, not {older_than!r}")
