"""What a text names: a folder of this machine, or a store by its URL.

Owns the one rule by which the two are told apart, so that a slip in an address never quietly names
a folder:

    /x  ./x  ../x            a folder, whatever else is in it
    ~  ~/x  ~user/x          a folder below a user's home
    scheme://x               a URL; the scheme may be in capitals
    word:x  s3//x            neither, and refused: `./` before it makes it a folder
    anything else            a folder, from the working directory on

Addresses are shown and logged, so none may hold credentials.
"""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from typing import Final, NamedTuple

from transit.errors import InvalidInputError

S3: Final = ("s3", "s3a")
# What people write before the colon of an address; fsspec knows more of them.
_KNOWN: Final = (
    *S3, "file", "memory", "gs", "gcs", "az", "abfs", "abfss", "adl", "http", "https", "ftp",
    "sftp", "ssh", "hdfs", "webhdfs", "smb", "oci", "oss", "b2", "r2",
)  # fmt: skip
_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://", re.ASCII)
_WORD: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):", re.ASCII)
_KNOWN_WORD: Final = re.compile(r"([A-Za-z][A-Za-z0-9]*)//", re.ASCII)
_FOLDERS: Final = ("/", "./", "../")
_ARN: Final = "arn:"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def absolute(path: str) -> str:
    """The path of a folder from the root on; `InvalidInputError` where there is none.

    A process may stay in a folder that was removed, and then nothing lies below it.
    """
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        raise InvalidInputError(
            f"{path}: the working directory was removed: give a path from the root on"
        ) from None


class Address(NamedTuple):
    """A URL with its scheme in small letters; or, with scheme "", the path of a folder."""

    scheme: str
    text: str


def is_url(given: object) -> bool:
    """Whether `given` is a text that begins as a URL does."""
    return isinstance(given, str) and _URL.match(given) is not None


def address_folder(given: str | os.PathLike[str]) -> str | None:
    """The folder that an address names, `~` filled in; None for a URL.

    `InvalidInputError` for what is neither, such as `s3:/bucket` or `c:x`.
    """
    address = read_address(given)
    return None if address.scheme else address.text


def read_address(given: str | os.PathLike[str]) -> Address:
    """What `given` names; `InvalidInputError` for what is neither a folder nor a URL."""
    text = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if not isinstance(text, str):
        raise InvalidInputError(f"an address is a path or a URL, not {given!r:.200}")
    if not text.strip() or "\0" in text:
        raise InvalidInputError(f"an address is a path or a URL, not {text!r:.200}")
    if text.startswith(_FOLDERS):
        return Address("", text)
    if text != text.strip():
        raise InvalidInputError(f"{text!r:.200}: white space before or after the address")
    if text.startswith("~"):
        return Address("", _below_home(text))
    found = _URL.match(text)
    if found is not None:
        return Address(found[1].lower(), found[1].lower() + text[found.end(1) :])
    _refuse_slips(text)
    return Address("", text)


def _below_home(text: str) -> str:
    path = os.path.expanduser(text)
    if path.startswith("~"):
        raise InvalidInputError(f"{text}: no such user; for a folder of this name write ./{text}")
    return path


def _refuse_slips(text: str) -> None:
    """Refuse text that is not a URL but was most likely meant as one."""
    found = _WORD.match(text) or _KNOWN_WORD.match(text)
    word = found[1].lower() if found is not None else ""
    if found is not None and (text[found.end(1)] == ":" or word in _KNOWN):
        near = get_close_matches(word, _KNOWN, n=1, cutoff=0.6) if len(word) > 1 else []
        meant = "file:///" if near == ["file"] else f"{near[0]}://" if near else ""
        rest = text[found.end(1) :].lstrip(":/\\")
        hint = f"did you mean {meant}{rest}? " if meant and not has_credentials(text) else ""
        raise InvalidInputError(
            f"{shown(text)}: not an address; {hint}A URL is scheme://…, and ./ before it makes it"
            " a folder"
        )
    if "://" in text or text.startswith("\\"):
        raise InvalidInputError(f"{shown(text)}: a store's address is a path or one URL")


def has_credentials(address: str) -> bool:
    """Whether an address may hold a name and a password.

    In `s3://` they can only stand before the first slash, or begin there: a bucket's name has
    neither "@" nor ":", and a prefix may have any. Elsewhere any "@" counts: a password may have
    slashes that were not encoded.
    """
    scheme, _, rest = address.rpartition("://")
    if scheme.lower() not in S3:
        return "@" in rest
    bucket = rest.partition("/")[0]
    return "@" in bucket or (":" in bucket and not bucket.startswith(_ARN) and "@" in rest)


def shown(address: str) -> str:
    """The address without what may be credentials or a signature."""
    scheme, mark, rest = address.rpartition("://")
    if has_credentials(address):
        rest = rest.rpartition("@")[2]
    return f"{scheme}{mark}{rest}".partition("?")[0].rstrip("/")


def check_s3(address: str) -> None:
    """`InvalidInputError` unless an s3:// URL is a bucket and a prefix of whole parts."""
    bucket, _, prefix = address.partition("://")[2].partition("/")
    if not bucket:
        meant = prefix.strip("/")
        raise InvalidInputError(
            f"{address}: names no bucket" + (f"; did you mean s3://{meant}?" if meant else "")
        )
    if ":" in bucket and not bucket.startswith(_ARN):
        raise InvalidInputError(
            f"{address}: a bucket's name has no colon; the address of a server is given as the"
            " storage option endpoint_url"
        )
    if "?" in address:
        raise InvalidInputError(f"{shown(address)}: an s3:// address has no query")
    parts = prefix.rstrip("/").split("/") if prefix.strip("/") else []
    if any(part in ("", ".", "..") for part in parts) or _CONTROL.search(address):
        raise InvalidInputError(
            f"{address!r}: a prefix is made of parts between single slashes, none of them . or .."
        )


def file_path(address: str) -> str:
    """The path of a file:// URL of this machine."""
    # Loaded here: only a store with a remote needs it.
    from urllib.parse import unquote_to_bytes, urlsplit

    parts = urlsplit(address)
    path = os.fsdecode(unquote_to_bytes(parts.path))
    local = parts.netloc.lower() in ("", "localhost")
    if not local or parts.query or parts.fragment or not path or "\0" in path:
        raise InvalidInputError(
            f"{shown(address)}: not a file:// URL of this machine, such as file:///home/me/bucket;"
            " ? and # in it are written %3F and %23"
        )
    return path
