"""Plants a changed source into a module that is loaded already.

What every later call of a function runs is its code object. So a change within functions can be
planted without loading the module, and all that imported it, anew. A change outside of them (a
constant, a decorator, a default) had its effect when the module was loaded: it is not planted.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType

Codes = dict[CodeType, CodeType]


def replacements(old: str, new: str) -> Codes | None:
    """The new code of each function; None if something outside of functions changes."""
    found: Codes = {}
    same = _pair(compile(old, "module", "exec"), compile(new, "module", "exec"), found)
    return found if same and found else None


def plant(codes: Codes) -> bool:
    """Give every function that lives the code in place of its own; whether there was one."""
    planted = False
    # What the tests froze would not be listed.
    gc.unfreeze()
    for each in gc.get_objects():
        if type(each) is FunctionType and each.__code__ in codes:
            each.__code__ = codes[each.__code__]
            planted = True
    return planted


def _pair(old: CodeType, new: CodeType, found: Codes) -> bool:
    """Note which code belongs in the place of which; whether this is all that changes."""
    inner, changed = list(_inner(old)), list(_inner(new))
    in_function = bool(old.co_flags & inspect.CO_OPTIMIZED)
    if in_function:
        # Another number of free variables is another kind of function.
        if len(old.co_freevars) != len(new.co_freevars):
            return False
        found[old] = new
    elif _own(old) != _own(new):
        return False
    if len(inner) != len(changed):
        # A lambda or a comprehension less: those made from now on are of the new code.
        return in_function
    return all(_pair(*pair, found) for pair in zip(inner, changed, strict=True))


def _inner(code: CodeType) -> Iterator[CodeType]:
    return (each for each in code.co_consts if isinstance(each, CodeType))


def _own(code: CodeType) -> tuple[object, ...]:
    """What the code does itself, its functions and the numbers of its lines left out."""
    constants = [
        (type(each), None if isinstance(each, CodeType) else each) for each in code.co_consts
    ]
    return code.co_code, constants, code.co_names, code.co_name, code.co_exceptiontable
