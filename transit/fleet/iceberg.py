"""Iceberg: a table that has the files of the newest export, changed by one commit an export.

The files stay where the export wrote them; the table names them. What differs between the files
that it names and those that count is added and taken away in one commit, so that a reader sees each
record once, before and after. It is made only if the table is as it was when it was compared; else
it is compared again. So a run that was killed is caught up by the next, and no file is named twice.

    transit.export         of a snapshot: the number of the export whose files it names
    transit.export.url     of the table: where the export is
    transit.export.began   of the table: when its export 0 was made, UTC nanoseconds

A table that has not these two, or others, is not touched, nor one that names files of elsewhere, or
of which rows were deleted by something else.

A commit that takes files away lets go of all snapshots before it, as they name what is removed, but
for those that a tag or a branch holds; and then removes the lists of files that were only theirs.
The catalog's commits are not tried again by pyiceberg: it would add the same files once more.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import unquote

import msgspec

from transit import ConflictError, CorruptError, InvalidInputError, ObjectStore, open_store
from transit.fleet.catalogs import Iceberg, answered, identifier, open_catalog, told_by
from transit.fleet.exports import DATA, Export, columns, export_at, newest_export

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

EXPORT: Final = "transit.export"
URL: Final = "transit.export.url"
BEGAN: Final = "transit.export.began"
_RETRIES: Final = "commit.retry.num-retries"
_NAMES: Final = "schema.name-mapping.default"
_PROPERTIES: Final = {
    _RETRIES: "0",
    # Else a table has one list of files for each export.
    "commit.manifest-merge.enabled": "true",
    "write.metadata.delete-after-commit.enabled": "true",
    # Beginnings of payloads stay out of what stays when a file goes.
    "write.metadata.metrics.column.payload": "counts",
}
_TRIES: Final = 6
_WAIT_S: Final = 0.1
_FILES_AT_ONCE: Final = 16


class Registered(msgspec.Struct, frozen=True):
    """An Iceberg table that has the files of an export.

    table: namespace and name. export: the number. snapshot: the id of the table's, None where it
    never had a file. added, removed: how many files this time; expired: how many snapshots.
    """

    table: str
    export: int
    snapshot: int | None
    added: int = 0
    removed: int = 0
    expired: int = 0


def register(
    url: str, given: Iceberg, storage_options: Mapping[str, object] | None = None
) -> Registered:
    """Have a table name the files of the newest export at `url`; see `Registration.run`."""
    target = open_store(url, storage_options)
    try:
        with Registration(target, given, storage_options or {}) as found:
            return found.run()
    finally:
        target.close()


class Registration:
    """The table of the export at `target`; the catalog is open until `close`.

    options: of the file system there. `InvalidInputError` for no catalog or name of a table.
    """

    def __init__(self, target: ObjectStore, given: Iceberg, options: Mapping[str, object]) -> None:
        self._target, self._table = target, identifier(given)
        self._name = ".".join(self._table)
        # pyiceberg takes paths as they are spelled.
        self._place = unquote(target.url) if target.url.startswith("file:") else target.url
        if {"#", "?"} & set(self._place):
            raise InvalidInputError(f"{target.url}: Iceberg's addresses have no '#' and no '?'")
        self._stack = ExitStack()
        known = {**told_by(target), **options}
        self._catalog = self._stack.enter_context(open_catalog(given, self._place, known))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the catalog, unless the user opened it."""
        self._stack.close()

    def check(self) -> None:
        """`InvalidInputError` where the table is another's; it need not be there."""
        with answered(f"table {self._name}"):
            self._load()

    def run(self) -> Registered:
        """Have the table name the files of the newest export, of which there is one.

        `ConflictError` where others write to it again and again; what `check` raises.
        """
        with answered(f"table {self._name}"):
            # Only here: it is an extra.
            from pyiceberg import exceptions

            again = (
                exceptions.CommitFailedException, exceptions.CommitStateUnknownException,
                exceptions.ValidationException, exceptions.TableAlreadyExistsError,
                # Of lists and files that another exporter took away meanwhile.
                FileNotFoundError,
            )  # fmt: skip
            for attempt in range(_TRIES):
                try:
                    return self._once()
                except again as error:
                    why = error
                time.sleep(_WAIT_S * 2**attempt * random.random())
        raise ConflictError(f"Iceberg table {self._name}: {why}") from why

    def _once(self) -> Registered:
        table = self._load() or self._make()
        # After the table: so it never goes back to an export before the one it has.
        newest = newest_export(self._target)
        if newest is None:
            raise self._lacks("an export")
        had, snapshot = _state(table)
        if had == newest.number:
            return Registered(self._name, had, snapshot)
        if had > newest.number:
            raise self._not_ours(f"has export {had}, and the newest there is {newest.number}")
        wanted = {f"{self._place}/{file.key}" for file in newest.files if file.key}
        there = self._files(table)
        added = sorted(wanted - there.keys())
        removed = [there[path] for path in sorted(there.keys() - wanted)]
        if not added and not removed:
            return Registered(self._name, newest.number, snapshot)
        before = table.snapshots()
        _commit(table, newest.number, added, removed)
        kept = {each.snapshot_id for each in table.snapshots()}
        expired = [each for each in before if each.snapshot_id not in kept]
        _remove_lists(table, expired)
        return Registered(
            self._name, newest.number, _state(table)[1], len(added), len(removed), len(expired)
        )

    # The table

    def _load(self) -> Table | None:
        """The table; None where there is none. `InvalidInputError` for one that is another's."""
        # Only here: it is an extra.
        from pyiceberg.exceptions import NoSuchTableError

        try:
            table = self._catalog.load_table(self._table)
        except NoSuchTableError:
            return None
        first = export_at(self._target, 0)
        if URL not in table.properties:
            raise self._not_ours("was made by something else")
        if table.properties[URL] != self._place or first is None or _began(first) != _of(table):
            raise self._not_ours(f"is of another export, at {table.properties[URL]}")
        if table.properties.get(_RETRIES) != _PROPERTIES[_RETRIES]:
            with table.transaction() as transaction:
                transaction.set_properties({_RETRIES: _PROPERTIES[_RETRIES]})
        return table

    def _make(self) -> Table:
        first = export_at(self._target, 0)
        if first is None:
            raise self._lacks("export 0")
        self._catalog.create_namespace_if_not_exists(self._table[:-1])
        properties = {**_PROPERTIES, URL: self._place, BEGAN: _began(first)}
        return self._catalog.create_table(self._table, columns(), properties=properties)

    def _files(self, table: Table) -> dict[str, Any]:
        """The data files of a table by their addresses; `InvalidInputError` for others' work."""
        found = {}
        for task in table.scan().plan_files():
            if task.delete_files:
                raise self._not_ours("has rows that something else deleted")
            path = task.file.file_path
            if not path.startswith(f"{self._place}/{DATA}"):
                raise self._not_ours(f"names files that are not of the export: {path}")
            found[path] = task.file
        return found

    def _not_ours(self, why: str) -> InvalidInputError:
        return InvalidInputError(f"Iceberg table {self._name} {why}: name another table")

    def _lacks(self, what: str) -> CorruptError:
        return CorruptError(self._target.url, expected=what, found="none")


