"""Rows: what types they may have, and their bytes.

A row is a frozen `msgspec.Struct`. It is stored as the MessagePack array of its fields in their
declared order, so that equal rows have equal bytes and two rows that differ have other ones. Only
types are allowed whose values cannot be changed once they are made, as rows are shared.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec import inspect as shapes

from transit import CorruptError, InvalidInputError

ROW_BYTES_MAX: Final = 65_000
"""Bytes of an encoded row."""

Row = msgspec.Struct

_PLAIN: Final = (
    shapes.NoneType, shapes.BoolType, shapes.IntType, shapes.FloatType, shapes.StrType,
    shapes.BytesType, shapes.DateTimeType, shapes.DateType, shapes.TimeType, shapes.TimeDeltaType,
    shapes.UUIDType, shapes.DecimalType, shapes.EnumType, shapes.LiteralType,
)  # fmt: skip
ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")
_DEPTH_MAX: Final = 16


class RowType:
    """One type of rows. fields: their names, as declared. make: a row of its values in order."""

    def __init__(self, type_: type[Row]) -> None:
        if not (isinstance(type_, type) and issubclass(type_, msgspec.Struct)):
            raise InvalidInputError(f"a row must be a msgspec.Struct type, not {type_!r}")
        info = shapes.type_info(type_)
        assert isinstance(info, shapes.StructType)
        _check_struct(info, type_.__name__, 0)
        self.type: type[Row] = type_
        self.fields: tuple[str, ...] = type_.__struct_fields__
        self.types = {field.name: field.type for field in info.fields}
        self.schema = show_type(info)
        types = tuple(field.type for field in msgspec.structs.fields(type_))
        self._decoder: msgspec.msgpack.Decoder[tuple[Any, ...]] = msgspec.msgpack.Decoder(
            tuple[types]  # type: ignore[valid-type]
        )
        self._has_floats = _mentions(info, shapes.FloatType)
        self.make = _maker(type_)

    def encode(self, row: Row) -> bytes:
        """The bytes of a row; `InvalidInputError` for one that is not of its own type's shape."""
        return self._encoded(msgspec.structs.astuple(row))

    def _encoded(self, values: tuple[object, ...]) -> bytes:
        if self._has_floats:
            values = tuple(_canonical(each) for each in values)
        data = ENCODER.encode(values)
        self.check_size(data)
        return data

    def check_size(self, data: bytes) -> None:
        """`InvalidInputError` for the bytes of a row that are too many."""
        if len(data) > ROW_BYTES_MAX:
            raise InvalidInputError(
                f"a row of {self.type.__name__} takes {len(data)} bytes; at most {ROW_BYTES_MAX}"
            )

    def checked(self, row: Row) -> bytes:
        """The bytes of a row; `InvalidInputError` where what is in it is of another type."""
        self.check_type(row)
        values = msgspec.structs.astuple(row)
        try:
            data = self._encoded(values)
            again = self._decoder.decode(data)
        except (msgspec.ValidationError, TypeError, UnicodeEncodeError, OverflowError) as error:
            raise InvalidInputError(f"{self.type.__name__}: {error}") from None
        if not all(map(_is_alike, values, again)):
            self._tell(values, again)
        return data

    def check_type(self, row: object) -> None:
        """`InvalidInputError` for what is no row of this type."""
        if type(row) is not self.type:
            raise InvalidInputError(
                f"a row of type {self.type.__name__} is needed, not {type(row).__name__}"
            )

    def _tell(self, values: tuple[object, ...], again: tuple[object, ...]) -> None:
        """`InvalidInputError` for the field that comes back as another type."""
        for name, value, other in zip(self.fields, values, again, strict=True):
            if not _is_alike(value, other):
                raise InvalidInputError(
                    f"{self.type.__name__}.{name} is {value!r:.100}, which comes back as "
                    f"{other!r:.100}: a row holds exactly what its fields say"
                )

    def decode(self, data: bytes, place: str) -> Row:
        """The row of its bytes; `CorruptError` where they are none."""
        try:
            return self.make(self._decoder.decode(data))
        except (msgspec.DecodeError, ValueError, TypeError) as error:
            raise CorruptError(
                place, expected=f"a row of {self.type.__name__}", found=str(error)
            ) from None


def _maker(type_: type[Row]) -> Callable[[tuple[Any, ...]], Row]:
    """Makes a row of its values, in the order of its fields."""
    kinds = {each.kind for each in inspect.signature(type_).parameters.values()}
    if inspect.Parameter.KEYWORD_ONLY not in kinds:
        return lambda values: type_(*values)
    fields = type_.__struct_fields__
    return lambda values: type_(**dict(zip(fields, values, strict=True)))


def _is_alike(value: Any, other: Any) -> bool:
    """Whether two values, and what is in them, are of the same types.

    What a reducer reads must not depend on whether a row was written down meanwhile.
    """
    if type(value) is not type(other):
        return False
    if isinstance(value, tuple):
        return all(map(_is_alike, value, other))
    if isinstance(value, frozenset):
        return {type(each) for each in value} == {type(each) for each in other}
    if isinstance(value, msgspec.Struct):
        fields = value.__struct_fields__
        return all(_is_alike(getattr(value, each), getattr(other, each)) for each in fields)
    return True


def _check_struct(info: shapes.StructType, place: str, depth: int) -> None:
    config = info.cls.__struct_config__
    if not config.frozen:
        raise InvalidInputError(
            f"{place}: a row must be frozen: class {place}(Struct, frozen=True)"
        )
    for field in info.fields:
        _check_type(field.type, f"{place}.{field.name}", depth + 1)


