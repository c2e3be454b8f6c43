"""What is planned and exported alike of a fleet and of a store alone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final, TypeVar

import transit
from transit import Keyring, Log, Settings, TransitError
from transit.fleet.catalogs import Iceberg
from transit.fleet.cuts import Cut
from transit.fleet.exporting import Exported, export
from transit.fleet.making import Making, Stores, check_prefix, moment
from transit.fleet.members import Member
from transit.fleet.places import whole_address
from transit.fleet.planning import Asked, By, Plan
from transit.fleet.snapshots import Snapshot

T = TypeVar("T")
U = TypeVar("U")
FILE_BYTES: Final = 128 << 20


class Planned(Stores):
    """Stores whose records are planned and exported."""

    def plan(  # noqa: PLR0913 - as many things say which records, and how they are cut
        self,
        *,
        bytes_per_part: int | None = None,
        n: int | None = None,
        streams: str = "",
        since: datetime | int | None = None,
        until: datetime | int | None = None,
        by: By = "blocks",
        at: Cut | Snapshot | None = None,
        after: Cut | None = None,
        labels: Mapping[str, str] | None = None,
        missing_ok: bool = False,
    ) -> Plan:
        """The published records of the stores, in parts that any engine maps over: see `read`.

        bytes_per_part: how large a part is about, as stored; None: 64 MiB. n: instead, into how
        many about; each store that has records has one at least.
        streams: those whose names begin so. since, until: records written at `since` or later, and
        before `until`: a datetime with a zone or UTC nanoseconds by the engine's clock.
        by: "blocks": each record once, where it was appended. "stream": whole streams, each with
        what it inherits, in one part.
        at: as of this cut, whose stores are looked for, whatever a listing says; or of a snapshot,
        which asks no store, and is believed what it says; None: of now. after: what was published
        after this cut alone, of a plan by blocks; where stores are asked, `CorruptError` for one of
        another history.
        labels: of the members that have all of these. Retired stores are read, too.
        missing_ok: leave stores out that cannot be read, and name them in the plan's cut; else the
        first error is raised.
        """
        asked = Asked(check_prefix(streams), moment(since, "since"), moment(until, "until"))
        making = Making(self, asked, by, at, after, labels or {}, missing_ok=missing_ok)
        return making.plan(bytes_per_part, n)

    def export(
        self,
        url: str,
        *,
        storage_options: Mapping[str, object] | None = None,
        streams: str = "",
        bytes_per_file: int = FILE_BYTES,
        labels: Mapping[str, str] | None = None,
        missing_ok: bool = False,
        iceberg: Iceberg | None = None,
    ) -> Exported:
        """Write what was published since the last export to `url` as Parquet files there.

        url, storage_options: as `transit.open_store` takes them. streams, labels, missing_ok: as of
        `plan`; streams is of the first export. bytes_per_file: of the records of a file as they are
        stored here. iceberg: a table that has the same files afterwards, by one commit. See
        `transit.fleet.exporting` and `transit.fleet.iceberg`.
        Raises what reading raises, `InvalidInputError` where the place or the table is of another
        export, `ConflictError` where another process exported meanwhile, or wrote to the table,
        `StoreUnavailableError` where the catalog fails; `ImportError` without pyarrow.
        """
        return export(
            self, url, storage_options, check_prefix(streams), bytes_per_file, labels, missing_ok,
            iceberg,
        )  # fmt: skip


class OneStore(Planned):
    """A store alone, planned and exported as a fleet is; made by `transit.fleet.of_store`."""

    def __init__(
        self,
        place: str | os.PathLike[str],
        storage_options: Mapping[str, object] | None,
        settings: Settings | None,
        keyring: Keyring | None,
    ) -> None:
        self.url = whole_address(place)
        self.how: dict[str, object] = {
            "storage_options": storage_options, "settings": settings, "keyring": keyring,
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"<transit.fleet.OneStore {self.url}>"

    def address(self, store: str) -> str:
        """Where the store is."""
        return self.url

    def open(self, member: Member | str) -> Log:
        """The store, for reading."""
        return transit.open(self.url, mode="read", **self.how)  # type: ignore[arg-type]

    def each(
        self,
        look: Callable[[Member], T],
        failed: Callable[[Member, TransitError], U],
        *,
        retired: bool,
        named: Iterable[str] = (),
    ) -> tuple[T | U, ...]:
        """What is found of it; of a cut of more stores, it is looked at alone."""
        with self.open("") as log:
            member = Member(log.store_id, "", "", time.time_ns())
        try:
            return (look(member),)
        except TransitError as error:
            return (failed(member, error),)


def of_store(
    place: str | os.PathLike[str],
    *,
    storage_options: Mapping[str, object] | None = None,
    settings: Settings | None = None,
    keyring: Keyring | None = None,
) -> OneStore:
    """A store alone, in a folder or published at an address, to be planned and exported.

    What is not sealed yet is not planned.
    """
    return OneStore(place, storage_options, settings, keyring)
