"""Members: the stores of a fleet, what they are called, and which are retired."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from transit import CorruptError, ObjectStore, TransitError
from transit.fleet.keeping import read
from transit.fleet.places import MEMBERS, RETIRED, member_key, retired_key, store_of


class Retired(msgspec.Struct, frozen=True):
    """A store that nobody writes any more. at: UTC nanoseconds."""

    store: str
    at: int
    by: str = ""
    reason: str = ""


class Member(msgspec.Struct, frozen=True):
    """A store of a fleet. store: its id. name: what people call it; host: where it was made.

    labels: text to text, as whoever made it said. made: UTC nanoseconds. retired: None while it is
    written; not of the object itself.
    """

    store: str
    name: str
    host: str
    made: int
    labels: Mapping[str, str] = {}
    retired: Retired | None = None

    def has(self, labels: Mapping[str, str]) -> bool:
        """Whether it has all of these labels."""
        return all(self.labels.get(key) == value for key, value in labels.items())


class Unreadable(msgspec.Struct, frozen=True):
    """A member whose object says nothing, or something of another store."""

    store: str
    error: TransitError


def members_of(store: ObjectStore) -> Iterator[Member | Unreadable]:
    """The members that are listed now, by their ids."""
    retired = {found for key, _ in store.list(RETIRED) if (found := store_of(key)) is not None}
    listed = {found for key, _ in store.list(MEMBERS) if (found := store_of(key)) is not None}
    for each in sorted(listed):
        try:
            yield _member(store, each, is_retired=each in retired)
        except CorruptError as error:
            yield Unreadable(each, error)


def _member(store: ObjectStore, each: str, *, is_retired: bool) -> Member:
    key = member_key(each)
    found = read(store, key, Member)
    place = f"{store.url}/{key}"
    if found is None or found.store != each or found.retired is not None:
        what = "nothing" if found is None else f"one of store {found.store}"
        raise CorruptError(place, expected=f"a member, store {each}", found=what)
    if not is_retired:
        return found
    said = read(store, retired_key(each), Retired)
    return msgspec.structs.replace(found, retired=said)
