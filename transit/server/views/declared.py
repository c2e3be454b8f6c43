"""What an operator named, and who may use it.

A view has the right of its prefix, `$views/<name>`; whose state is asked for has the right of its
stream besides. A reconciler is its stream, `$views/reconcilers/<name>`, and its ticks are theirs,
`$views/ticks/<name>`. What may not be read is not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from transit import InvalidInputError, NotFoundError
from transit.server.access import APPEND, READ, Grant
from transit.views.reducing import Program

VIEWS: Final = "$views/"
# What streams of the layer begin with beside ids of views, which are hexadecimal.
_TAKEN: Final = ("claims", "names", "reconcilers", "schedules", "ticks")
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,99}")
_HEXADECIMAL: Final = re.compile(r"[0-9a-f]+")


def check_programs(programs: Iterable[Program]) -> None:
    """`InvalidInputError` where a name would give a token more than its view."""
    for program in programs:
        name = program.spec.name
        if not _NAME.fullmatch(name):
            raise InvalidInputError(
                f"view {name!r}: a view that is served is 1 to 100 letters, digits, '_' and '-', "
                "a letter first: give name="
            )
        if _HEXADECIMAL.fullmatch(name) or any(each.startswith(name) for each in _TAKEN):
            raise InvalidInputError(
                f"view {name!r}: a token for {VIEWS}{name} would reach other streams that begin so:"
                " give another name="
            )


def may_read(grant: Grant, view: str) -> bool:
    """Whether a client may read the tables of a view, of streams that it may read."""
    return grant.allows(READ, VIEWS + view)


def subscriber_name(view: str, subscriber: str) -> str:
    """What a subscriber is called in a token's prefixes."""
    return f"{VIEWS}{view}/subscribers/{subscriber}"


def check_subscriber(grant: Grant, view: str, subscriber: str) -> None:
    """`RefusedError` (403) unless a client may say how far this subscriber is."""
    grant.check(APPEND, subscriber_name(view, subscriber))


def no_view(name: str) -> NotFoundError:
    """What is said of a view that is not there, or that the client may not read."""
    return NotFoundError(f"there is no view {name[:128]!r}: /v1/views has their names")


def no_reconciler(name: str) -> NotFoundError:
    """The same of a reconciler."""
    return NotFoundError(f"there is no reconciler {name[:128]!r}")
