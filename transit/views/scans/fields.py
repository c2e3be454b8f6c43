"""A column: its name, the places in a payload that it is read from, its type.

Owns the columns that every table of records has

    _stream  text                     the stream that was read
    _offset  int64                    the record's offset there
    _time    timestamp (ns, UTC)      the record's timestamp, the user's word or the engine's
    …        as declared
    _error   text                     what is wrong with the payload; NULL where nothing is

(where nothing is declared, `_kind`, the header `kind`, and `payload`, as text and NULL where it is
no UTF-8, are in between), which types there are, and how they are written by users: as a
`msgspec.Struct` or as a mapping of names to types and paths.

    type of a field                         column
    str, Literal or Enum of texts           text
    int, Literal or Enum of ints            int64
    float, int | float                      double
    bool                                    boolean
    bytes (base64 in JSON)                  binary
    datetime (RFC 3339 in JSON)             timestamp, microseconds, UTC
    list or tuple of one of the first four  list of it
    anything else that JSON holds           its JSON text
    any of them, or None                    the same, NULL for null
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache, reduce
from operator import or_
from typing import Any, Final, Literal, Protocol, get_args

import msgspec
from msgspec import inspect

from transit import InvalidInputError

Kind = Literal[
    "text", "int", "float", "bool", "bytes", "time", "json", "texts", "ints", "floats", "bools"
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
Path = tuple[str | int, ...]
"""Names of members and places in arrays, from the outermost on."""

STREAM: Final = "_stream"
OFFSET: Final = "_offset"
TIME: Final = "_time"
ERROR: Final = "_error"
FIELDS_MAX: Final = 256
PATH_STEPS_MAX: Final = 32
_SCALARS: Final[dict[type, Kind]] = {
    inspect.StrType: "text",
    inspect.IntType: "int",
    inspect.FloatType: "float",
    inspect.BoolType: "bool",
    inspect.BytesType: "bytes",
    inspect.DateTimeType: "time",
}
_LISTS: Final[dict[Kind, Kind]] = {
    "text": "texts", "int": "ints", "float": "floats", "bool": "bools",
}  # fmt: skip
_AS_JSON: Final = (
    inspect.AnyType, inspect.DataclassType, inspect.DictType, inspect.ListType,
    inspect.NamedTupleType, inspect.RawType, inspect.SetType, inspect.StructType,
    inspect.TupleType, inspect.TypedDictType, inspect.VarTupleType,
)  # fmt: skip
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}")
_STEP: Final = re.compile(r'\.?(?:"((?:[^"\\]|\\.)+)"|([^.\[\]"$]+))|\[([0-9]{1,9})\]')


class Field(msgspec.Struct, frozen=True):
    """One column.

    paths: the first of them at which there is something decides. type: what a value there must be,
    as msgspec decodes it. default: the column's value where there is nothing; required: there must
    be something. takes_null: whether null counts as nothing.
    """

    name: str
    paths: tuple[Path, ...]
    kind: Kind
    type: Any
    required: bool = False
    default: Any = None
    takes_null: bool = False

    @property
    def said(self) -> tuple[object, ...]:
        """All that decides what the column holds, as plain values."""
        return (
            self.name, self.paths, self.kind, _described(self.type), self.required,
            repr(self.default), self.takes_null,
        )  # fmt: skip


class Declared(Protocol):
    """Columns that a user declared; see `transit.views.scans.declaring.Columns`."""

    @property
    def name(self) -> str:
        """The table's name in SQL."""

    @property
    def fields(self) -> tuple[Field, ...]:
        """The columns."""

    @property
    def digest(self) -> str:
        """32 hex digits, equal where the columns are."""


def fields_of(reads: object) -> tuple[Field, ...]:
    """The columns that `reads` declares: a `msgspec.Struct`, or a mapping as `columns` takes it."""
    if isinstance(reads, type) and issubclass(reads, msgspec.Struct):
        found = _of_struct(reads)
    elif isinstance(reads, Mapping):
        found = tuple(_of_entry(name, given) for name, given in reads.items())
    else:
        raise InvalidInputError(
            f"columns are a msgspec.Struct, or a mapping of names to types; not {reads!r}"
        )
    if not 1 <= len(found) <= FIELDS_MAX:
        raise InvalidInputError(f"1 to {FIELDS_MAX} columns, not {len(found)}")
    _check_names([field.name for field in found])
    return found


