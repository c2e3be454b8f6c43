"""Fleets: opened, joined, and what is asked of all their stores at once.

A store that cannot be read hides no other: what went wrong is told with its member.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import msgspec

import transit
from transit import (
    Head,
    InvalidInputError,
    Keyring,
    Log,
    NotFoundError,
    Report,
    Settings,
    Traffic,
    TransitError,
    open_store,
)
from transit.fleet.cuts import Cut, told
from transit.fleet.keeping import check_text, make_once, read, timeout_of
from transit.fleet.members import (
    Listed,
    Member,
    Retired,
    Unknown,
    Unreadable,
    listed,
    member_of,
    members_of,
)
from transit.fleet.places import (
    FLEET_KEY,
    commit_key,
    member_key,
    retired_key,
    store_url,
    whole_address,
)
from transit.fleet.planned import Planned
from transit.fleet.snapshots import Snapshot, newest, numbers, write
from transit.fleet.tables import StoreTable, table_of

AT_ONCE: Final = 16
"""Stores that are looked at at once."""
_LABELS_MAX: Final = 64
_TEXT_MAX: Final = 1024
T = TypeVar("T")
U = TypeVar("U")


class _Kind(msgspec.Struct, frozen=True):
    """What `fleet.json` says."""

    kind: str = "transit-fleet"
    format: int = 1


class StoreStatus(msgspec.Struct, frozen=True):
    """How one store stands, by what it has published. error: why that is not known, else None.

    commits, root: published; records: of all streams, streams: the user's. segment_bytes: stored.
    """

    member: Member
    commits: int = 0
    root: str = ""
    streams: int | None = None
    records: int = 0
    segment_bytes: int = 0
    error: TransitError | None = None


class Found(msgspec.Struct, frozen=True):
    """A stream of one store: how many records of it are published, or why that is not known."""

    member: Member
    uid: str = ""
    records: int = 0
    error: TransitError | None = None


class Audited(msgspec.Struct, frozen=True):
    """The audit of one store: its report, or why there is none."""

    member: Member
    report: Report | None
    error: TransitError | None

    @property
    def ok(self) -> bool:
        """Whether it was audited, and nothing was found."""
        return self.report is not None and self.report.ok


class FleetReport(msgspec.Struct, frozen=True):
    """The audits of all stores. unreadable: members whose object says nothing of a store."""

    stores: tuple[Audited, ...]
    unreadable: tuple[Unreadable, ...]

    @property
    def ok(self) -> bool:
        """Whether every store was audited, and nothing was found."""
        return not self.unreadable and all(each.ok for each in self.stores)


class Fleet(Planned):
    """The stores below one prefix; made by `fleet.open` or `fleet.create`. Safe for threads."""

    def __init__(
        self,
        url: str,
        storage_options: Mapping[str, object] | None,
        settings: Settings | None,
        keyring: Keyring | None,
    ) -> None:
        self.how: dict[str, Any] = {
            "storage_options": storage_options, "settings": settings, "keyring": keyring,
        }  # fmt: skip
        self._objects = open_store(url, storage_options, timeout_of(settings))
        self.url = whole_address(url)

    def __repr__(self) -> str:
        return f"<transit.fleet.Fleet {self._objects.url}>"

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def traffic(self) -> Traffic:
        """The requests made for the fleet's own objects; stores that were opened count theirs."""
        return self._objects.traffic

    def close(self) -> None:
        """Give connections back; stores that were opened stay open."""
        self._objects.close()

    # Members

    def record(
        self,
        folder: str | os.PathLike[str],
        *,
        name: str = "",
        labels: Mapping[str, str] | None = None,
        **how: Any,
    ) -> Log:
        """Open a store in a folder, made where there is none, that is a member and publishes here.

        name: what people call it; "": the host's name. labels: text to text, kept with it. Both are
        of the first time. how: what `transit.open` takes besides `remote`, `storage_options` and
        `settings`. `InvalidInputError` for a store that is retired.
        """
        remote = self.join(folder, name=name, labels=labels, **how)
        return transit.open(folder, remote=remote, **{**self.how, **how})

    def join(
        self,
        folder: str | os.PathLike[str],
        *,
        name: str = "",
        labels: Mapping[str, str] | None = None,
        **how: Any,
    ) -> str:
        """Make the store in a folder a member; the address of its remote. As `record` otherwise.

        The store need not be at hand for writing: another process may hold it.
        """
        checked = _labels(labels or {})
        store = store_in(folder)
        if store is None:
            # It asks no remote yet.
            given = {**self.how, **how, "storage_options": None, "durability": "os"}
            with transit.open(folder, **given) as log:
                store = log.store_id
        if read(self._objects, retired_key(store), Retired) is not None:
            raise InvalidInputError(f"store {store} in {os.fspath(folder)} is retired")
        if read(self._objects, member_key(store), Member) is None:
            host = platform.node()
            member = Member(store, _text(name or host, "a name"), host, time.time_ns(), checked)
            make_once(self._objects, member_key(store), member, Member)
        return store_url(self.url, store)

    def remote_of(self, folder: str | os.PathLike[str]) -> str | None:
        """The address that the store in a folder has as a member; None where there is no store."""
        store = store_in(folder)
        return None if store is None else store_url(self.url, store)

    def members(
        self, *, labels: Mapping[str, str] | None = None, retired: bool = False
    ) -> Iterator[Member]:
        """The members, by their ids. labels: those that have all of these. retired: those too.

        One whose object is damaged is left out: `status`, `audit`, `cut` and plans tell it.
        """
        for each in members_of(self._objects):
            if not isinstance(each, Member) or not each.has(labels or {}):
                continue
            if retired or each.retired is None:
                yield each

    def member(self, store: str) -> Member:
        """The member of this id or, where one alone has it, of this name; or `NotFoundError`."""
        found = [each for each in self.members(retired=True) if store in (each.store, each.name)]
        exact = [each for each in found if each.store == store]
        if len(exact or found) != 1:
            what = "no member" if not found else f"{len(found)} members"
            raise NotFoundError(f"{self!r} has {what} {store!r}")
        return (exact or found)[0]

    def retire(self, store: str, *, by: str = "", reason: str = "") -> Member:
        """Say that nobody writes a store any more. Its records stay, and are read on request."""
        member = self.member(store)
        said = Retired(member.store, time.time_ns(), _text(by, "by"), _text(reason, "a reason"))
        made = make_once(self._objects, retired_key(member.store), said, Retired)
        return msgspec.structs.replace(member, retired=made)

    # Stores

    def address(self, store: str) -> str:
        """The address of the remote that a member of this id has."""
        return store_url(self.url, store)

    def open(self, member: Member | str) -> Log:
        """What a member has published, opened for reading, without a folder."""
        store = member.store if isinstance(member, Member) else self.member(member).store
        return transit.open(self.address(store), mode="read", **self.how)

    def each(
        self,
        look: Callable[[Member], T],
        failed: Callable[[Member, TransitError], U],
        *,
        retired: bool,
        named: Iterable[str] = (),
    ) -> tuple[T | U, ...]:
        """What is found of each member, in the order of their ids, several at once.

        failed: what to say of one where `look` raised `TransitError`, or whose object cannot be
        read: then all but its id is unknown. named: ids of members that a listing may lack.
        """

        def one(each: Listed) -> T | U:
            member = member_of(self._objects, each)
            if isinstance(member, Unreadable):
                return failed(Unknown(each.store, each.store, "", 0), member.error)
            try:
                return look(member)
            except TransitError as error:
                return failed(member, error)

        asked = [e for e in listed(self._objects, named) if retired or not e.is_retired]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return tuple(pool.map(one, asked))

    def status(self, *, retired: bool = False) -> tuple[StoreStatus, ...]:
        """How each store stands, those that cannot be read too."""

        def look(member: Member) -> StoreStatus:
            with self.open(member) as log:
                found = log.status()
            return StoreStatus(
                member,
                found.commits,
                found.head,
                found.streams,
                found.records,
                found.segment_bytes,
            )

        return self.each(look, lambda member, e: StoreStatus(member, error=e), retired=retired)

    def find(self, stream: str, *, retired: bool = True) -> tuple[Found, ...]:
        """The stores that have a stream of this name, and those of which that is not known."""

        def look(member: Member) -> Found | None:
            with self.open(member) as log:
                if stream not in log:
                    return None
                found = log.stream(stream)
                return Found(member, found.uid, len(found))

        looked = self.each(look, lambda member, e: Found(member, error=e), retired=retired)
        return tuple(each for each in looked if each is not None)

    def audit(self, level: str = "bodies", *, retired: bool = True) -> FleetReport:
        """Audit each store, as `transit.audit` does; one that fails hides no other."""

        def look(member: Member) -> Audited:
            report = transit.audit(self.address(member.store), level, **self.how)
            return Audited(member, report, None)

        def failed(member: Member, error: TransitError) -> Audited | Unreadable:
            if isinstance(member, Unknown):
                return Unreadable(member.store, error)
            return Audited(member, None, error)

        found = self.each(look, failed, retired=retired)
        return FleetReport(
            tuple(each for each in found if isinstance(each, Audited)),
            tuple(each for each in found if isinstance(each, Unreadable)),
        )

    def cut(self, *, retired: bool = True) -> Cut:
        """Which root each store has now."""
        stores, missing = {}, {}
        for each in self.status(retired=retired):
            if each.error is None:
                stores[each.member.store] = Head(each.commits, each.root)
            else:
                missing[each.member.store] = told(each.error)
        return Cut(stores, missing)

    # Snapshots

    def snapshot(self) -> Snapshot:
        """Write down what all stores have published, and in which blocks; what was written.

        Only what is new since the last one is asked for. Where another process wrote one
        meanwhile, that one.
        """
        before = newest(self._objects)
        known = {} if before is None else {table.store: table for table in before.tables}

        def look(member: Member) -> tuple[Member, StoreTable]:
            with self.open(member) as log:
                return member, table_of(log, known=known.get(member.store))

        def failed(member: Member, error: TransitError) -> tuple[Member, str]:
            return member, told(error)

        found = self.each(look, failed, retired=True)
        taken = before.number + 1 if before is not None else 0
        made = Snapshot(
            max([taken, *(each + 1 for each in numbers(self._objects))]),
            time.time_ns(),
            tuple(member for member, _ in found),
            tuple(table for _, table in found if isinstance(table, StoreTable)),
            {member.store: why for member, why in found if isinstance(why, str)},
        )
        if write(self._objects, made):
            return made
        return newest(self._objects) or made

    def newest_snapshot(self) -> Snapshot | None:
        """The newest snapshot; None where there is none."""
        return newest(self._objects)

    def news(self, since: Cut | Snapshot) -> frozenset[str]:
        """The ids of members of which there is more to say than a cut or a snapshot says.

        They published something since; or they are not in it, and can be read; or, of a snapshot,
        they were retired since. Takes two listings, and one request for each store that is in it:
        whether its next commit is there. No damage to these is found.
        """
        heads = (since.cut if isinstance(since, Snapshot) else since).stores
        known = listed(self._objects)
        members = {each.store for each in known}
        found: set[str] = set()
        if isinstance(since, Snapshot):
            written = {each.store for each in since.members if each.retired is None}
            found = written & {each.store for each in known if each.is_retired}

        def look(store: str) -> bool:
            head = heads.get(store)
            if head is None:
                return self._can_be_read(store)
            return self._objects.size(commit_key(store, head.commits)) is not None

        with ThreadPoolExecutor(AT_ONCE) as pool:
            looked = sorted(members - found)
            answers = pool.map(look, looked)
            found |= {store for store, is_new in zip(looked, answers, strict=True) if is_new}
        return frozenset(found)

    def _can_be_read(self, store: str) -> bool:
        try:
            if read(self._objects, member_key(store), Member) is None:
                return False
            with transit.open(self.address(store), mode="read", **self.how):
                return True
        except TransitError:
            return False


