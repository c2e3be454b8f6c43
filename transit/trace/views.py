"""Views: typed events made of what an adapter recorded, while it is read.

An adapter keeps records in its stack's own form, so that nothing is lost in translation, and says
in the stream's metadata which adapter it is (`ADAPTER`). Its view makes an event of each record;
`read`, `find`, `runs` and the command then work on such a stream as on any other. Owns which view
a stream has. A view whose stack is not installed gives `Unknown` events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Final

from transit import InvalidInputError, Record, Stream
from transit.trace.events import Event, Unknown, check_text, decode_event

Take = Callable[[Record], Event | Unknown]
"""Makes an event of the next record; it is given all records of one stream in order, from 0."""

View = Callable[[Stream], Take]
"""What is registered: called once for each reading of a stream."""

# The member of a stream's metadata that says which adapter wrote its records.
ADAPTER: Final = "adapter"
# The rooms above say there what they view; nothing of theirs is loaded before it is needed.
_REGISTERED_IN: Final = "transit.adapters.views"

_views: dict[str, View | str] = {}


def register_view(adapter: str, view: View | str) -> None:
    """Have streams whose metadata say `adapter` read through `view`; the last one said counts.

    view: a function of the stream that gives a function of its records, or "module:name" of one,
    which is loaded when such a stream is first read.
    Raises `InvalidInputError` for what is neither.
    """
    check_text(adapter, "adapter")
    if not callable(view) and not (isinstance(view, str) and view.count(":") == 1):
        raise InvalidInputError(f"view must be a function or module:name, not {view!r}")
    _views[adapter] = view


def view_of(stream: Stream) -> Take | None:
    """What makes events of a stream's records, anew for one reading; None where they are events."""
    adapter = stream.metadata.get(ADAPTER)
    if not isinstance(adapter, str):
        return None
    if adapter not in _views:
        import_module(_REGISTERED_IN)
    view = _views.get(adapter)
    if isinstance(view, str):
        module, _, name = view.partition(":")
        try:
            view = _views[adapter] = getattr(import_module(module), name)
        except ImportError:
            return lambda record: Unknown(adapter, None)
    return None if view is None else view(stream)


def seen(
    stream: Stream, start: int | None = None, stop: int | None = None
) -> Iterator[tuple[Record, Event | Unknown]]:
    """The records of a stream from `start` on, each with its event; packed fields are packed."""
    take = view_of(stream)
    if take is None:
        for record in stream.read(start, stop):
            yield record, decode_event(record.payload)
        return
    # What a record refers to may stand before.
    for record in stream.read(None, stop):
        event = take(record)
        if start is None or record.offset >= start:
            yield record, event
