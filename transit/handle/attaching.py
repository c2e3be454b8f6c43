"""What users say about a remote, checked, and the object store it names."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

from transit.config import Settings
from transit.errors import InvalidInputError
from transit.store import ObjectStore, open_store

RemoteAddress = str | os.PathLike[str] | ObjectStore


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