def store_in(folder: str | os.PathLike[str]) -> str | None:
    """The id of the store in a folder; None where there is none."""
    try:
        with transit.open(folder, mode="read") as log:
            return log.store_id
    except NotFoundError:
        return None


def create(
    url: str,
    *,
    storage_options: Mapping[str, object] | None = None,
    settings: Settings | None = None,
    keyring: Keyring | None = None,
) -> Fleet:
    """The fleet at a prefix; made where there is none.

    url, storage_options: as `transit.open_store` takes them. settings, keyring: of its stores; how
    long a request may take is for the fleet's own objects, too.
    """
    fleet = Fleet(url, storage_options, settings, keyring)
    _check(make_once(fleet._objects, FLEET_KEY, _Kind(), _Kind), fleet)
    return fleet


def open(
    url: str,
    *,
    storage_options: Mapping[str, object] | None = None,
    settings: Settings | None = None,
    keyring: Keyring | None = None,
) -> Fleet:
    """The fleet at a prefix; `NotFoundError` where there is none. Otherwise as `create`."""
    fleet = Fleet(url, storage_options, settings, keyring)
    found = read(fleet._objects, FLEET_KEY, _Kind)
    if found is None:
        raise NotFoundError(f"{fleet._objects.url} is no fleet: `fleet.create` makes one")
    _check(found, fleet)
    return fleet


def _check(found: _Kind, fleet: Fleet) -> None:
    place = f"{fleet._objects.url}/{FLEET_KEY}"
    if found.kind != _Kind().kind:
        raise InvalidInputError(f"{place} is of {found.kind!r}, and no fleet's")
    if found.format != _Kind().format:
        raise transit.UnsupportedVersionError(place, found=found.format, supported=1)


def _labels(labels: Mapping[str, str]) -> dict[str, str]:
    if len(labels) > _LABELS_MAX:
        raise InvalidInputError(f"{len(labels)} labels; {_LABELS_MAX} at most")
    return {_text(key, "a label"): _text(value, "a label") for key, value in labels.items()}


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or len(value) > _TEXT_MAX:
        raise InvalidInputError(f"{what} must be text of at most {_TEXT_MAX} characters")
    return check_text(value, what)
