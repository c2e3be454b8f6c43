"""The columns that a reader of parts asks for: those of records, or declared ones with types.

Owns their names and types, which are known before anything is read. Declared columns are those of
`transit.views` by the same names, with `_store` before them; so a table of them has the rows that a
query of one store sees, of all stores.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

from transit import InvalidInputError
from transit.views.scans.declaring import Columns
from transit.views.scans.fields import ERROR, OFFSET, STREAM, TIME

if TYPE_CHECKING:
    import pyarrow

    from transit.views.scans.arrows import Declaration

COLUMNS: Final = (
    "store", "stream", "offset", "timestamp", "headers", "payload", "origin_stream",
    "origin_offset", "written", "writer",
)  # fmt: skip
"""All columns of records: the first two, and those of `Batch.to_arrow`."""
STORE: Final = "_store"
_DECODERS_KEPT: Final = 64


class Wanted(msgspec.Struct, frozen=True):
    """Columns that are read, in their order. It travels to workers.

    names: of `COLUMNS`; or of `_store` and the columns of `declared`.
    """

    names: tuple[str, ...]
    declared: Columns | None = None

    def some(self, names: Iterable[str]) -> Wanted:
        """Some of them, in this order."""
        return Wanted(tuple(names), self.declared)

    def schema(self) -> pyarrow.Schema:
        """Their Arrow schema. Columns that are declared have the types of `Columns`, and text is
        no dictionary but for `_store` and `_stream`.
        """
        import pyarrow as pa  # It is an extra.

        text = pa.dictionary(pa.int32(), pa.string())
        moment = pa.timestamp("ns", tz="UTC")
        types = {
            "store": text, "stream": text, "offset": pa.int64(), "timestamp": moment,
            "headers": pa.map_(pa.string(), pa.string()), "payload": pa.large_binary(),
            "origin_stream": text, "origin_offset": pa.int64(), "written": moment, "writer": text,
        }  # fmt: skip
        if self.declared is not None:
            types = {STORE: text, STREAM: text, OFFSET: pa.int64(), TIME: moment}
            types |= self.declaration().types
        return pa.schema([(name, types[name]) for name in self.names])

    def plain_schema(self) -> pyarrow.Schema:
        """The same; text is text, as engines do not sort dictionaries."""
        import pyarrow as pa  # It is an extra.

        return pa.schema(
            field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
            for field in self.schema()
        )

    def declaration(self) -> Declaration:
        """What reads all that is declared; `LookupError` where nothing is."""
        if self.declared is None:
            raise LookupError("no columns are declared")
        return _declaration(self.declared)

    def decoder(self) -> Declaration | None:
        """What reads those declared columns that are wanted, and None where none are.

        `_error` tells of all columns, so that all are read for it.
        """
        own = set(self.names) - {STORE, STREAM, OFFSET, TIME}
        if self.declared is None or not own:
            return None
        if ERROR in own or not self.declared.fields:
            return self.declaration()
        return _some_of(self.declared, frozenset(own))


@lru_cache(_DECODERS_KEPT)
def _declaration(columns: Columns) -> Declaration:
    # Loaded here because pyarrow is an extra and slow to load.
    from transit.views.scans.arrows import declaration_of

    # It takes longer to make than to decode a few records, and each task brings equal columns.
    return declaration_of(columns)


@lru_cache(_DECODERS_KEPT)
def _some_of(columns: Columns, names: frozenset[str]) -> Declaration:
    # Loaded here for the same reason.
    from transit.views.scans.arrows import some_of

    return some_of(columns, names)


def wanted_of(
    columns: Sequence[str] | Columns | None,
    select: Sequence[str] | None = None,
    known: tuple[str, ...] = COLUMNS,
) -> Wanted:
    """The columns asked for.

    columns: names of `known`, None: all; or columns that are declared, and then select: which of
    these, None: all. `InvalidInputError` for one there is not.
    """
    if isinstance(columns, Columns):
        return Wanted(_checked(select, "select", (STORE, *columns.names)), columns)
    if select is not None:
        raise InvalidInputError("select goes with declared columns: name others in columns")
    return Wanted(_checked(columns, "columns", known))


def _checked(names: Sequence[str] | None, what: str, known: tuple[str, ...]) -> tuple[str, ...]:
    if names is None:
        return known
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise InvalidInputError(f"{what} must be a sequence of names, not {names!r}")
    for name in names:
        if name not in known:
            raise InvalidInputError(f"no column {name!r}; there are: {', '.join(known)}")
    return tuple(names)
