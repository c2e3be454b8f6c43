"""Values as JSON: what a program hands over to be recorded, whatever it is.

Owns two forms. The *plain* form is for reading: JSON's own types, objects by their own dump
(`model_dump`, `to_dict`, dataclasses, attrs), bytes as base64, and what no encoder knows as
{"type": ..., "repr": ...}. The *exact* form is for replay: what Python has and JSON has not is an
object {"$type": KIND, "value": V}, and `restored` gives a value that is equal and of the same type.

    KIND       V                                KIND        V
    bytes      base64                           date, time  as ISO 8601 says
    bytearray  base64                           datetime    [ISO 8601, name of its zone or ""]
    tuple      list                             timedelta   [days, seconds, microseconds]
    set        list, ordered by its JSON        uuid        text
    frozenset  the same                         complex     [real, imaginary], as `float` has them
    int        hexadecimal: more than 64 bits          range       [start, stop, step]
    float      text: nan, inf, -inf             path        text
    decimal    text                             exception   as `ErrorInfo`
    dict       [[key, value], ...]: keys that are not text, or one of them is "$type"

Neither form ever raises for a value. Where the exact form cannot hold a value, it has the plain
form in its place, and says which place that is, so that a replay can refuse it.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PosixPath, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, Final, cast
from uuid import UUID

import msgspec

from transit import InvalidInputError, Log, Stream
from transit.trace.events import encode_json

TYPE: Final = "$type"
# Deeper values are cut, at this depth.
DEPTH_MAX: Final = 200
_REPR_CHARS_MAX: Final = 4096
# Arrays with more elements are named and not written out.
_ELEMENTS_MAX: Final = 4096
_BITS_MAX: Final = 4096
_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**64 - 1
_ATOMS: Final = frozenset((str, bool, type(None)))
_ADDRESS: Final = re.compile(r" at 0x[0-9A-Fa-f]+")
_PATHS: Final[dict[str, type[PurePath]]] = {
    each.__name__: each for each in (PosixPath, PurePosixPath, PureWindowsPath)
}


Encode = Callable[[object, str], object]


class _Exceptions:
    """How exceptions are kept as values; `transit.trace.errors` says it.

    keep: its form, each value inside as the function given says; None where its class is not to be
    had again. make: the exception of such a form.
    """

    def __init__(self) -> None:
        self.keep: Callable[[BaseException, Encode], object | None] = lambda error, encode: None
        self.make: Callable[[object], BaseException] = _no_exception


def _no_exception(form: object) -> BaseException:
    raise InvalidInputError("no exceptions are known")


_exceptions: Final = _Exceptions()


def know_exceptions(
    keep: Callable[[BaseException, Encode], object | None],
    make: Callable[[object], BaseException],
) -> None:
    """Have exceptions kept as values in this way; see `_Exceptions`."""
    _exceptions.keep, _exceptions.make = keep, make


class Exact(msgspec.Struct, frozen=True):
    """A value in exact form. lost: the place and type of the first that it cannot hold, or ""."""

    value: object
    lost: str = ""


def plain(value: object, binary: Callable[[bytes], object] | None = None) -> object:
    """`value` in plain form. binary: the form of bytes; None: base64."""
    try:
        return _Plain(binary).of(value, 0)
    except Exception:
        # Its own methods, or another thread that changes it meanwhile.
        return unknown(value)


def encode_plain(value: object) -> bytes:
    """The plain form as compact JSON."""
    try:
        data = _encoder.encode(value)
        # The encoder writes NaN and infinities as null.
        if b"null" not in data or _is_finite(value, DEPTH_MAX):
            return data
    except Exception:
        # An object's own methods may raise whatever they like.
        pass
    return encode_json(plain(value))


def _is_finite(value: object, depth: int) -> bool:
    """Whether `value` is of JSON's own types, and each number one that JSON has."""
    kind = type(value)
    if kind in _ATOMS or kind is int:
        return True
    if kind is float:
        return math.isfinite(cast(float, value))
    if depth == 0:
        return False
    if kind is dict:
        return all(
            _is_finite(each, depth - 1) for each in cast("dict[str, object]", value).values()
        )
    return kind is list and all(_is_finite(each, depth - 1) for each in cast("list[object]", value))


