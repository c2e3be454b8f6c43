"""A folder of files as one file: a zip or a tar, made the same each time, and read with care.

Owns both directions, and what is refused of an archive that may be anybody's. It holds plain files
alone, whose names are parts of `[A-Za-z0-9._-]` with `/` between them, so no path leads out of a
folder. `ProofError`, before anything is unpacked, for a name that is none or is there twice, a
link, an encrypted member, one packed in another way than deflate, and for more than `bytes_max` or
`MEMBERS_MAX` together.
"""

from __future__ import annotations

import io
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from typing import Final

from transit import ProofError

BYTES_MAX: Final = 1024 * 1024 * 1024
MEMBERS_MAX: Final = 1_000_000
_NAME: Final = re.compile(
    r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+)*"
)
_TIME: Final = (1980, 1, 1, 0, 0, 0)
_UNIX: Final = 3
_LEVEL: Final = 6
_ENCRYPTED: Final = 0x1 | 0x40


def pack_zip(files: Mapping[str, bytes]) -> bytes:
    """The files as a zip; the same files give the same bytes where the same zlib packs them."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _TIME)
            info.create_system = _UNIX
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            opened.writestr(info, files[name], zipfile.ZIP_DEFLATED, _LEVEL)
    return made.getvalue()


def pack_tar(files: Mapping[str, bytes]) -> bytes:
    """The files as a tar (POSIX ustar); the same files give the same bytes."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as opened:
        for name in sorted(files):
            info = tarfile.TarInfo(name)
            info.size = len(files[name])
            opened.addfile(info, io.BytesIO(files[name]))
    return made.getvalue()


def unpack_zip(data: bytes, bytes_max: int = BYTES_MAX) -> dict[str, bytes]:
    """The files of a zip by name; `ProofError` for one that holds anything but plain files."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            members = _checked(opened.infolist(), bytes_max)
            return {info.filename: _read(opened, info) for info in members}
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError) as error:
        raise ProofError(f"not a whole zip: {error}") from None


def _checked(members: list[zipfile.ZipInfo], bytes_max: int) -> list[zipfile.ZipInfo]:
    if len(members) > MEMBERS_MAX:
        raise ProofError(f"a zip of more than {MEMBERS_MAX} members")
    seen: set[str] = set()
    for info in members:
        mode = stat.S_IFMT(info.external_attr >> 16)
        # What is after a null byte zipfile cuts off.
        is_name = info.filename == info.orig_filename and _NAME.fullmatch(info.filename)
        is_plain = mode in (0, stat.S_IFREG) and not info.external_attr & 0x10
        is_known = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        if not (is_name and is_plain and is_known) or info.flag_bits & _ENCRYPTED:
            raise ProofError(f"a zip with {info.orig_filename[:100]!a}, which is no plain file")
        if info.filename in seen:
            raise ProofError(f"a zip with {info.filename} twice")
        seen.add(info.filename)
    if sum(info.file_size for info in members) > bytes_max:
        raise ProofError(f"a zip that would become more than {bytes_max} bytes")
    return members


def _read(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    try:
        with opened.open(info) as member:
            # Never more than the size that was looked at.
            data = member.read(info.file_size + 1)
    except zlib.error as error:
        raise ProofError(f"{info.filename}: not readable: {error}") from None
    if len(data) != info.file_size:
        raise ProofError(f"{info.filename}: not as large as the zip says")
    return data
