"""Tokens: a file that says who may do what, and what is compared with it.

    [tokens.builder]
    sha256 = "…"                                   # of the token, in hex
    allow = { "runs/" = ["read", "append"] }        # rights by prefix of stream names
    expires = 2027-01-31T00:00:00Z                  # may be left out
    requests_max = 100                              # at once; may be left out
    rate_max = 500.0                                # requests a second; may be left out

A token is 256 random bits, so one round of SHA-256 keeps it: there is nothing to guess. The file is
its owner's alone (mode 0600). A server looks at it again, at most once a second, when a token is
presented; a file that cannot be read then changes nothing, so that a half-written one locks nobody
out. To take all tokens back, leave an empty file.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import stat
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple

import msgspec

from transit import AlreadyExistsError, InvalidInputError, NotFoundError
from transit.server.access import RIGHTS, Grant, NameOf, Rights

LOGGER: Final = logging.getLogger("transit.server")
FILE_BYTES_MAX: Final = 1024 * 1024
LOOK_S: Final = 1.0
PREFIX: Final = "transit_"
"""What a token begins with, so that those who look for leaked secrets find it."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class Token(msgspec.Struct, frozen=True):
    """One token, as the file has it: never the token itself.

    expires: UTC seconds; None: never. requests_max, rate_max: None: as the server's settings say.
    """

    name: str
    digest: bytes
    rights: Rights
    expires: float | None = None
    requests_max: int | None = None
    rate_max: float | None = None


class Entry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One table of the file."""

    sha256: str
    allow: dict[str, list[str]]
    expires: datetime.datetime | None = None
    requests_max: int | None = None
    rate_max: float | None = None


class _Signature(NamedTuple):
    """What tells that a file is another one, or was changed."""

    inode: int
    size: int
    changed_ns: int
    status_ns: int


class Known(NamedTuple):
    """A token and what its bearer may do."""

    token: Token
    grant: Grant


class Tokens:
    """The tokens of a file, as it is now. `InvalidInputError` for a file that cannot be used."""

    def __init__(self, path: str, name_of: NameOf) -> None:
        self._path = path
        self._name_of = name_of
        self._signature, found = read_tokens(path)
        self._looked = time.monotonic()
        self._known = self._by_digest(found)
        self.changes = 0

    def find(self, secret: str) -> Known | None:
        """What a token may do; None for one that is unknown or has expired."""
        self._look()
        digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
        # The digest is looked up, not the token: how long it takes says nothing of the token.
        known = self._known.get(digest)
        if known is None or not hmac.compare_digest(known.token.digest, digest):
            return None
        return None if is_expired(known.token) else known

    def is_good(self, known: Known) -> bool:
        """Whether what `find` gave is still so."""
        self._look()
        token = known.token
        if token.expires is not None and is_expired(token):
            return False
        return self._known.get(token.digest) is known

    def good(self) -> dict[bytes, Token]:
        """The tokens that are good now, by digest."""
        found = (known.token for known in self._known.values())
        return {token.digest: token for token in found if not is_expired(token)}

    def _by_digest(self, tokens: list[Token]) -> dict[bytes, Known]:
        return {
            each.digest: Known(each, Grant(each.name, each.rights, self._name_of))
            for each in tokens
        }

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        try:
            if _signature(os.stat(self._path)) == self._signature:
                return
            self._signature, found = read_tokens(self._path)
        except (OSError, InvalidInputError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            LOGGER.warning("tokens: those read before stay in use: %s", reason)
            return
        self._known = self._by_digest(found)
        self.changes += 1


def is_expired(token: Token) -> bool:
    """Whether a token's time is over."""
    return token.expires is not None and time.time() >= token.expires


def read_tokens(path: str) -> tuple[_Signature, list[Token]]:
    """The tokens of a file, and what tells whether it changed since."""
    try:
        with open(path, "rb") as file:
            info = os.fstat(file.fileno())
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidInputError(f"tokens {path}: {error.strerror}") from error
    if info.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidInputError(f"tokens {path}: others may read it; type: chmod 600 {path}")
    if len(data) > FILE_BYTES_MAX:
        raise InvalidInputError(f"tokens {path}: larger than {FILE_BYTES_MAX} bytes")
    return _signature(info), parse_tokens(data, path)


def parse_tokens(data: bytes, path: str) -> list[Token]:
    """The tokens that a file's bytes say; `InvalidInputError` names the place of a mistake."""
    try:
        document = tomllib.loads(data.decode("utf-8-sig"))
        entries = msgspec.convert(document.pop("tokens", {}), dict[str, Entry])
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise InvalidInputError(f"tokens {path}: {error}") from None
    if document:
        raise InvalidInputError(f"tokens {path}: unknown key {next(iter(document))!r}")
    tokens = [_token(name, entry, path) for name, entry in entries.items()]
    if len({token.digest for token in tokens}) < len(tokens):
        raise InvalidInputError(f"tokens {path}: two names have the same token")
    return tokens


