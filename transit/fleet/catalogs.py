"""Iceberg's catalogs: opened from what a user gives, with the options of a bucket, by pyiceberg.

Owns what the catalog's and its files' errors mean. What is registered in a table, and when, is in
`transit.fleet.iceberg`. No message has a catalog's address or properties: they may hold a password.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from transit import (
    InvalidInputError,
    ObjectStore,
    StorePermissionError,
    StoreUnavailableError,
    TransitError,
)

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

TABLE: Final = "transit.records"
# What a catalog that is given by its URI or properties is called: part of the key in SQL catalogs.
_NAME: Final = "transit"
_URIS: Final = ("sqlite", "postgresql", "http", "thrift")
_SQL: Final = ("sqlite", "postgresql")
# What fsspec's file system of S3 calls them, and what pyiceberg does.
_S3: Final = {
    "key": "s3.access-key-id", "secret": "s3.secret-access-key", "token": "s3.session-token",
    "endpoint_url": "s3.endpoint", "profile": "s3.profile-name", "anon": "s3.anonymous",
    "region_name": "s3.region",
}  # fmt: skip


@dataclass(frozen=True)
class Iceberg:
    """A table of an Iceberg catalog, for `export`.

    catalog: a name that pyiceberg knows, from ~/.pyiceberg.yaml or PYICEBERG_CATALOG__<NAME>__URI;
    a URI: sqlite:////path/catalog.db, postgresql://…, https://… of a REST catalog, thrift://…; the
    properties that `pyiceberg.catalog.load_catalog` takes, by name; or a catalog that it opened.
    table: namespace.table; both are made where they are not there.

    Given by its URI or properties, a catalog is called "transit", unless the properties have a
    `name`; and a catalog in SQL that has no `warehouse` keeps tables below iceberg/ in the place of
    the export. It is told storage options of S3 that it does not say itself, unless it was open.
    """

    catalog: str | Mapping[str, str] | Catalog = field(repr=False)
    table: str = TABLE


def identifier(given: Iceberg) -> tuple[str, ...]:
    """The namespace and name of the table; `InvalidInputError` for what is none."""
    names = tuple(given.table.split(".")) if isinstance(given.table, str) else ()
    if len(names) < 2 or not all(names):
        raise InvalidInputError(f"a table of Iceberg is NAMESPACE.TABLE, not {given.table!r:.200}")
    return names


@contextmanager
def open_catalog(given: Iceberg, place: str, options: Mapping[str, object]) -> Iterator[Catalog]:
    """The catalog, for files at `place`, a URL; closed in the end, unless it was given open.

    options: of the file system there. `InvalidInputError` for no catalog, and without pyiceberg.
    """
    try:
        # It is an extra.
        from pyiceberg.catalog import Catalog, load_catalog
    except ImportError:
        raise InvalidInputError("Iceberg needs pyiceberg: pip install 'transit[iceberg]'") from None
    if isinstance(given.catalog, Catalog):
        yield given.catalog
        return
    found = _properties(given.catalog, place)
    with answered("catalog"):
        try:
            catalog = load_catalog(**found)
        except ValueError:
            # Its text may have the properties.
            raise _no_catalog(given.catalog) from None
    for name, value in _of_files(place, options).items():
        # What is said of the catalog itself comes first.
        catalog.properties.setdefault(name, value)
    try:
        yield catalog
    finally:
        catalog.close()


def _properties(given: object, place: str) -> dict[str, Any]:
    """What `load_catalog` is given."""
    if isinstance(given, Mapping):
        found = {"name": _NAME, **given}
    elif not isinstance(given, str) or not given:
        raise _no_catalog(given)
    elif "://" not in given:
        return {"name": given}
    elif not given.startswith(_URIS):
        raise _no_catalog(given)
    else:
        found = {"name": _NAME, "uri": given}
    if str(found.get("uri", "")).startswith(_SQL):
        found.setdefault("warehouse", f"{place}/iceberg")
    return found


def _no_catalog(given: object) -> InvalidInputError:
    if isinstance(given, str) and "://" not in given and given:
        return InvalidInputError(
            f"no Iceberg catalog {given!r:.200}: name it in ~/.pyiceberg.yaml or by"
            f" PYICEBERG_CATALOG__{given.upper():.200}__URI"
        )
    return InvalidInputError(
        "not an Iceberg catalog: give a name that pyiceberg knows, sqlite:////path/catalog.db,"
        " postgresql://…, https://… or thrift://…, or properties that it takes"
    )


def _of_files(place: str, options: Mapping[str, object]) -> dict[str, str]:
    """pyiceberg's properties for files at `place`, of the options that fsspec has for them."""
    if not place.startswith("s3"):
        return {}
    of_client = options.get("client_kwargs")
    said = {**(of_client if isinstance(of_client, Mapping) else {}), **options}
    if said.get("endpoint_url") is not None:
        # Without one, Amazon is asked where the bucket is.
        said = {"region_name": "us-east-1", **said}
    return {name: str(said[key]) for key, name in _S3.items() if said.get(key) is not None}


def told_by(store: ObjectStore) -> dict[str, object]:
    """The options of a file system that a store knows by now, whoever said them to its client.

    Amazon's own addresses are left to pyiceberg, which knows them too.
    """
    server, endpoint = getattr(store, "server", ""), getattr(store, "endpoint_url", "")
    region = getattr(store, "region", "")
    found = {"endpoint_url": "" if server == "amazonaws.com" else endpoint, "region_name": region}
    return {name: value for name, value in found.items() if value}


@contextmanager
def answered(what: str) -> Iterator[None]:
    """Make errors of a catalog, or of the files it reads, transit's. what: says whose they are."""
    try:
        yield
    except TransitError:
        raise
    # The libraries below a catalog have no root of their errors in common.
    except Exception as error:
        # Only here: it is an extra.
        from pyiceberg import exceptions

        message = f"Iceberg {what}: {type(error).__name__}: {error}"
        if isinstance(error, ImportError | exceptions.NotInstalledError):
            raise InvalidInputError(message) from error
        refused = exceptions.UnauthorizedError, exceptions.ForbiddenError, exceptions.OAuthError
        if isinstance(error, (PermissionError, *refused)):
            raise StorePermissionError(message) from error
        raise StoreUnavailableError(message) from error