def check_name(name: object, what: str) -> str:
    """`name` when SQL takes it without quotes; or `InvalidInputError`."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"{what} is 1 to 128 letters, digits and '_', a letter first; not {name!r}"
        )
    return name


def _check_names(names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        check_name(name, "a column's name")
        if name.lower() in seen:
            raise InvalidInputError(f"two columns are named {name!r}, as SQL reads names")
        seen.add(name.lower())


def _of_struct(reads: type[msgspec.Struct]) -> tuple[Field, ...]:
    if reads.__struct_config__.array_like:
        raise InvalidInputError(f"{reads.__name__}: payloads are objects, not arrays")
    return tuple(_of_member(each) for each in msgspec.structs.fields(reads))


def _of_member(member: msgspec.structs.FieldInfo) -> Field:
    # What is left out is not there, however the struct says that.
    given = _without_unset(member.type)
    kind = _kind(given, member.name)
    default = None
    if member.default is not msgspec.NODEFAULT:
        default = member.default
    elif member.default_factory is not msgspec.NODEFAULT:
        default = member.default_factory()
    if default is msgspec.UNSET:
        default = None
    paths = ((member.encode_name,),)
    wanted = msgspec.Raw if kind == "json" else given
    return Field(member.name, paths, kind, wanted, member.required, shown(kind, default))


def _of_entry(name: object, given: object) -> Field:
    text = check_name(name, "a column's name")
    paths: object = (text,)
    if isinstance(given, tuple) and len(given) == 2:
        paths, given = given
        paths = (paths,) if isinstance(paths, str) else paths
    if not isinstance(paths, Sequence) or not paths or len(paths) > PATH_STEPS_MAX:
        raise InvalidInputError(f"{text}: a path, or several, and a type; not {paths!r}")
    kind = _kind(given, text)
    wanted = msgspec.Raw if kind == "json" else given
    return Field(text, tuple(map(parse_path, paths)), kind, wanted, takes_null=True)


def _without_unset(wanted: Any) -> Any:
    parts = get_args(wanted)
    if msgspec.UnsetType not in parts:
        return wanted
    return reduce(or_, (each for each in parts if each is not msgspec.UnsetType))


def parse_path(text: object) -> Path:
    """The steps of `$.a.b[0]."c.d"`; the beginning `$.` may be left out."""
    if not isinstance(text, str):
        raise InvalidInputError(f"a path is text, not {text!r}")
    rest = text[1:] if text.startswith("$") else text
    steps: list[str | int] = []
    at = 0
    while at < len(rest) and len(steps) <= PATH_STEPS_MAX:
        match = _STEP.match(rest, at)
        if match is None:
            break
        quoted, plain, place = match.groups()
        if quoted is not None:
            steps.append(re.sub(r"\\(.)", r"\1", quoted))
        else:
            steps.append(plain if plain is not None else int(place))
        at = match.end()
    if at < len(rest) or not steps or len(steps) > PATH_STEPS_MAX or isinstance(steps[0], int):
        raise InvalidInputError(
            f"{text!r} is no path: say a.b[0], with \"…\" around names that hold '.', '[' or '\"'"
        )
    return tuple(steps)


def shown(kind: Kind, value: object) -> object:
    """A decoded value as the column holds it."""
    if value is None:
        return None
    if kind == "json":
        try:
            return msgspec.json.encode(value).decode()
        except UnicodeEncodeError:
            # Half a surrogate pair: JSON can say it, UTF-8 cannot.
            return json.dumps(value)
    if kind == "text":
        value = getattr(value, "value", value)
        return value if isinstance(value, str) else str(value)
    if kind == "int":
        return getattr(value, "value", value)
    return value


@lru_cache(1024)
def has_enum(wanted: Any) -> bool:
    """Whether a value of a type may be a member of an Enum, or a Literal of mixed kinds."""
    return _has_enum(inspect.type_info(wanted))


def _has_enum(node: Any) -> bool:
    if isinstance(node, inspect.Metadata):
        return _has_enum(node.type)
    if isinstance(node, inspect.UnionType):
        return any(map(_has_enum, node.types))
    if isinstance(node, inspect.LiteralType):
        return len(set(map(type, node.values))) > 1
    return isinstance(node, inspect.EnumType)


def _kind(wanted: object, name: str) -> Kind:
    try:
        kind = _kind_of(inspect.type_info(Any if wanted is object else wanted))
    except (TypeError, NameError) as error:
        raise InvalidInputError(f"{name}: {error}") from None
    if kind is None:
        raise InvalidInputError(f"{name}: there is no column for the type {wanted!r}")
    return kind


def _kind_of(node: Any) -> Kind | None:
    if isinstance(node, inspect.Metadata):
        return _kind_of(node.type)
    if isinstance(node, inspect.UnionType):
        return _kind_of_union(node)
    if isinstance(node, inspect.EnumType):
        return _kind_of_values([member.value for member in node.cls])
    if isinstance(node, inspect.LiteralType):
        return _kind_of_values(node.values)
    if isinstance(node, inspect.ListType | inspect.VarTupleType):
        return _LISTS.get(_kind_of(node.item_type) or "json", "json")
    if isinstance(node, _AS_JSON):
        return "json"
    return _SCALARS.get(type(node))


def _kind_of_union(node: inspect.UnionType) -> Kind | None:
    kinds = {_kind_of(each) for each in node.types if not isinstance(each, inspect.NoneType)}
    if None in kinds:
        return None
    if len(kinds) == 1:
        return kinds.pop()
    return "float" if kinds == {"int", "float"} else "json"


def _kind_of_values(values: Sequence[object]) -> Kind:
    # True is an int to Python, and not to JSON.
    return "int" if all(type(value) is int for value in values) else "text"


def _described(wanted: Any) -> str:
    """A type as text that differs where what is decoded may differ."""
    node = wanted if isinstance(wanted, inspect.Type) else inspect.type_info(wanted)
    if isinstance(node, inspect.EnumType):
        return f"Enum{sorted(str(member.value) for member in node.cls)}"
    if isinstance(node, inspect.UnionType):
        return f"Union{sorted(map(_described, node.types))}"
    if isinstance(node, inspect.ListType | inspect.VarTupleType):
        return f"List[{_described(node.item_type)}]"
    return repr(node)
