"""From an address to an object store; nothing here asks the store anything.

Addresses and options may hold credentials. Those of options never get into an error or a `repr`;
those of an address are refused, because addresses are shown and logged.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Final

from transit.errors import InvalidInputError, UnsuitableRemoteError
from transit.store.filesystem import FilesystemStore
from transit.store.folder import FolderStore
from transit.store.objects import ObjectStore
from transit.store.s3 import S3Store, s3_options

_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*)://", re.ASCII)
_S3: Final = ("s3", "s3a")


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
    address, options = os.fspath(url), dict(storage_options or {})
    if not address or "\0" in address:
        raise InvalidInputError("a store's address is a path or a URL")
    if "://" not in address:
        return FolderStore(address)
    _refuse_credentials(address, options)
    found = _SCHEME.match(address)
    if found is None or "::" in address:
        # fsspec's chains put caches before a store, and a cache answers from before.
        raise InvalidInputError("a store's address is a path or one URL")
    if not timeout_s > 0:
        raise InvalidInputError(f"timeout_s must be more than 0, not {timeout_s!r}")
    scheme = found[1]
    if scheme == "file":
        return FolderStore(_file_path(address))
    if scheme in _S3:
        return _open_s3(address, options, timeout_s)
    filesystem, root = _filesystem(address, options)
    in_memory = scheme == "memory"
    return FilesystemStore(filesystem, root, _shown(address), timeout_s, in_memory)


def _open_s3(address: str, options: Mapping[str, object], timeout_s: float) -> S3Store:
    filesystem, path = _filesystem(address, s3_options(options, timeout_s))
    bucket, prefix, _ = filesystem.split_path(path)
    if not bucket:
        raise InvalidInputError(f"{address}: names no bucket")
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
        message = f"{_shown(address)}: address or options not understood ({kind})"
        raise InvalidInputError(message) from None
    return filesystem, str(path)


def _shown(address: str) -> str:
    """The address without what may be a signature."""
    return address.partition("?")[0].rstrip("/")


def _missing(address: str, error: ImportError) -> str:
    if address.startswith(_S3) or (error.name or "").startswith("fsspec"):
        return f"{address}: needs another package: pip install 'transit[s3]'"
    return f"{_shown(address)}: needs another package: {error}"


def _file_path(address: str) -> str:
    # Loaded here: only a store with a remote needs it.
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(address)
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
        raise InvalidInputError(f"{address}: not a file:// URL of this machine")
    return unquote(parts.path)


def _refuse_credentials(address: str, options: Mapping[str, object]) -> None:
    """`InvalidInputError` where an address holds what an error's text could give away."""
    client = options.get("client_kwargs")
    endpoints = [options.get("endpoint_url")]
    if isinstance(client, Mapping):
        endpoints.append(client.get("endpoint_url"))
    for text in (address, *endpoints):
        # Up to the last "@": a password may hold slashes that were not encoded.
        if isinstance(text, str) and "@" in text.rpartition("://")[2]:
            raise InvalidInputError(
                "credentials do not belong into an address: give them as storage_options, "
                "or as the environment variables and files the store's own tools use"
            )
