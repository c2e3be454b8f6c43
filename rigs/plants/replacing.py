"""Replacing functions of the engine in a running process, for planted bugs."""

from __future__ import annotations

import sys
from types import ModuleType


def replace(owner: object, name: str, new: object) -> None:
    """Have `new` instead of `owner.name`, and instead of it wherever transit imported it."""
    old = getattr(owner, name)
    setattr(owner, name, new)
    if isinstance(owner, type):
        return
    for module in list(sys.modules.values()):
        if module.__name__.startswith("transit.") and getattr(module, name, None) is old:
            setattr(module, name, new)


def replace_in(module: ModuleType, name: str, new: object) -> None:
    """Have `new` instead of `name` in one module only."""
    setattr(module, name, new)