def exact(value: object, place: str = "value") -> Exact:
    """`value` in exact form; `place` is what it is called where it cannot be held."""
    walk = _Exact()
    try:
        form = walk.of(value, 0, place)
    except Exception:
        # Its own methods, or another thread that changes it meanwhile.
        return Exact(unknown(value), walk.lost or f"{place}: {name_of(type(value))}")
    return Exact(form, walk.lost)


def restored(form: object) -> Any:
    """The value whose exact form this is; `InvalidInputError` when it is none."""
    kind = type(form)
    if kind is list:
        return [restored(item) for item in cast(list[object], form)]
    if kind is not dict:
        return form
    members = cast(dict[str, object], form)
    if TYPE not in members:
        return {key: restored(member) for key, member in members.items()}
    found = _RESTORE.get(str(members[TYPE]))
    if found is None:
        raise InvalidInputError(f"no value of type {members[TYPE]!r}")
    try:
        return found(members["value"])
    except InvalidInputError:
        raise
    except Exception as error:
        raise InvalidInputError(f"no {members[TYPE]}: {error!r}") from None


# Objects


def members_of(value: object) -> dict[str, object] | None:
    """The members of an object that is made of such, as it says itself; None for others."""
    kind = type(value)
    try:
        fields = getattr(kind, "__struct_fields__", None) or getattr(
            kind, "__dataclass_fields__", None
        )
        if fields is not None:
            return {name: getattr(value, name) for name in fields if hasattr(value, name)}
        attributes = getattr(kind, "__attrs_attrs__", None)
        if attributes is not None:
            return {each.name: getattr(value, each.name) for each in attributes}
        for method in ("model_dump", "to_dict"):
            if callable(getattr(kind, method, None)):
                found = getattr(value, method)()
                return found if isinstance(found, dict) else None
        return dict(value) if isinstance(value, Mapping) else None
    except Exception:
        # Its own methods may raise whatever they like.
        return None


def is_plain_object(value: object) -> bool:
    """Whether what `members_of` gives of an object depends on its `__dict__` alone."""
    kind = type(value)
    if not hasattr(value, "__dict__"):
        return False
    if hasattr(kind, "__dataclass_fields__") or hasattr(kind, "__attrs_attrs__"):
        return not hasattr(kind, "__slots__")
    return hasattr(kind, "__pydantic_fields__") and not getattr(value, "__pydantic_extra__", None)


def _dumped(value: object) -> object:
    """What an object that JSON does not know says of itself, to be looked at once more."""
    members = members_of(value)
    if members is not None:
        return members
    kind = type(value)
    if hasattr(kind, "dtype") and callable(getattr(kind, "tolist", None)):
        # Scalars and arrays of numpy and of what is like it.
        size = getattr(value, "size", 1)
        if isinstance(size, int) and size <= _ELEMENTS_MAX:
            return cast(Any, value).tolist()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, BaseException):
        return {"type": name_of(kind), "message": text_of(value)}
    return unknown(value)


def unknown(value: object) -> dict[str, object]:
    """What is recorded of an object that nothing is known of."""
    kind = type(value)
    known = getattr(kind, "__recorded_as__", None)
    if isinstance(known, str):
        return {"type": known, "repr": known}
    if isinstance(value, Log | Stream):
        # The folder is another where a store was restored.
        name = f" {value.name!r}" if isinstance(value, Stream) else ""
        return {"type": name_of(kind), "repr": f"<transit.{kind.__name__}{name}>"}
    # Where it lies in memory is not the same in a replay.
    return {"type": name_of(type(value)), "repr": _ADDRESS.sub("", text_of(value, repr))}


def name_of(kind: type) -> str:
    """The name of a class, with its module's where that is not Python's own."""
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def text_of(value: object, make: Callable[[object], str] = str) -> str:
    """The text an object gives of itself, if it gives one."""
    try:
        text = make(value)
    except Exception:
        return "its text could not be made"
    if len(text) > _REPR_CHARS_MAX:
        return f"{text[:_REPR_CHARS_MAX]}… ({len(text)} characters)"
    return text


