"""What the operating system's errors mean, as errors of transit.

Owns which class an error number becomes. Leaves to the callers what they do about it.
"""

from __future__ import annotations

import errno
from typing import Final

from transit.errors import (
    AlreadyExistsError,
    InvalidInputError,
    NotFoundError,
    StorageFullError,
    StorePermissionError,
    StoreUnavailableError,
    TransitError,
)

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DENIED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_FILE: Final = (errno.ENOENT, errno.ENOTDIR)
_NO_PATH: Final = (errno.ENAMETOOLONG, errno.ELOOP)


def translate(error: OSError, path: str) -> TransitError:
    """The transit error that says what `error` on `path` means for the caller."""
    message = f"{path}: {error.strerror or error}"
    if error.errno in _FULL:
        return StorageFullError(message)
    if error.errno in _DENIED:
        return StorePermissionError(message)
    if error.errno in _NO_FILE:
        return NotFoundError(message)
    if error.errno in _NO_PATH:
        return InvalidInputError(f"{message}: give another path")
    if error.errno == errno.EEXIST:
        return AlreadyExistsError(message)
    return StoreUnavailableError(message)


class translated:
    """Raises operating-system errors of its block as transit's, naming `path`.

    No generator: from Python 3.12 on, its frame and an error it replaces refer to each other, and
    all frames above, with the files they use, would stay until garbage is collected.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if isinstance(error, OSError):
            raise translate(error, self._path) from error
