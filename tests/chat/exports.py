"""Small exports of our own making, and what tests ask of the items that readers give."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
from hypothesis import strategies as st

from transit.chat.imports.items import Bad, Item, Member, Said
from transit.errors import TransitError

# What may stand anywhere in a document of JSON.
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["1355517523.000005", "U1", "message", "m.replace", "2020-01-01T00:00:00Z"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


def records_with(*names: str) -> st.SearchStrategy[object]:
    """Objects that have some of these members, with anything in them, and sometimes no object."""
    return st.dictionaries(st.sampled_from(names), ANYTHING, max_size=8) | ANYTHING


def leaves(value: object) -> Iterator[object]:
    """All texts, numbers, booleans and nulls in a document."""
    if isinstance(value, Mapping):
        for each in value.values():
            yield from leaves(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from leaves(each)
    else:
        yield value


def lost(record: object, items: Iterable[Item]) -> list[object]:
    """The leaves of `record` that none of `items` has, in any of its fields or in its id."""
    there = [leaf for item in items for leaf in leaves(msgspec.to_builtins(item))]
    ends = {re.split(r"[/:]", leaf)[-1] for leaf in there if isinstance(leaf, str)}
    return [leaf for leaf in leaves(record) if leaf not in there and str(leaf) not in ends]


def written(items: Iterable[Item]) -> list[Item]:
    """The items, all of which can be written as JSON and have the kinds of values they say."""
    items = list(items)
    for item in items:
        assert msgspec.convert(msgspec.to_builtins(item), type(item)) == item
        assert msgspec.json.decode(msgspec.json.encode(item))
        if isinstance(item, Bad):
            assert item.reason
            assert len(item.raw) <= 2_000
        else:
            assert item.id
            assert item.channel
            assert 0 <= item.time < 2**63
        assert item.place.number >= 1
    ids = [item.id for item in items if isinstance(item, Said | Member)]
    assert len(ids) == len(set(ids))
    return items


def read_or_refused(read: Callable[[], Iterable[Item]]) -> list[Item] | TransitError:
    """The items, or the error of transit that is raised instead; any other error is a failure."""
    try:
        return written(read())
    except TransitError as error:
        return error


def said(items: Iterable[Item]) -> list[Said]:
    return [item for item in items if isinstance(item, Said)]


def bads(items: Iterable[Item]) -> list[Bad]:
    return [item for item in items if isinstance(item, Bad)]


def put(folder: Path, files: Mapping[str, object]) -> Path:
    """Write documents, or bytes as they are, below `folder`."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return folder


def pack(path: Path, files: Mapping[str, object]) -> Path:
    """The same in a zip archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            archive.writestr(name, data)
    return path
