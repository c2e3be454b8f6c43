"""From an address to an object store; nothing here asks the store anything.

Addresses and options may hold credentials. Those of options never get into an error or a `repr`;
those of an address are refused, because addresses are shown and logged.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from transit.errors import InvalidInputError, UnsuitableRemoteError
from transit.store.addresses import (
    S3,
    check_s3,
    file_path,
    has_credentials,
    read_address,
    shown,
)
from transit.store.filesystem import FilesystemStore
from transit.store.folder import FolderStore
from transit.store.objects import ObjectStore
from transit.store.s3 import S3Store, s3_options


def open_store(
    url: str | os.PathLike[str],
    storage_options: Mapping[str, object] | None = None,
    timeout_s: float = 60.0,
) -> ObjectStore:
    """The store at `url`: a path or file:// URL, s3://bucket/prefix, or any URL fsspec knows.

    storage_options: what fsspec's file system takes (`key`, `secret`, `endpoint_url`, …).
    timeout_s: the longest time one call may take, in seconds, all tries included; not of folders.

    `InvalidInputError`: no such address or options. `UnsuitableRemoteError`: the package for this
    kind of address is not installed.
    """
    scheme, address = read_address(url)
    if not scheme:
        return FolderStore(address)
    options = dict(storage_options or {})
    _refuse_credentials(address, options)
    if "::" in address:
        # fsspec's chains put caches before a store, and a cache answers from before.
        raise InvalidInputError(f"{shown(address)}: a store's address is a path or one URL")
    if not timeout_s > 0:
        raise InvalidInputError(f"timeout_s must be more than 0, not {timeout_s!r}")
    if scheme == "file":
        return FolderStore(file_path(address))
    if scheme in S3:
        return _open_s3(address, options, timeout_s)
    filesystem, root = _filesystem(address, options)
    in_memory = scheme == "memory"
    return FilesystemStore(filesystem, root, shown(address), timeout_s, in_memory)


def _open_s3(address: str, options: Mapping[str, object], timeout_s: float) -> S3Store:
    check_s3(address)
    filesystem, path = _filesystem(address, s3_options(options, timeout_s))
    bucket, prefix, _ = filesystem.split_path(path)
    return S3Store(filesystem, bucket, prefix.strip("/"), timeout_s)


def _filesystem(address: str, options: Mapping[str, object]) -> tuple[Any, str]:
    """fsspec's file system for an address, and the path in it."""
    try:
        # Only remotes need it, and it takes longer to import than all of transit.
        from fsspec.core import url_to_fs

        filesystem, path = url_to_fs(
            address, **{"skip_instance_cache": True, "use_listings_cache": False, **options}
        )
    except ImportError as error:
        raise UnsuitableRemoteError(_missing(address, error)) from None
    except (ValueError, TypeError, KeyError) as error:
        # Not chained, its text not shown: it may hold options.
        kind = type(error).__name__
        message = f"{shown(address)}: address or options not understood ({kind})"
        raise InvalidInputError(message) from None
    return filesystem, str(path)


def _missing(address: str, error: ImportError) -> str:
    if address.startswith(S3) or (error.name or "").startswith("fsspec"):
        return f"{address}: needs another package: pip install 'transit[s3]'"
    return f"{shown(address)}: needs another package: {error}"


def _refuse_credentials(address: str, options: Mapping[str, object]) -> None:
    """`InvalidInputError` where an address holds what an error's text could give away."""
    client = options.get("client_kwargs")
    endpoints = [options.get("endpoint_url")]
    if isinstance(client, Mapping):
        endpoints.append(client.get("endpoint_url"))
    for text in (address, *endpoints):
        if isinstance(text, str) and has_credentials(text):
            raise InvalidInputError(
                "credentials do not belong in an address: give them as storage_options, "
                "or as the environment variables and files the store's own tools use"
            )
