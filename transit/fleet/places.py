"""The objects of a fleet besides those of its stores, and their names.

    fleet.json                canonical JSON: kind "transit-fleet", format 1
    members/<store id>.json   canonical JSON of a `Member`; made once, never replaced
    retired/<store id>.json   canonical JSON of a `Retired`; made once, never replaced
    stores/<store id>/        a store's remote, as any other

A store's id has 32 hex digits. Names come only from ids: what people call a store is in its member
object. A listing may be late, so nothing is decided by one: what it lacks is found by the next.
"""

from __future__ import annotations

import os
import re
from typing import Final

from transit import InvalidInputError, address_folder

FLEET_KEY: Final = "fleet.json"
MEMBERS: Final = "members/"
RETIRED: Final = "retired/"
STORES: Final = "stores/"
_NAME: Final = re.compile(r"(?:members|retired)/([0-9a-f]{32})\.json")


def member_key(store: str) -> str:
    """The object that makes a store a member."""
    return f"{MEMBERS}{store}.json"


def retired_key(store: str) -> str:
    """The object that retires a store."""
    return f"{RETIRED}{store}.json"


def store_of(key: str) -> str | None:
    """The id of the store that a key below `members/` or `retired/` is about; None for others."""
    found = _NAME.fullmatch(key)
    return None if found is None else found[1]


def commit_key(store: str, number: int) -> str:
    """A commit of a store, by its number from 0 on."""
    return f"{STORES}{store}/commits/{number:020}.json"


def store_url(url: str, store: str) -> str:
    """The address of a member's remote."""
    base = f"{url.rstrip('/')}/"
    # Of a scheme alone, as memory://, the slashes stay.
    return f"{url if base.endswith(':/') else base}{STORES}{store}"


def whole_address(place: str | os.PathLike[str]) -> str:
    """The address of a place, a folder's from the root on: workers have another working directory.

    `InvalidInputError` for what is no address.
    """
    folder = address_folder(place)
    try:
        return os.fspath(place) if folder is None else os.path.abspath(folder)
    except FileNotFoundError:
        raise InvalidInputError(
            f"{folder}: the working directory was removed: give a path from the root on"
        ) from None
