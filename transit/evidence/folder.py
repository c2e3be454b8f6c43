"""A proof as a folder of files.

Owns reading such a folder, which may be anybody's: names that no proof has are left alone, and
sizes are bounded before memory is taken. A link is read as what it leads to, and shows nothing of
it: whatever a file holds must fit a digest or a signature.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Final

from transit.disk import file_size, is_folder, list_folder, make_folder, put_if_absent, read_file
from transit.errors import AlreadyExistsError, NotFoundError, ProofError
from transit.evidence.statement import (
    CHECKPOINT_FILE,
    HOW_FILE,
    PAYLOAD_FILE,
    STATEMENT_BYTES_MAX,
    STATEMENT_FILE,
)
from transit.format.segment import BLOCK_BYTES_MAX

_FOLDERS: Final = {
    "commits": re.compile(r"[0-9]{20}\.(?:json|tlog-proof)"),
    "leaves": re.compile(r"[0-9a-f]{64}"),
    "secrets": re.compile(r"[0-9a-f]{64}"),
    "opened": re.compile(r"[0-9a-f]{64}"),
}
_SMALL_BYTES_MAX: Final = 1024 * 1024


def write_folder(folder: str, files: Mapping[str, bytes]) -> None:
    """Write a proof's files into a new or empty folder, the statement last.

    `AlreadyExistsError` when something is there already.
    """
    folder = os.path.abspath(folder)
    make_folder(folder)
    if list_folder(folder):
        raise AlreadyExistsError(f"{folder}: not empty")
    for part in _FOLDERS:
        if any(name.startswith(f"{part}/") for name in files):
            make_folder(os.path.join(folder, part))
    for name in sorted(files, key=lambda name: (name == STATEMENT_FILE, name)):
        where, _, last = name.rpartition("/")
        put_if_absent(os.path.join(folder, where), last, files[name])


class ProofFolder(Mapping[str, bytes]):
    """The files of a proof in a folder, read when they are asked for.

    `NotFoundError` when there is no folder; `ProofError` for a file that is larger than any of a
    proof.
    """

    def __init__(self, folder: str) -> None:
        if not is_folder(folder):
            raise NotFoundError(f"{folder}: no such folder")
        self._folder = folder

    def __getitem__(self, name: str) -> bytes:
        if name not in self:
            raise KeyError(name)
        limit = _limit(name)
        path = os.path.join(self._folder, name)
        size = file_size(path)
        if size is not None and size > limit:
            raise ProofError(f"{name}: more than {limit} bytes")
        data = read_file(path, limit)
        if data is None:
            raise KeyError(name)
        return data

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        where, _, last = name.rpartition("/")
        pattern = _FOLDERS.get(where)
        known = pattern.fullmatch(last) if pattern else not where and last in _FILES
        return bool(known) and file_size(os.path.join(self._folder, name)) is not None

    def __iter__(self) -> Iterator[str]:
        yield from (name for name in sorted(_FILES) if name in self)
        for where in _FOLDERS:
            folder = os.path.join(self._folder, where)
            if is_folder(folder):
                names = (f"{where}/{last}" for last in sorted(list_folder(folder)))
                yield from (name for name in names if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


_FILES: Final = frozenset((STATEMENT_FILE, CHECKPOINT_FILE, PAYLOAD_FILE, HOW_FILE))


def _limit(name: str) -> int:
    if name == STATEMENT_FILE:
        return STATEMENT_BYTES_MAX
    large = name.startswith(("leaves/", "opened/")) or name == PAYLOAD_FILE
    return BLOCK_BYTES_MAX if large else _SMALL_BYTES_MAX