def _token(name: str, entry: Entry, path: str) -> Token:
    place = f"tokens {path}: {name}"
    check_name(name)
    if not _DIGEST.fullmatch(entry.sha256):
        raise InvalidInputError(f"{place}: sha256 must be 64 digits of hex, of the token")
    if not (entry.requests_max is None or entry.requests_max > 0):
        raise InvalidInputError(f"{place}: requests_max must be more than 0")
    if not (entry.rate_max is None or entry.rate_max > 0):
        raise InvalidInputError(f"{place}: rate_max must be more than 0")
    expires = entry.expires
    if expires is not None and expires.tzinfo is None:
        raise InvalidInputError(f"{place}: expires needs a time zone: write 2027-01-31T00:00:00Z")
    return Token(
        name=name,
        digest=bytes.fromhex(entry.sha256),
        rights=tuple((prefix, check_rights(given)) for prefix, given in entry.allow.items()),
        expires=None if expires is None else expires.timestamp(),
        requests_max=entry.requests_max,
        rate_max=entry.rate_max,
    )


def check_name(name: str) -> str:
    """A token's name: it stands in logs, and as the writer of records."""
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"token name {name[:64]!r}: up to 64 letters, digits, '-', '_' and '.'"
        )
    return name


def check_rights(given: list[str]) -> frozenset[str]:
    """Rights by name; "all" for every one."""
    rights = set(RIGHTS if given == ["all"] else given)
    unknown = rights - set(RIGHTS)
    if unknown or not rights:
        named = repr(min(unknown)) if unknown else "none"
        raise InvalidInputError(f"right {named}: there are {', '.join(RIGHTS)}, or all")
    return frozenset(rights)


def parse_allowed(text: str) -> tuple[str, list[str]]:
    """A prefix and the rights below it, from `PREFIX=right,right`."""
    prefix, equals, rights = text.rpartition("=")
    if not equals:
        raise InvalidInputError(f"allow {text!r}: write PREFIX=right,right, such as runs/=read")
    found = [each.strip() for each in rights.split(",")]
    return prefix, sorted(check_rights(found), key=RIGHTS.index)


# Changing the file


def new_token(
    path: str, name: str, allowed: Mapping[str, list[str]], expires: float | None = None
) -> str:
    """Add a token to the file, which is made where there is none; the token, told this once.

    expires: UTC seconds. `AlreadyExistsError` where the file has that name.
    """
    secret = PREFIX + secrets.token_urlsafe(32)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    rights = ", ".join(
        f"{_quoted(prefix)} = {json.dumps(each)}" for prefix, each in allowed.items()
    )
    lines = [f"[tokens.{_quoted(check_name(name))}]", f'sha256 = "{digest}"']
    lines.append(f"allow = {{ {rights} }}")
    if expires is not None:
        moment = datetime.datetime.fromtimestamp(int(expires), datetime.UTC)
        lines.append(f"expires = {moment:%Y-%m-%dT%H:%M:%SZ}")
    with _changing(path) as text:
        if name in (token.name for token in parse_tokens(text.encode(), path)):
            raise AlreadyExistsError(f"tokens {path}: {name} is there")
        before = f"{text.rstrip()}\n\n" if text.strip() else ""
        _replace(path, before + "\n".join(lines) + "\n")
    return secret


def remove_token(path: str, name: str) -> None:
    """Take a token out of the file; `NotFoundError` where it is not in there."""
    with _changing(path) as text:
        if name not in (token.name for token in parse_tokens(text.encode(), path)):
            raise NotFoundError(f"tokens {path}: there is no {name}")
        kept, is_kept = [], True
        for line in text.splitlines(keepends=True):
            if line.lstrip().startswith("["):
                is_kept = line.split("#")[0].strip() not in (
                    f"[tokens.{name}]", f'[tokens."{name}"]', f"[tokens.'{name}']",
                )  # fmt: skip
            if is_kept:
                kept.append(line)
        left = "".join(kept)
        if name in (token.name for token in parse_tokens(left.encode(), path)):
            raise InvalidInputError(f"tokens {path}: take {name} out with an editor")
        _replace(path, left)


@contextmanager
def _changing(path: str) -> Iterator[str]:
    """The text of the file, while no other process changes it."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise InvalidInputError(f"tokens {path}: {error.strerror}") from error
        with open(descriptor, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_at(path, file.fileno()):
                # Another process put a new file in its place.
                continue
            _, _ = read_tokens(path)
            yield file.read(FILE_BYTES_MAX).decode()
            return


def _is_at(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _replace(path: str, text: str) -> None:
    """Put `text` in place of the file, whole or not at all."""
    beside = f"{path}.new-{secrets.token_hex(4)}"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        os.unlink(beside)
        raise


def _quoted(text: str) -> str:
    """A text as TOML has it."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _signature(info: os.stat_result) -> _Signature:
    return _Signature(info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