def _hook(value: object) -> object:
    """What the encoder does not know: subclasses of JSON's own types, and objects."""
    if isinstance(value, str | int | float | list | tuple | dict | set | frozenset):
        return plain(value)
    return _dumped(value)


_encoder: Final = msgspec.json.Encoder(enc_hook=_hook)


# Walks


class _Walk:
    """A walk through a value that meets no object twice on one path."""

    def __init__(self) -> None:
        self._path: set[int] = set()

    def enter(self, value: object, depth: int) -> bool:
        """Whether to go on into `value`; `leave` afterwards."""
        if depth >= DEPTH_MAX or id(value) in self._path:
            return False
        self._path.add(id(value))
        return True

    def leave(self, value: object) -> None:
        self._path.discard(id(value))


# Values without others inside, as they are in plain form.
_SIMPLE: Final[tuple[tuple[Any, Callable[[Any], object]], ...]] = (
    (float, lambda value: float(value) if math.isfinite(value) else str(float(value))),
    # Python writes no longer ones as decimals.
    (int, lambda value: int(value) if value.bit_length() <= _BITS_MAX else hex(value)),
    (str, str.__str__),
    ((Decimal, UUID, PurePath), str),
    ((date, time), lambda value: value.isoformat()),
)


class _Plain(_Walk):
    def __init__(self, binary: Callable[[bytes], object] | None = None) -> None:
        super().__init__()
        self._binary = binary or _base64

    def of(self, value: object, depth: int) -> object:
        """The plain form of `value`."""
        kind = type(value)
        if kind in _ATOMS:
            return value
        if isinstance(value, bytes | bytearray | memoryview):
            return self._binary(bytes(value))
        simple = next((make for kinds, make in _SIMPLE if isinstance(value, kinds)), None)
        if simple is not None:
            return simple(value)
        if not self.enter(value, depth):
            return {"type": name_of(kind), "repr": "…"}
        try:
            return self._inside(value, depth + 1)
        except Exception:
            # A method of the object's own.
            return unknown(value)
        finally:
            self.leave(value)

    def _inside(self, value: object, depth: int) -> object:
        if isinstance(value, dict):
            return {self._key(key): self.of(member, depth) for key, member in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.of(item, depth) for item in value]
        return self.of(_dumped(value), depth)

    @staticmethod
    def _key(key: object) -> str:
        if isinstance(key, str):
            return str.__str__(key)
        return text_of(key) if isinstance(key, int | float) else text_of(key, repr)


class _Exact(_Walk):
    def __init__(self) -> None:
        super().__init__()
        self.lost = ""
        self._plain = _Plain()

    def of(self, value: object, depth: int, place: str) -> object:
        """The exact form of `value`."""
        kind = type(value)
        if kind in _ATOMS:
            return value
        if kind is int:
            number = cast(int, value)
            return number if _INT_MIN <= number <= _INT_MAX else _tagged("int", hex(number))
        if kind is float:
            real = cast(float, value)
            return real if math.isfinite(real) else _tagged("float", str(real))
        keep = _KEEP.get(kind)
        if keep is not None:
            return keep(value)
        if kind not in _CONTAINERS and not isinstance(value, BaseException):
            return self._lose(value, depth, place)
        if not self.enter(value, depth):
            return self._lose(value, depth, place)
        try:
            return self._inside(value, depth + 1, place)
        finally:
            self.leave(value)

    def _lose(self, value: object, depth: int, place: str) -> object:
        self.lost = self.lost or f"{place}: {name_of(type(value))}"
        return self._plain.of(value, depth)

    def _inside(self, value: object, depth: int, place: str) -> object:
        if isinstance(value, dict):
            if all(type(key) is str and key != TYPE for key in value):
                return {
                    key: self.of(member, depth, f"{place}.{key}") for key, member in value.items()
                }
            pairs = [
                [
                    self.of(key, depth, f"a key of {place}"),
                    self.of(v, depth, f"{place}[{text_of(key, repr)}]"),
                ]
                for key, v in value.items()
            ]
            return _tagged("dict", pairs)
        if isinstance(value, BaseException):
            return self._exception(value, depth, place)
        items = [
            self.of(item, depth, f"{place}[{n}]")
            for n, item in enumerate(cast("list[object]", value))
        ]
        kind = type(value)
        if kind is list:
            return items
        if kind is not tuple:
            items.sort(key=encode_json)
        return _tagged(kind.__name__, items)

    def _exception(self, error: BaseException, depth: int, place: str) -> object:
        before, self.lost = self.lost, ""
        form = _exceptions.keep(error, lambda value, what: self.of(value, depth, f"{place}.{what}"))
        if self.lost or form is None:
            self.lost = before or self.lost or f"{place}: {name_of(type(error))}"
            return self._plain.of(error, depth)
        self.lost = before
        return _tagged("exception", form)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _tagged(kind: str, value: object) -> dict[str, object]:
    return {TYPE: kind, "value": value}


