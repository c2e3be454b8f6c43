"""A reducer that does all that tables can, and the same in plain Python, to be compared.

A record is a list of operations, in JSON. What an operation reads goes into a table too, so that a
read that is wrong makes a state that is.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

import transit
from rigs.views.models import MemoryNodes
from transit import views
from transit.views.maps.keys import encode_key
from transit.views.maps.map import Map


class Person(msgspec.Struct, frozen=True):
    """A row with a number of its own, a unique text that may be missing, and indexes."""

    id: int | None
    email: str | None = None
    team: str = ""
    weight: float = 0.0


class Pair(msgspec.Struct, frozen=True):
    """A row whose key is two fields."""

    left: str
    right: int
    note: str = ""
    body: str = ""


class Heard(msgspec.Struct, frozen=True):
    """What a record read: as text."""

    slot: int
    text: str


class Operation(msgspec.Struct):
    """One of them. name: of the operation. catch: whether the reducer goes on where it fails."""

    name: str
    values: list[Any] = []
    catch: bool = False


class Operations(msgspec.Struct):
    """An event."""

    do: list[Operation]


class Refused(Exception):
    """What a reducer raises where a record says so."""


SLOTS: Final = 8
people = views.table(
    "people", Person, key="id", index=["team", "weight"], unique=["email"], auto=True
)
pairs = views.table("pairs", Pair, key=("left", "right"), index=["note", ("note", "right")])
heard = views.table("heard", Heard, key="slot")


@views.reducer(people, pairs, heard, reads=Operations)
def everything(people: Any, pairs: Any, heard: Any, event: Operations, at: views.At) -> None:
    """Do what the event says."""
    for each in event.do:
        try:
            found = _done(people, pairs, each)
        except transit.AlreadyExistsError:
            if not each.catch:
                raise
            found = "exists"
        if found is not None:
            heard.put(Heard(at.offset % SLOTS, found))


def pair(left: str, right: int, note: str) -> Pair:
    """A row, with enough in it that a few dozen of them are several nodes of a map."""
    return Pair(left, right, note, f"{left}-{right}-{note} " * 40)


def _done(people: Any, pairs: Any, each: Operation) -> str | None:
    name, values = each.name, each.values
    if name == "person":
        people.put(Person(*values))
    elif name == "add":
        return str(people.insert(Person(None, *values)).id)
    elif name == "insert":
        people.insert(Person(*values))
    elif name == "leave":
        return str(people.delete(values[0]))
    elif name == "pair":
        pairs.put(pair(*values))
    elif name == "part":
        return str(pairs.delete((values[0], values[1])))
    elif name == "raise":
        raise Refused("as the record says")
    else:
        return _read(people, pairs, name, values)
    return None


def _read(people: Any, pairs: Any, name: str, values: list[Any]) -> str:
    if name == "count":
        return f"{len(people)} {len(pairs)}"
    reads: dict[str, Callable[..., Iterable[Any]]] = {
        "get": lambda key: [people.get(key)],
        "team": lambda team: people.where(team=team),
        "weight": lambda weight, team: people.where(weight=weight, team=team),
        "email": lambda email: people.where(email=email),
        "range": people.range,
        "pairs": lambda start, stop: pairs.range((start,), (stop,)),
        "note": lambda note, right: pairs.where(note=note, right=right),
        "left": lambda left: pairs.where(left=left),
    }
    return _shown(reads[name](*values))


def _shown(rows: Iterable[Any]) -> str:
    return " ".join(map(repr, rows))


class Model:
    """The same tables as dictionaries. Its records are taken all or not at all."""

    def __init__(self) -> None:
        self.people: dict[Any, Person] = {}
        self.pairs: dict[tuple[str, int], Pair] = {}
        self.heard: dict[int, str] = {}
        self.last = 0

    def copy(self) -> Model:
        """Another one with the same in it."""
        new = Model()
        new.people, new.pairs = dict(self.people), dict(self.pairs)
        new.heard, new.last = dict(self.heard), self.last
        return new

    def take(self, payload: bytes, offset: int) -> Model:
        """What comes of a record; `Refused` or `AlreadyExistsError` where nothing does."""
        new = self.copy()
        for each in json.loads(payload)["do"]:
            found = new._try(each)
            if found is not None:
                new.heard[offset % SLOTS] = found
        return new

    def _try(self, each: dict[str, Any]) -> str | None:
        try:
            return self._do(each["name"], each["values"])
        except transit.AlreadyExistsError:
            if not each.get("catch"):
                raise
            return "exists"

    def _do(self, name: str, values: list[Any]) -> str | None:
        if name in ("person", "insert", "add"):
            return self._person(name, values)
        if name == "leave":
            return str(self.people.pop(values[0], None) is not None)
        if name == "pair":
            self.pairs[values[0], values[1]] = pair(*values)
        elif name == "part":
            return str(self.pairs.pop((values[0], values[1]), None) is not None)
        elif name == "raise":
            raise Refused
        else:
            return self._read(name, values)
        return None

    def _person(self, name: str, values: list[Any]) -> str | None:
        row = Person(self.last + 1, *values) if name == "add" else Person(*values)
        if name != "person" and row.id in self.people:
            raise transit.AlreadyExistsError("there")
        if row.email is not None and any(
            each.email == row.email and each.id != row.id for each in self.people.values()
        ):
            raise transit.AlreadyExistsError("unique")
        assert row.id is not None
        self.people[row.id] = row
        self.last = max(self.last, row.id)
        return str(row.id) if name == "add" else None

    def _read(self, name: str, values: list[Any]) -> str:
        rows = [self.people[key] for key in sorted(self.people)]
        others = [self.pairs[key] for key in sorted(self.pairs)]
        if name == "count":
            return f"{len(rows)} {len(others)}"
        if name == "get":
            return _shown([self.people.get(values[0])])
        if name in ("team", "weight", "email", "range"):
            return _shown(row for row in rows if _is_person(row, name, *values))
        return _shown(row for row in others if _is_pair(row, name, *values))

    def rows(self) -> dict[str, list[Any]]:
        """All rows of all tables, in the order of their keys."""
        return {
            "people": [self.people[key] for key in sorted(self.people)],
            "pairs": [self.pairs[key] for key in sorted(self.pairs)],
            "heard": [Heard(slot, self.heard[slot]) for slot in sorted(self.heard)],
        }


def _is_person(row: Any, name: str, one: Any, other: Any = None) -> bool:
    if name == "weight":
        return bool(row.weight == one and row.team == other)
    if name == "range":
        return bool(one <= row.id < other)
    return bool(getattr(row, name) == one)


def _is_pair(row: Pair, name: str, one: Any, other: Any = None) -> bool:
    if name == "pairs":
        return bool(one <= row.left < other)
    return row.left == one if name == "left" else (row.note, row.right) == (one, other)


def rows_of(state: views.State) -> dict[str, list[Any]]:
    """All rows of a state."""
    return {name: list(table) for name, table in state.tables.items()}


def folded(stream: transit.Stream, stop: int | None = None) -> Model:
    """What a plain loop over records comes to."""
    model = Model()
    for record in stream.read(0, len(stream) if stop is None else stop):
        model = model.take(record.payload, record.offset)
    return model


def root_of(model: Model) -> str:
    """The root of a state that has these tables, built anew from what `transit.views.tables` says:
    rows, what each index has of them, and the last number."""
    entries: dict[bytes, bytes] = {b"\x03\0": model.last.to_bytes(8, "big")} if model.last else {}
    tables: dict[str, dict[Any, Any]] = {"people": model.people, "pairs": model.pairs}
    indexes: dict[str, list[tuple[str, ...]]] = {
        "people": [("team",), ("weight",), ("email",)],
        "pairs": [("note",), ("note", "right")],
    }
    for number, (name, rows) in enumerate(tables.items()):
        for key, row in rows.items():
            parts = key if isinstance(key, tuple) else (key,)
            place = encode_key(parts)
            entries[bytes((1, number)) + place] = msgspec.msgpack.encode(
                msgspec.structs.astuple(row)
            )
            for index, fields in enumerate(indexes[name]):
                values = tuple(getattr(row, field) for field in fields)
                if fields != ("email",) or row.email is None:
                    values += parts
                entries[bytes((2, number, index)) + encode_key(values)] = place
    for slot, text in model.heard.items():
        entries[b"\x01\x02" + encode_key((slot,))] = msgspec.msgpack.encode((slot, text))
    return Map.build(MemoryNodes(), sorted(entries.items())).root.hex()


_WORDS: Final = ("", "a", "ab", "b", "ü", "z\0z", "\x00")


def event(chance: random.Random) -> bytes:
    """A record drawn at random that no reducer refuses."""
    do = [_operation(chance) for _ in range(chance.choice((1, 1, 2, 3)))]
    return json.dumps({"do": do}).encode()


def event_of(number: int) -> bytes:
    """A record that follows from a number."""
    return event(random.Random(number))


def refused(chance: random.Random) -> bytes:
    """A record that a reducer raises at, after it has done something."""
    do = [_operation(chance) for _ in range(chance.randrange(4))]
    do += [{"name": "raise", "values": []}, _operation(chance)]
    return json.dumps({"do": do}).encode()


def _operation(chance: random.Random) -> dict[str, Any]:
    number, word = chance.randrange(-2, 14), chance.choice(_WORDS)
    mail = chance.choice((None, f"{chance.randrange(9)}@x"))
    person = [mail, word, chance.choice((0.0, -0.5, 1e9))]
    name, values = chance.choice(
        [
            ("person", [number, *person]), ("person", [number, *person]), ("add", person),
            ("insert", [number, *person]), ("leave", [number]), ("leave", [number]),
            ("pair", [word, number, chance.choice(_WORDS)]),
            ("pair", [word, number, chance.choice(_WORDS)]), ("part", [word, number]),
            ("get", [number]), ("team", [word]), ("weight", [person[2], word]),
            ("email", [mail]), ("range", [number, number + 4]), ("pairs", [word, word + "y"]),
            ("note", [word, number]), ("left", [word]), ("count", []),
        ]
    )  # fmt: skip
    return {"name": name, "values": values, "catch": True}
