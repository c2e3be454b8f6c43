"""Secrets that are made up, and where they turn up although they must not.

Owns made-up credentials, the forms in which one may hide in bytes and texts, and what is looked
through: logs, errors with their causes and their frames' variables, folders.
"""

from __future__ import annotations

import base64
import logging
import os
import traceback
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

OURS: Final = f"{os.sep}transit{os.sep}"


class Canary(NamedTuple):
    """One made-up secret: what it stands for, and itself."""

    kind: str
    value: str


def make_canaries() -> dict[str, str]:
    """Secrets by kind, unlike anything else, with characters that texts and URLs escape."""
    kinds = ("secret", "token", "password")
    # A key's name is sent as a part of a list with slashes: other servers than moto refuse them.
    key = {"key": f"CANARYKEY{os.urandom(8).hex().upper()}"}
    return {**key, **{kind: f"canary+{kind}/{os.urandom(12).hex()}=" for kind in kinds}}


def environment(canaries: Mapping[str, str]) -> dict[str, str]:
    """The variables in which clients look for credentials."""
    return {
        "AWS_ACCESS_KEY_ID": canaries["key"],
        "AWS_SECRET_ACCESS_KEY": canaries["secret"],
        "AWS_SESSION_TOKEN": canaries["token"],
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def options(canaries: Mapping[str, str], endpoint: str) -> dict[str, object]:
    """What fsspec takes, with the secrets in it."""
    secrets = {kind: canaries[kind] for kind in ("key", "secret", "token")}
    return {"endpoint_url": endpoint, **secrets}


@cache
def forms(secret: str) -> frozenset[bytes]:
    """How a secret may be written down: as it is, escaped, in base64 at any place, in hex."""
    data = secret.encode()
    found = {data, quote(secret, safe="").encode(), quote(secret).encode(), data.hex().encode()}
    found |= {secret.encode("utf-16-le"), repr(secret).encode()[1:-1], data[::-1]}
    for shift in range(3):
        # The first and last characters depend on the neighbours.
        encoded = base64.b64encode(b"x" * shift + data)[4 if shift else 0 : -4]
        found |= {encoded, encoded.translate(bytes.maketrans(b"+/", b"-_"))}
    return frozenset(found)


def hits(text: str | bytes, canaries: Mapping[str, str]) -> list[str]:
    """The kinds of secrets that are in `text`, in any form."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace")
    return [kind for kind, secret in canaries.items() if any(f in data for f in forms(secret))]


def in_folder(folder: Path, canaries: Mapping[str, str]) -> Iterator[str]:
    """Each file below `folder` with a secret in its bytes or its name."""
    for path in sorted(folder.rglob("*")):
        data = path.read_bytes() if path.is_file() else b""
        for kind in hits(data + b"\n" + os.fsencode(path.relative_to(folder)), canaries):
            yield f"{path}: {kind}"


def in_error(error: BaseException, canaries: Mapping[str, str]) -> list[str]:
    """The secrets in an error's text, arguments, attributes, causes and traceback."""
    texts = [*traceback.format_exception(error)]
    for each in chain(error):
        texts += [str(each), repr(each), repr(each.args), repr(vars(each))]
    return hits("\n".join(texts), canaries)


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from, and what was being handled."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [each.__cause__, each.__context__]


def in_frames(error: BaseException, canaries: Mapping[str, str]) -> list[tuple[str, str]]:
    """(function of transit, kind) of each secret among the variables of transit's own frames.

    What a traceback with variables shows: `traceback.TracebackException(capture_locals=True)`.
    """
    found = []
    for each in chain(error):
        shown = traceback.TracebackException.from_exception(each, capture_locals=True)
        for frame in shown.stack:
            if OURS in frame.filename and "testing" not in frame.filename:
                text = "\n".join(f"{k}={v}" for k, v in (frame.locals or {}).items())
                found += [(frame.name, kind) for kind in hits(text, canaries)]
    return found


class Logs(logging.Handler):
    """Keeps what is logged, at any level and by any library, while it is installed (`with`)."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[tuple[str, str]] = []
        self._level = logging.NOTSET

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record as a formatter would show it, with its arguments beside."""
        self.texts.append((record.name, f"{self.format(record)} {record.args!r}"))

    def __enter__(self) -> Logs:
        root = logging.getLogger()
        self._level = root.level
        root.setLevel(logging.DEBUG)
        root.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        root = logging.getLogger()
        root.removeHandler(self)
        root.setLevel(self._level)

    def hits(self, canaries: Mapping[str, str]) -> set[tuple[str, str]]:
        """(top of the logger's name, kind) of each secret that was logged."""
        return {
            (name.partition(".")[0], kind)
            for name, text in self.texts
            for kind in hits(text, canaries)
        }


def in_objects(objects: Iterable[object], canaries: Mapping[str, str]) -> list[str]:
    """The objects whose `repr` or `str` shows a secret."""
    return [type(each).__name__ for each in objects if hits(f"{each!r}\n{each!s}", canaries)]
