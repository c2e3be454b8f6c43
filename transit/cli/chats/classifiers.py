"""The classifier that was named: one of those that are there, or one of the user's own code.

Its code is run in this process, as the views' is (`transit.views.loading`): it is the operator who
names it, never a record.
"""

from __future__ import annotations

import sys
from importlib import import_module, util
from pathlib import Path
from types import ModuleType
from typing import Final, cast

import click

from transit import chat
from transit.chat.policies import BUILT_IN, built_in
from transit.cli.failures import CommandError

_HINT: Final = (
    "there are linear, rule, source, source:PLATFORM, and MODULE:NAME or FILE.py:NAME, such as "
    'NAME = chat.judged("mine", "1", function)'
)

classifier_option = click.option(
    "--classifier", metavar="C",
    help="linear, rule, source, or your own: MODULE:NAME; else as the channel's policy says.",
)  # fmt: skip
decide_at_option = click.option(
    "--decide-at", type=click.FloatRange(0, 1), metavar="P",
    help="What scores less is only proposed; else as the policy says.",
)  # fmt: skip


def classifier_of(name: str | None) -> chat.Classifier | None:
    """The classifier of this name; a usage error that says which there are. None: the policy's."""
    if name is None:
        return None
    place, colon, wanted = name.rpartition(":")
    if name in BUILT_IN:
        return built_in(name)
    if place == "source":
        return chat.source(name)
    if not colon or not place or not wanted.isidentifier():
        raise CommandError(f"there is no classifier {name!r}", hint=_HINT)
    return _made(name, _loaded(name, place), wanted)


def _loaded(name: str, place: str) -> ModuleType:
    try:
        return _of_file(Path(place)) if place.endswith(".py") else _of_name(place)
    except Exception as error:
        # Whatever the code raises as it is loaded.
        raise CommandError(f"{name}: {type(error).__name__}: {error}", hint=_HINT) from error


def _made(name: str, module: ModuleType, wanted: str) -> chat.Classifier:
    found = getattr(module, wanted, None)
    if isinstance(found, type):
        found = found()
    if found is None or not all(hasattr(found, each) for each in ("decider", "name", "version")):
        what = "nothing of that name" if found is None else f"a {type(found).__name__} there"
        raise CommandError(f"{name}: {what}, and no classifier", hint=_HINT)
    return cast("chat.Classifier", found)


def _of_file(path: Path) -> ModuleType:
    spec = util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError("is no Python file")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _of_name(name: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")
    return import_module(name)