def _check_type(info: shapes.Type, place: str, depth: int) -> None:
    if depth > _DEPTH_MAX:
        raise InvalidInputError(f"{place}: types are nested deeper than {_DEPTH_MAX}")
    if isinstance(info, shapes.Metadata):
        _check_type(info.type, place, depth)
    elif isinstance(info, _PLAIN):
        return
    elif isinstance(info, shapes.UnionType):
        for each in info.types:
            _check_type(each, place, depth + 1)
    elif isinstance(info, shapes.TupleType):
        for each in info.item_types:
            _check_type(each, place, depth + 1)
    elif isinstance(info, shapes.VarTupleType | shapes.FrozenSetType):
        _check_type(info.item_type, place, depth + 1)
    elif isinstance(info, shapes.StructType):
        _check_struct(info, place, depth)
    else:
        kind = type(info).__name__.removesuffix("Type").lower()
        raise InvalidInputError(
            f"{place}: no row can hold a {kind}: use tuples, frozen structs and plain values"
        )


def show_type(info: shapes.Type, around: tuple[object, ...] = ()) -> object:
    """A type as plain values, equal for equal types, whatever their classes are called inside.

    around: the types with fields that it is inside of: one of them again is its place there.
    """
    if isinstance(info, shapes.Metadata):
        return show_type(info.type, around)
    kind = type(info).__name__.removesuffix("Type").lower()
    if not isinstance(info, _WITH_FIELDS):
        return [kind, *_parts(info, around)]
    if info.cls in around:
        return ["again", around.index(info.cls)]
    return [kind, *_fields_of(info, (*around, info.cls))]


def _fields_of(info: Any, around: tuple[object, ...]) -> list[object]:
    fields = [
        [each.encode_name, show_type(each.type, around), each.required, _default(each)]
        for each in info.fields
    ]
    if not isinstance(info, shapes.StructType):
        return [fields]
    return [
        str(info.tag_field),
        repr(info.tag),
        info.array_like,
        info.forbid_unknown_fields,
        fields,
    ]


def _parts(info: shapes.Type, around: tuple[object, ...]) -> list[object]:
    """What makes a type of its kind the one it is."""
    if isinstance(info, shapes.EnumType):
        return [[[each.name, repr(each.value)] for each in info.cls]]
    if isinstance(info, shapes.LiteralType):
        return [[repr(each) for each in info.values]]
    inside = [show_type(each, around) for each in _direct(info)]
    return inside or [[name, repr(getattr(info, name, None))] for name in LIMITS]


_WITH_FIELDS: Final = (
    shapes.StructType, shapes.DataclassType, shapes.NamedTupleType, shapes.TypedDictType,
)  # fmt: skip
LIMITS: Final = (
    "gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern", "tz"
)  # fmt: skip


def _direct(info: shapes.Type) -> Sequence[shapes.Type]:
    """The types that a type is made of."""
    if isinstance(info, shapes.StructType):
        return [each.type for each in info.fields]
    if isinstance(info, shapes.UnionType):
        return info.types
    if isinstance(info, shapes.TupleType):
        return info.item_types
    if isinstance(info, shapes.DictType):
        return [info.key_type, info.value_type]
    if isinstance(info, shapes.CollectionType):
        return [info.item_type]
    return [info.type] if isinstance(info, shapes.Metadata) else []


def _default(field: shapes.Field) -> str:
    if field.default is not msgspec.NODEFAULT:
        return repr(field.default)
    factory = field.default_factory
    return "" if factory is msgspec.NODEFAULT else getattr(factory, "__qualname__", "factory")


def _mentions(info: shapes.Type, kind: type[shapes.Type]) -> bool:
    return any(isinstance(each, kind) for each in _inside(info, 0))


def _inside(info: shapes.Type, depth: int) -> Iterable[shapes.Type]:
    yield info
    if depth > _DEPTH_MAX:
        return
    for each in _direct(info):
        yield from _inside(each, depth + 1)


def _canonical(value: object) -> object:
    """A value whose numbers have one form each: processors make several kinds of NaN."""
    if isinstance(value, float):
        return math.nan if math.isnan(value) else value
    if isinstance(value, tuple):
        return tuple(_canonical(each) for each in value)
    if isinstance(value, frozenset):
        return frozenset(_canonical(each) for each in value)
    if isinstance(value, msgspec.Struct):
        names = value.__struct_fields__
        return msgspec.structs.replace(
            value, **{name: _canonical(getattr(value, name)) for name in names}
        )
    return value


Decode = Callable[[bytes], Any]


class EventType:
    """What a reducer reads of a record: a type that msgspec decodes, or `bytes`."""

    def __init__(self, type_: Any, codec: str) -> None:
        self.type, self.codec = type_, codec
        if type_ is bytes:
            self.schema: object = ["bytes"]
            self.decode: Decode = _as_it_is
            return
        try:
            self.schema = [codec, show_type(shapes.type_info(type_))]
            if codec == "json":
                self.decode = msgspec.json.Decoder(type_).decode
            elif codec == "msgpack":
                self.decode = msgspec.msgpack.Decoder(type_).decode
            else:
                raise InvalidInputError(f"codec {codec!r}: not json or msgpack")
        except TypeError as error:
            raise InvalidInputError(f"reads {type_!r}: {error}") from None


def _as_it_is(payload: bytes) -> bytes:
    return payload
