"""Members: the stores of a fleet, what they are called, and which are retired."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from transit import CorruptError, NotFoundError, ObjectStore, TransitError
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


class Unknown(Member, frozen=True):
    """A member of which nothing is known but the id: its object cannot be read."""

    def has(self, labels: Mapping[str, str]) -> bool:
        """True: it may have any."""
        return True


class Unreadable(msgspec.Struct, frozen=True):
    """A member whose object says nothing, or something of another store."""

    store: str
    error: TransitError


class Listed(NamedTuple):
    """The id of a member; whether its own object and the one that retires it are listed."""

    store: str
    is_member: bool
    is_retired: bool


def listed(store: ObjectStore, named: Iterable[str] = ()) -> list[Listed]:
    """The members that are listed now, by their ids. named: ids that a listing may lack."""
    retired = {found for key, _ in store.list(RETIRED) if (found := store_of(key)) is not None}
    members = {found for key, _ in store.list(MEMBERS) if (found := store_of(key)) is not None}
    return [Listed(each, each in members, each in retired) for each in sorted(members | {*named})]


def members_of(store: ObjectStore) -> Iterator[Member | Unreadable]:
    """The members that are listed now, by their ids."""
    return (member_of(store, each) for each in listed(store))


def member_of(store: ObjectStore, each: Listed) -> Member | Unreadable:
    """What the object of a member says."""
    key = member_key(each.store)
    place = f"{store.url}/{key}"
    try:
        found = read(store, key, Member)
        if found is None and not each.is_member:
            raise NotFoundError(f"{place}: the fleet has no member {each.store}")
        if found is None or found.store != each.store or found.retired is not None:
            what = "nothing" if found is None else f"one of store {found.store}"
            raise CorruptError(place, expected=f"a member, store {each.store}", found=what)
        said = read(store, retired_key(each.store), Retired) if each.is_retired else None
    except (CorruptError, NotFoundError) as error:
        return Unreadable(each.store, error)
    return msgspec.structs.replace(found, retired=said)