def _binary(value: object) -> dict[str, object]:
    return _tagged(type(value).__name__, base64.b64encode(cast(bytes, value)).decode())


def _moment(value: object) -> object:
    moment = cast(datetime, value)
    zone = moment.tzinfo
    key = getattr(zone, "key", "") if zone is not None and type(zone) is not timezone else ""
    fold = [1] if moment.fold else []
    return _tagged("datetime", [moment.isoformat(), key, *fold])


def _from_moment(form: Any) -> datetime:
    text, key, *fold = form
    moment = datetime.fromisoformat(text).replace(fold=fold[0] if fold else 0)
    if not key:
        return moment
    # Loaded here: it is rare.
    from zoneinfo import ZoneInfo

    return moment.replace(tzinfo=ZoneInfo(key))


def _difference(value: object) -> object:
    gap = cast(timedelta, value)
    return _tagged("timedelta", [gap.days, gap.seconds, gap.microseconds])


def _complex(value: object) -> object:
    number = cast(complex, value)
    return _tagged("complex", [repr(number.real), repr(number.imag)])


def _range(value: object) -> object:
    span = cast(range, value)
    return _tagged("range", [hex(n) for n in (span.start, span.stop, span.step)])


def _path(value: object) -> object:
    return _tagged("path", [type(value).__name__, str(value)])


_CONTAINERS: Final = frozenset((dict, list, tuple, set, frozenset))
_KEEP: Final[dict[type, Callable[[object], object]]] = {
    bytes: _binary,
    bytearray: _binary,
    Decimal: lambda value: _tagged("decimal", str(value)),
    date: lambda value: _tagged("date", cast(date, value).isoformat()),
    time: lambda value: _tagged("time", cast(time, value).isoformat()),
    datetime: _moment,
    timedelta: _difference,
    UUID: lambda value: _tagged("uuid", str(value)),
    complex: _complex,
    range: _range,
    PosixPath: _path,
    PurePosixPath: _path,
    PureWindowsPath: _path,
}


def _from_pairs(form: Any) -> dict[object, object]:
    return {restored(key): restored(member) for key, member in form}


def _made(form: object) -> BaseException:
    return _exceptions.make(form)


_RESTORE: Final[dict[str, Callable[[Any], object]]] = {
    "bytes": lambda form: base64.b64decode(form, validate=True),
    "bytearray": lambda form: bytearray(base64.b64decode(form, validate=True)),
    "tuple": lambda form: tuple(map(restored, form)),
    "set": lambda form: set(map(restored, form)),
    "frozenset": lambda form: frozenset(map(restored, form)),
    "dict": _from_pairs,
    "int": lambda form: int(form, 16),
    "float": float,
    "decimal": Decimal,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "datetime": _from_moment,
    "timedelta": lambda form: timedelta(*form),
    "uuid": UUID,
    "complex": lambda form: complex(*map(float, form)),
    "range": lambda form: range(*(int(n, 16) for n in form)),
    "path": lambda form: _PATHS[form[0]](form[1]),
    "exception": _made,
}
