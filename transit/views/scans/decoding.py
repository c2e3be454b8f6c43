"""Payloads to columns, many records at a time.

Owns how a JSON payload becomes a row. Each payload is decoded by itself, whatever bytes it holds:
one that is damaged, or made to look like two, changes its own row only. A payload that is no object
has NULL in all columns; one with a value that is not of its column's type, or without one that must
be there, has NULL in that column. `_error` says why. What no column reads is not looked at.

A record costs about what msgspec takes for it: Python code runs for those that have an error, and
for columns that are read from inside of members.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final, NoReturn

import msgspec

from transit.views.scans.fields import Field, Path, has_enum, shown

ERROR_CHARACTERS_MAX: Final = 200
_BAD: Final = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)
_PLAIN: Final = (type(None), str, int, float, bool)
_AS_THEY_ARE: Final = (str, int, float, bool)
_NO_RAW: Final = msgspec.Raw(b"")
Values = list[Any]
"""Of one column, one a record."""
_Members = dict[str, Values]


class RowDecoder:
    """Decodes payloads to columns. Safe for threads.

    fields: that are declared. only: the names of those that are decoded, as they are beside the
    others; None: all.
    """

    def __init__(self, fields: Sequence[Field], only: Collection[str] | None = None) -> None:
        self._declared = fields
        self._fields = [each for each in fields if only is None or each.name in only]
        # A member's attribute, by its name, and the type of those that one field reads as it is.
        self._attributes: dict[str, str] = {}
        types: dict[str, Any] = {}
        for field in fields:
            for path in field.paths:
                key = str(path[0])
                attribute = self._attributes.setdefault(key, f"m{len(self._attributes)}")
                plain = len(path) == 1 and types.get(attribute, field.type) == field.type
                types[attribute] = field.type if plain else Any
        self._types = types
        self._readers = [self._reader(field) for field in self._fields]
        # How a member is read does not depend on which columns are decoded.
        read = {str(path[0]) for field in self._fields for path in field.paths}
        self._attributes = {key: each for key, each in self._attributes.items() if key in read}
        members = [self._member(key, attribute) for key, attribute in self._attributes.items()]
        row: Any = msgspec.defstruct("Row", members, kw_only=True, gc=False)
        self._decode = msgspec.json.Decoder(row).decode
        self._blank = row(**dict.fromkeys(self._attributes.values()))
        self._names = tuple(row.__struct_fields__)
        self._members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

    def _member(self, key: str, attribute: str) -> tuple[str, Any, Any]:
        kind, field = self._types[attribute], self._plain_field(attribute)
        if field is not None and field.required:
            return attribute, kind, msgspec.field(name=key)
        if kind is Any:
            return attribute, kind, msgspec.field(name=key, default=None)
        if kind is msgspec.Raw:
            return attribute, kind, msgspec.field(name=key, default=_NO_RAW)
        if field is None or field.takes_null:
            return attribute, kind | None, msgspec.field(name=key, default=None)
        if _is_shown_as_it_is(field):
            return attribute, kind, msgspec.field(name=key, default=field.default)
        return attribute, kind | msgspec.UnsetType, msgspec.field(name=key, default=msgspec.UNSET)

    def _plain_field(self, attribute: str) -> Field | None:
        """The field that takes the member's value as it is, and no other."""
        for field in self._declared:
            if len(field.paths) == 1 and len(field.paths[0]) == 1:
                key = str(field.paths[0][0])
                if self._attributes.get(key) == attribute and self._types[attribute] is not Any:
                    return field
        return None

    def _reader(self, field: Field) -> Callable[[_Members], Values]:
        parts = [(self._attributes[str(path[0])], path[1:]) for path in field.paths]
        if len(parts) == 1 and self._types[parts[0][0]] is not Any:
            return partial(_plain, parts[0][0], field)
        loose = [self._types[each] is Any for each, _ in parts]
        if field.type in _AS_THEY_ARE and not any(path for _, path in parts) and not any(loose):
            return partial(_first, [attribute for attribute, _ in parts])
        return partial(_inner, parts, field, loose)

    def columns(self, payloads: Sequence[bytes]) -> tuple[list[Values], dict[int, str]]:
        """The values of each field, one a payload, and what is wrong, by the payload's place."""
        rows, bad = self._rows(payloads)
        members = self._by_member(rows)
        columns: list[Values] = []
        wrong: dict[int, str] = {}
        for field, read in zip(self._fields, self._readers, strict=True):
            try:
                columns.append(read(members))
            except _BAD:
                columns.append(self._read_each(field, read, members, wrong))
        for place in bad:
            row, text = self._salvage(payloads[place])
            # What is damaged where no column looks is no error.
            if text:
                wrong[place] = text
            for column, value in zip(columns, row, strict=True):
                column[place] = value
        return columns, wrong

    def _rows(self, payloads: Sequence[bytes]) -> tuple[list[Any], list[int]]:
        rows: list[Any] = []
        bad: list[int] = []
        decoded = map(self._decode, payloads)
        while len(rows) < len(payloads):
            try:
                # What was decoded before an error stays, and the next call goes on after it.
                rows.extend(decoded)
            except _BAD:
                bad.append(len(rows))
                rows.append(self._blank)
        return rows, bad

    def _by_member(self, rows: Sequence[Any]) -> _Members:
        # All in one list, where each has its place: asking by name takes twice as long.
        values = list(chain.from_iterable(map(msgspec.structs.astuple, rows)))
        count = len(self._names)
        return {name: values[place::count] for place, name in enumerate(self._names)}

    def _read_each(
        self,
        field: Field,
        read: Callable[[_Members], Values],
        members: _Members,
        wrong: dict[int, str],
    ) -> Values:
        """A column of which some value is not what it should be."""
        values: Values = []
        names = {self._attributes[str(path[0])] for path in field.paths}
        for place in range(len(members[min(names)])):
            try:
                values += read({name: [members[name][place]] for name in names})
            except _BAD as error:
                wrong.setdefault(place, said(field.name, error))
                values.append(None)
        return values

    def _salvage(self, payload: bytes) -> tuple[Values, str]:
        """What a payload holds of the fields, where the whole of it does not decode."""
        find: Callable[[Field], object]
        try:
            find = partial(_found, self._members(payload))
        except _BAD as error:
            # One with half a surrogate pair anywhere is damaged to msgspec, and not to others.
            try:
                find = partial(_found_decoded, _leniently(payload))
            except _BAD:
                return [None] * len(self._fields), said("", error)
        wrong = ""
        values: Values = []
        for field in self._fields:
            try:
                values.append(find(field))
            except _BAD as error:
                values.append(None)
                wrong = wrong or said(field.name, error)
        return values, wrong


