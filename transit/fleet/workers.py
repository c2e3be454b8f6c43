"""What workers of an engine need beside parts: how to open the stores.

A part has no credentials, so this is the other value that travels to workers. It is never shown:
engines write the arguments of tasks that failed into their logs.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from transit import InvalidInputError, Keyring, Settings
from transit.fleet.columns import Wanted
from transit.fleet.planning import Part
from transit.fleet.reading import OPEN_MAX, scan

if TYPE_CHECKING:
    import pyarrow

OpenKeyring = Callable[[], Keyring]
"""What opens a keyring in a worker: a function of a module, or a `functools.partial` of one."""


class Opening(msgspec.Struct, frozen=True):
    """How workers open stores. keyring: what opens it there, pickled; b"" for none."""

    storage_options: Mapping[str, object] | None
    settings: Settings | None
    keyring: bytes

    def __repr__(self) -> str:
        return "<transit.fleet.Opening>"

    def scan(self, part: Part | None, wanted: Wanted) -> pyarrow.RecordBatchReader:
        """The records of a part, none of None; as `transit.fleet.scan`, of the plain schema."""
        declared, names = wanted.declared, wanted.names
        reader = scan(
            () if part is None else (part,),
            names if declared is None else declared,
            select=None if declared is None else names,
            storage_options=self.storage_options,
            settings=self.settings,
            keyring=_keyring(self.keyring) if self.keyring else None,
        )
        return reader.cast(wanted.plain_schema())


def opening(
    storage_options: Mapping[str, object] | None,
    settings: Settings | None,
    keyring: OpenKeyring | None,
) -> Opening:
    """How workers open stores, of the arguments of an engine's module.

    `InvalidInputError` for a keyring that is open, which stays in its process, and for a function
    that cannot be pickled.
    """
    if keyring is None:
        return Opening(storage_options, settings, b"")
    if not callable(keyring):
        raise InvalidInputError(
            f"keyring must be a function that opens it in a worker, not {keyring!r:.100}; say "
            "functools.partial(Keyring.open, path, key_file=...)"
        )
    try:
        return Opening(storage_options, settings, pickle.dumps(keyring))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InvalidInputError(
            f"workers cannot be given what opens the keyring: {error}"
        ) from None


@lru_cache(OPEN_MAX)
def _keyring(pickled: bytes) -> Keyring:
    """The keyring that this process opened so: to unlock one takes as long as some parts do."""
    made: OpenKeyring = pickle.loads(pickled)
    return made()