def _began(first: Export) -> str:
    return str(first.at)


def _of(table: Table) -> str:
    return str(table.properties.get(BEGAN))


def _state(table: Table) -> tuple[int, int | None]:
    """The export whose files a table names, -1 where it does not say, and its snapshot's id."""
    now = table.current_snapshot()
    if now is None:
        return -1, None
    said = None if now.summary is None else now.summary[EXPORT]
    return -1 if said is None else int(said), now.snapshot_id


def _commit(table: Table, number: int, added: Sequence[str], removed: Sequence[Any]) -> None:
    """Add files, take others away, and let go of the snapshots that name those: one commit."""
    # Only here: it is an extra.
    from pyiceberg.io.pyarrow import parquet_file_to_data_file

    # This, too.
    from pyiceberg.table.update.snapshot import ExpireSnapshots

    with table.transaction() as transaction:
        if table.name_mapping() is None:
            # The files have no ids of columns, so they are read by names.
            names = table.schema().name_mapping
            transaction.set_properties({_NAMES: names.model_dump_json()})
        about = transaction.table_metadata

        def described(path: str) -> Any:
            return parquet_file_to_data_file(table.io, about, path)

        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            files = list(pool.map(described, added))
        change = transaction.update_snapshot(snapshot_properties={EXPORT: str(number)})
        with change.overwrite() if removed else change.merge_append() as update:
            for file in files:
                update.append_data_file(file)
            for file in removed:
                update.delete_data_file(file)
        if removed:
            now = transaction.table_metadata
            held = {ref.snapshot_id for ref in now.refs.values()}
            old = [each.snapshot_id for each in now.snapshots if each.snapshot_id not in held]
            ExpireSnapshots(transaction).by_ids(old).commit()


def _remove_lists(table: Table, expired: Sequence[Snapshot]) -> None:
    """Remove the lists of files that only these snapshots had."""
    used = set().union(*(_lists(table, each) for each in table.snapshots())) if expired else set()
    for path in sorted(set().union(*(_lists(table, each) for each in expired)) - used):
        table.io.delete(path)


def _lists(table: Table, snapshot: Snapshot) -> set[str]:
    paths = {each.manifest_path for each in snapshot.manifests(table.io)}
    return {str(snapshot.manifest_list), *paths}