def _leniently(payload: bytes) -> dict[str, Any]:
    """What a payload holds that has half a surrogate pair somewhere: no other is read here."""
    if b"\\u" not in payload:
        raise ValueError("no object")
    value = json.loads(payload.decode(), parse_constant=_refuse)
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _is_shown_as_it_is(field: Field) -> bool:
    """Whether a column has the very values that are decoded, and its default can be one of them."""
    return type(field.default) in _PLAIN and field.kind != "json" and not has_enum(field.type)


def _plain(attribute: str, field: Field, members: _Members) -> Values:
    values, default = members[attribute], field.default
    if field.type is msgspec.Raw:
        return [_json_text(value, default) for value in values]
    if has_enum(field.type):
        unset, kind = msgspec.UNSET, field.kind
        return [default if value is unset else shown(kind, value) for value in values]
    if type(default) in _PLAIN:
        # A list of its own: what is wrong is replaced in it.
        return values.copy()
    return [default if value is msgspec.UNSET else value for value in values]


def _first(attributes: Sequence[str], members: _Members) -> Values:
    """The first of several members that is there."""
    *others, last = [members[attribute] for attribute in attributes]
    values = list(last)
    for column in reversed(others):
        values = [
            later if value is None else value for value, later in zip(column, values, strict=True)
        ]
    return values


def _inner(
    parts: Sequence[tuple[str, Path]],
    field: Field,
    loose: Sequence[bool],
    members: _Members,
) -> Values:
    """The first of several places, or a place inside of a member."""
    columns = [members[attribute] for attribute, _ in parts]
    values: Values = []
    for row in zip(*columns, strict=True):
        found = None
        for value, (_, path), is_loose in zip(row, parts, loose, strict=True):
            found = walk(value, path)
            if found is not None:
                found = _converted(field, found) if is_loose else _strict(field, found)
            if found is not None:
                break
        values.append(found)
    return values


def _strict(field: Field, value: object) -> object:
    return _json_text(value, None) if isinstance(value, msgspec.Raw) else shown(field.kind, value)


def _converted(field: Field, value: object) -> object:
    if field.type is msgspec.Raw:
        return shown("json", value)
    return shown(field.kind, msgspec.convert(value, field.type))


def _found(members: dict[str, msgspec.Raw], field: Field) -> object:
    for key, *path in field.paths:
        raw = members.get(str(key))
        if raw is None:
            continue
        if path:
            value = walk(msgspec.json.decode(raw), path)
            if value is not None:
                return _converted(field, value)
        elif field.type is msgspec.Raw:
            text = _json_text(raw, None)
            if text is not None or not field.takes_null:
                return text
        else:
            wanted = field.type | None if field.takes_null else field.type
            value = msgspec.json.decode(raw, type=wanted)
            if value is not None or not field.takes_null:
                return shown(field.kind, value)
    if field.required:
        raise ValueError("is missing")
    return field.default


def _found_decoded(members: dict[str, Any], field: Field) -> object:
    for path in field.paths:
        value = walk(members, path)
        is_there = len(path) > 1 or path[0] in members
        if value is not None or (is_there and not field.takes_null):
            return _converted(field, value)
    if field.required:
        raise ValueError("is missing")
    return field.default


def walk(value: object, path: Iterable[str | int]) -> object:
    """What is at `path` inside of a decoded value; None when there is nothing."""
    for step in path:
        if isinstance(step, str):
            if not isinstance(value, dict):
                return None
            value = value.get(step)
        else:
            if not isinstance(value, list) or step >= len(value):
                return None
            value = value[step]
    return value


def _json_text(value: msgspec.Raw | None, default: object) -> object:
    if value is None:
        return None
    text = bytes(value)
    if not text:
        return default
    return None if text == b"null" else text.decode()


def said(name: str, error: BaseException) -> str:
    """What is wrong, for `_error`."""
    text = str(error) or type(error).__name__
    text = f"{name}: {text}" if name else text
    return text.encode("utf-8", "replace").decode()[:ERROR_CHARACTERS_MAX]
