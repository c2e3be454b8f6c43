"""What a connected store does not have, and why.

Everything public of the embedded classes is either there, in the classes of this room, or here: a
test holds the two together. What is here raises `InvalidInputError` with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NoReturn

from transit import InvalidInputError

ABSENT: Final[Mapping[str, Mapping[str, str]]] = {
    "Log": {
        "recovery": "what opening cut off is known to the process that serves the store",
        "pieces": "pieces lie in files, which are on the server: read records, or open the store's"
        ' remote with mode="read"',
        "segments": "segments are files, which are on the server: read records, or open the store's"
        ' remote with mode="read"',
        "sealed": "it lies in segments, which are on the server: open the store's remote with"
        ' mode="read"',
        "cache": "what is cached there is made of segments, which are on the server",
        "checkpoint": "keys that sign stay where the store is: run it on the server's machine, or"
        " have the server sign with its own key: `sign_checkpoint()`",
        "release": "the server goes on writing: stop it, which publishes and closes",
        "rebase_onto_remote": "it closes the store, which others use: stop the server first",
        "refuses": "whether the store takes writes is what the server's /readyz says",
        "metrics": "they are of the process that serves the store, which tells them itself",
        "refresh": "the server looks for new commits itself",
        "gc": "what is not needed lies on the server's disk and in its remote: `transit gc` there",
        "erase": "it frees bytes on the server's disk and in its remote: `transit erase` there",
        "evict": "how much stays on the server's disk is for its machine to say: `transit evict`"
        " there",
    },
    "Stream": {
        "pieces": "pieces lie in files, which are on the server: read records, or open the store's"
        ' remote with mode="read"',
        "spans": "streams are named over a connection, not numbered: `log.lineage.spans` says the"
        " same by names",
    },
    "Lineage": {},
    "Layer": {},
    "WriteBatch": {
        "append_account": "the server works the frame out, and calls no function of yours",
    },
    "StagedStream": {},
    "Cursor": {},
    "Watch": {"tell": "the hub of an embedded store calls it"},
}
"""By class, by name: the reason."""

_FOLDS: Final = "it is for what folds, which is where the view is served"
ABSENT_OF_VIEWS: Final[Mapping[str, Mapping[str, str]]] = {
    "View": {
        "log": "the view is one of the server's store",
        "program": "the reducer is code of the server's; here there are its tables: `info`",
        "persist": "where savepoints are kept is the server's affair: `info.persist` says it",
        "unsaved": "the server keeps savepoints itself",
        "save": "the server keeps savepoints itself",
        "savepoints": "the server keeps savepoints itself",
        "skipped": "which records were no events is told where the store is",
        "verify": "folding again is for where the store is: view.verify() there",
        **dict.fromkeys(
            (
                "fold_from",
                "is_recorded",
                "points",
                "reach",
                "settle",
                "sources",
                "take_over",
                "unlisted",
            ),
            _FOLDS,
        ),
    },
    "State": {
        "applied": "how many records were events is told where the store is",
        "skipped": "which records were no events is told where the store is",
        "diff": "view.diff(before, after) asks the server",
    },
    "TableState": {
        "declared": "the rows' type is the server's; columns are in the view's `info`",
        "to_arrow": "views.sql(log, query, view=view, stream=stream) gives Arrow",
    },
    "Change": {"left": "it is counted where changes are delivered"},
    "Reconcilers": {"register": "code is registered where it runs: views.runner(log, [...])"},
}
"""The same of `transit.views`, for what `log.views` of a connection gives."""


def refuse(kind: str, name: str) -> NoReturn:
    """Say why it is not there."""
    raise InvalidInputError(f"{kind}.{name}: not over a connection: {ABSENT[kind][name]}")


def missing(kind: str, name: str) -> NoReturn:
    """The same of a class of `transit.views`; `AttributeError` for what is nowhere."""
    reason = ABSENT_OF_VIEWS[kind].get(name)
    if reason is None:
        raise AttributeError(f"{kind} has no {name!r}")
    raise InvalidInputError(f"{kind}.{name}: not over a connection: {reason}")
