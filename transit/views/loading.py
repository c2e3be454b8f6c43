"""What a module declares: the reducers and reconcilers that a command, or a server, is to run.

Owns how a place on a command line becomes code that runs in this process: nothing else in transit
loads code by a name. A place is a file or a module, and may name one thing in it:

    FILE.py    FILE.py:NAME    MODULE    MODULE:NAME

NAME is a reducer, a reconciler, or a list of these; without it, all that the module holds is taken.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from importlib import import_module, util
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from transit import InvalidInputError
from transit.views.loops.reconcile import Reconciler
from transit.views.reducing import Program, Reducer


class Declared(msgspec.Struct, frozen=True):
    """What was found at one place, or several."""

    programs: tuple[Program, ...] = ()
    reconcilers: tuple[Reconciler, ...] = ()


def load(place: str) -> Declared:
    """What a place declares; `InvalidInputError` where that cannot be loaded, or is nothing."""
    name, _, wanted = _parted(place)
    try:
        module = _of_file(Path(name)) if name.endswith(".py") else _of_name(name)
    except Exception as error:
        # Whatever the code raises as it is loaded.
        raise InvalidInputError(
            f"{place}: {type(error).__name__}: {error}: give FILE.py, or a module's name"
        ) from error
    if wanted:
        if not hasattr(module, wanted):
            raise InvalidInputError(f"{place}: the module has nothing named {wanted!r}")
        found = list(_inside(getattr(module, wanted)))
        if not found:
            raise InvalidInputError(f"{place}: no reducer, no reconciler, and no list of these")
    else:
        found = [each for value in vars(module).values() for each in _one(value)]
    return _sorted(found)


def load_all(places: Iterable[str]) -> Declared:
    """What several places declare, each thing once.

    `InvalidInputError` as `load`, where a place declares nothing, and where two things have one
    name.
    """
    programs: dict[str, Program] = {}
    reconcilers: dict[str, Reconciler] = {}
    for place in places:
        found = load(place)
        if not found.programs and not found.reconcilers:
            raise InvalidInputError(
                f"{place}: declares no reducer and no reconciler: decorate one with"
                " @views.reducer(…) or @views.reconciler(…)"
            )
        for program in found.programs:
            _put(programs, program.spec.name, program, f"{place}: another view")
        for reconciler in found.reconcilers:
            _put(reconcilers, reconciler.name, reconciler, f"{place}: another reconciler")
    return Declared(tuple(programs.values()), tuple(reconcilers.values()))


def _put(known: dict[str, Any], name: str, value: object, what: str) -> None:
    before = known.setdefault(name, value)
    if before is not value:
        raise InvalidInputError(f"{what} is named {name!r} already: give one another name=")


def _parted(place: str) -> tuple[str, str, str]:
    head, colon, name = place.rpartition(":")
    return (head, colon, name) if colon and name.isidentifier() else (place, "", "")


def _one(value: object) -> Iterator[object]:
    if isinstance(value, Reconciler) or is_program(value):
        yield value


def _inside(value: object) -> Iterator[object]:
    if isinstance(value, list | tuple):
        for each in value:
            yield from _one(each)
    else:
        yield from _one(value)


def is_program(value: object) -> bool:
    """Whether a value is what a view is made by."""
    if isinstance(value, Reducer):
        return True
    # Asked by name: the module of programs of WebAssembly loads its engine.
    return not isinstance(value, type) and all(
        hasattr(value, name) for name in ("spec", "tables", "fold")
    )


def _sorted(found: list[Any]) -> Declared:
    once = list({id(each): each for each in found}.values())
    return Declared(
        tuple(each for each in once if not isinstance(each, Reconciler)),
        tuple(each for each in once if isinstance(each, Reconciler)),
    )


def _of_file(path: Path) -> ModuleType:
    spec = util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError("is no Python file")
    module = util.module_from_spec(spec)
    # A reducer is found again by its module's name, in another process too.
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module


def _of_name(name: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")
    return import_module(name)
