"""The zip of an exhibit: written so that the same files give the same bytes, and read with care.

A zip that is read may be anybody's. It is refused with `ProofError`, before anything of it is
unpacked, when a member has a name that no exhibit has (so no path leads out of a folder), is there
twice, is a link or a folder, is encrypted, is packed in another way than deflate, or is larger than
any of its sort; and when all together are more than `WHOLE_BYTES_MAX`.
"""

from __future__ import annotations

import re
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import IO, Final

from transit import InvalidInputError, ProofError

WHOLE_BYTES_MAX: Final = 1024 * 1024 * 1024
MEMBERS_MAX: Final = 100_000
_FILE_BYTES_MAX: Final = 512 * 1024 * 1024
_SMALL_BYTES_MAX: Final = 2 * 1024 * 1024
_TIME: Final = (1980, 1, 1, 0, 0, 0)
_UNIX: Final = 3
_LEVEL: Final = 9
_KEPT: Final = 64
_ENCRYPTED: Final = 0x1 | 0x40

# In the order in which they are written.
_NAMES: Final = tuple(
    re.compile(each)
    for each in (
        r"HOW\.txt",
        r"manifest\.json",
        r"transcript\.html",
        r"records\.ndjson",
        r"payloads\.ndjson",
        r"notes\.ndjson",
        r"artifacts/[0-9a-f]{64}",
        r"proof/checkpoint",
        r"proof/run\.json",
        r"proof/notes\.json",
        r"proof/artifacts/[0-9a-f]{64}\.json",
        r"proof/parents/[0-9a-f]{32}\.json",
        r"proof/commits/[0-9]{20}\.(?:json|tlog-proof)",
        r"proof/(?:leaves|secrets|opened)/[0-9a-f]{64}",
        r"proof/how/(?:run|notes|artifact-[0-9a-f]{64}|parent-[0-9a-f]{32})\.txt",
    )
)
_SMALL: Final = re.compile(r"proof/(?:checkpoint|commits/.*)")


def write_zip(file: IO[bytes], files: Mapping[str, bytes]) -> None:
    """Write an exhibit's files; `InvalidInputError` for more than one may hold."""
    if sum(map(len, files.values())) > WHOLE_BYTES_MAX or len(files) > MEMBERS_MAX:
        raise InvalidInputError(f"an exhibit holds at most {WHOLE_BYTES_MAX} bytes")
    with zipfile.ZipFile(file, "w") as opened:
        for name in sorted(files, key=lambda name: (_place(name), name)):
            info = zipfile.ZipInfo(name, _TIME)
            info.create_system = _UNIX
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            opened.writestr(info, files[name], zipfile.ZIP_DEFLATED, _LEVEL)


class Zipped(Mapping[str, bytes]):
    """The files of an exhibit, unpacked when they are asked for."""

    def __init__(self, path: str) -> None:
        try:
            self._opened = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise ProofError(f"{path}: not a whole zip: {error}") from None
        try:
            self._infos = _checked(self._opened.infolist())
        except BaseException:
            self._opened.close()
            raise
        self._kept: dict[str, bytes] = {}

    def __enter__(self) -> Zipped:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.close()

    def __getitem__(self, name: str) -> bytes:
        info = self._infos[name]
        if not _SMALL.fullmatch(name):
            return self._unpacked(info)
        # Every proof asks for the same commits.
        if name not in self._kept:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[name] = self._unpacked(info)
        return self._kept[name]

    def _unpacked(self, info: zipfile.ZipInfo) -> bytes:
        name = info.filename
        try:
            with self._opened.open(info) as member:
                # Never more than the size that was looked at.
                data = member.read(info.file_size + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
            raise ProofError(f"{name}: not readable: {error}") from None
        if len(data) != info.file_size:
            raise ProofError(f"{name}: not as large as the zip says")
        return data

    def __contains__(self, name: object) -> bool:
        return name in self._infos

    def __iter__(self) -> Iterator[str]:
        return iter(self._infos)

    def __len__(self) -> int:
        return len(self._infos)


def _checked(members: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    if len(members) > MEMBERS_MAX:
        raise ProofError(f"exhibit: more than {MEMBERS_MAX} members")
    found: dict[str, zipfile.ZipInfo] = {}
    for info in members:
        _check_member(info)
        if info.filename in found:
            raise ProofError(f"exhibit: {info.filename} is there twice")
        found[info.filename] = info
    if sum(info.file_size for info in members) > WHOLE_BYTES_MAX:
        raise ProofError(f"exhibit: it would become more than {WHOLE_BYTES_MAX} bytes")
    return found


def _check_member(info: zipfile.ZipInfo) -> None:
    # What is after a null byte zipfile cuts off; other programs may not.
    if info.filename != info.orig_filename or _place(info.filename) == len(_NAMES):
        raise ProofError(f"exhibit: a member {info.orig_filename[:100]!a}, which no exhibit has")
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG) or info.external_attr & 0x10:
        raise ProofError(f"exhibit: {info.filename} is no plain file")
    if info.flag_bits & _ENCRYPTED:
        raise ProofError(f"exhibit: {info.filename} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ProofError(f"exhibit: {info.filename} is packed in an unknown way")
    limit = _SMALL_BYTES_MAX if _SMALL.fullmatch(info.filename) else _FILE_BYTES_MAX
    if info.file_size > limit:
        raise ProofError(f"exhibit: {info.filename} would become more than {limit} bytes")


def _place(name: str) -> int:
    return next((n for n, each in enumerate(_NAMES) if each.fullmatch(name)), len(_NAMES))
