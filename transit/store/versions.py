"""Freeing an object: every version of it, where a store keeps versions, and what locks allow.

A store that keeps versions frees nothing when a key is deleted: it puts a marker on top. Such a
store has `versions`, `delete_version` and `locked_until`, as `S3Store` does; one without them keeps
none. Nothing here is asked of a store before something is to be freed.

    versioning off                 deleting frees
    versioning on                  each version is deleted, with the right to do so; without it the
                                   object is hidden by a marker, and not freed
    lock in governance mode        the same, and only where the caller asks to pass it
    lock in compliance mode, hold  hidden, and not freed until the lock ends
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol, runtime_checkable

from transit.errors import StorePermissionError, UnsuitableRemoteError
from transit.store.objects import ObjectStore

VERSIONS_MAX: Final = 100_000
NO_END: Final = -1
"""A lock without an end that is known."""


class Version(NamedTuple):
    """One version of an object, or a marker that it was deleted."""

    id: str
    is_latest: bool
    is_marker: bool


@runtime_checkable
class KeepsVersions(Protocol):
    """What a store offers that may keep versions."""

    def versions(self, key: str) -> Sequence[Version]:
        """All versions and delete markers of one key, the newest first."""

    def delete_version(self, key: str, version: str, *, bypass_governance: bool) -> None:
        """Remove one version for good; `StorePermissionError` where it is locked."""

    def locked_until(self, key: str, version: str) -> int | None:
        """Until when a version is locked, UTC nanoseconds; None where it is not, -1: no end."""


def kept_by(store: ObjectStore) -> str:
    """What a store keeps of what is deleted, in words; "" for nothing, "unknown" if it won't say.

    "versions", "versions, object lock", "versions, object lock (compliance, 30 days)". Asks once or
    twice where it can be asked at all.
    """
    inner = behind(store)
    ask = getattr(inner, "bucket_facts", None)
    if inner is None or ask is None:
        return ""
    facts: Mapping[str, str] = ask()
    if "versioning" not in facts:
        return "unknown"
    said = ["versions"] if facts["versioning"] in ("enabled", "suspended") else []
    if facts.get("object lock") == "enabled":
        mode, days = facts.get("object lock mode"), facts.get("object lock days")
        said.append("object lock" + (f" ({mode}, {days} days)" if mode else ""))
    return ", ".join(said)


class Freed(NamedTuple):
    """What became of an object. versions: that are gone. kept: that a lock, or a right that is
    missing, keeps; until: when the last lock ends, 0 for none, -1 where nobody says so."""

    versions: int = 0
    kept: int = 0
    until: int = 0

    def plus(self, other: Freed) -> Freed:
        """Both together."""
        return Freed(
            self.versions + other.versions, self.kept + other.kept, later(self.until, other.until)
        )


def later(one: int, other: int) -> int:
    """The later of two ends of locks."""
    return NO_END if NO_END in (one, other) else max(one, other)


def behind(store: ObjectStore) -> KeepsVersions | None:
    """The store itself, where it may keep versions; None where it keeps none."""
    while (inner := getattr(store, "behind", None)) is not None:
        store = inner
    return store if isinstance(store, KeepsVersions) else None


def free(store: ObjectStore, key: str, *, bypass_governance: bool, all_of_it: bool = True) -> Freed:
    """Remove object `key` with every version, or, without `all_of_it`, those before the latest."""
    kept = behind(store)
    if kept is None:
        return _without_versions(store, key, all_of_it)
    try:
        found = kept.versions(key)
    except (StorePermissionError, UnsuitableRemoteError):
        # Whether there are any is not told: at least nobody reads it by its name.
        if all_of_it:
            store.delete(key)
        return Freed(0, 1, NO_END)
    freed = Freed()
    for version in found:
        if not version.is_marker and (all_of_it or not version.is_latest):
            freed = freed.plus(_free(kept, key, version, bypass_governance))
    if not all_of_it:
        return freed
    markers = [version for version in found if version.is_marker]
    if freed.kept and not any(version.is_latest for version in markers):
        store.delete(key)
    for version in markers if not freed.kept else ():
        kept.delete_version(key, version.id, bypass_governance=bypass_governance)
    return freed


def _without_versions(store: ObjectStore, key: str, all_of_it: bool) -> Freed:
    if not all_of_it or store.size(key) is None:
        return Freed()
    store.delete(key)
    return Freed(1)


def _free(store: KeepsVersions, key: str, version: Version, bypass_governance: bool) -> Freed:
    try:
        store.delete_version(key, version.id, bypass_governance=bypass_governance)
    except StorePermissionError:
        until = store.locked_until(key, version.id)
        return Freed(0, 1, NO_END if until is None else until)
    return Freed(1)
