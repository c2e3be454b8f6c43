"""Objects of a fleet that are made once: written where there is none, and read back.

An answer that was lost is no answer: what is there afterwards counts, whoever wrote it.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from transit import (
    AlreadyExistsError,
    CorruptError,
    InvalidInputError,
    ObjectStore,
    RemoteUnavailableError,
    Settings,
)

# A member with 64 labels, each a key and a value of 1,024 characters that JSON escapes, has less.
BYTES_MAX: Final = 1 << 20
T = TypeVar("T")


def encode(value: msgspec.Struct) -> bytes:
    """Canonical JSON: names sorted, no spaces."""
    return msgspec.json.encode(value, order="sorted")


def check_text(text: str, what: str) -> str:
    """`text`, if it can be written as UTF-8; `InvalidInputError` otherwise."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(f"{what} must be text, not {text!r:.100}") from None
    return text


def timeout_of(settings: object) -> float:
    """How long a request for an object of a fleet may take, in seconds: as for its stores."""
    given = settings if isinstance(settings, Settings) else Settings()
    return given.remote_timeout_s


def make_once(store: ObjectStore, key: str, value: T, kind: type[T]) -> T:
    """Make an object where there is none; what is there afterwards, which may be another's."""
    assert isinstance(value, msgspec.Struct)
    try:
        store.create(key, encode(value))
    except (AlreadyExistsError, RemoteUnavailableError) as error:
        found = read(store, key, kind)
        if found is None:
            raise error from None
        return found
    return value


def read(store: ObjectStore, key: str, kind: type[T]) -> T | None:
    """An object; None where there is none. `CorruptError` where it is none of its kind."""
    data = store.get(key, BYTES_MAX)
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        place = f"{store.url}/{key}"
        raise CorruptError(place, expected=f"a {kind.__name__}", found=str(error)) from None
