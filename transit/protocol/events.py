"""Records as server-sent events: section 5.8 of the protocol, and the HTML standard.

A line break inside a text would end a line of an event, and with it could begin another: each line
is a `data:` of its own, which readers join with a line feed again.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from typing import Final

import msgspec

_BREAK: Final = re.compile(rb"\r\n|\r|\n")


def data_event(payloads: Sequence[bytes], *, json: bool, text: bool) -> bytes:
    """The event that holds `payloads`: a JSON array, a text, or base64."""
    if json:
        lines = _BREAK.split(b"[" + b",\n".join(payloads) + b"]")
    elif text:
        # An event's data is text: what is not shows as U+FFFD, and byte for byte in other reads.
        lines = _BREAK.split(b"".join(payloads).decode(errors="replace").encode())
    else:
        lines = [b64encode(b"".join(payloads))]
    # One space after the colon is not part of a line: one that begins with a space needs two.
    shown = [b"data: " + line if line[:1] == b" " else b"data:" + line for line in lines]
    return b"event: data\n" + b"\n".join(shown) + b"\n\n"


def control_event(
    token: str, cursor: str | None, id: str, *, up_to_date: bool, closed: bool
) -> bytes:
    """The event that says where to go on; a browser that connects again sends its `id` back."""
    fields: dict[str, object] = {"streamNextOffset": token}
    if cursor is not None and not closed:
        fields["streamCursor"] = cursor
    if up_to_date or closed:
        fields["upToDate"] = True
    if closed:
        fields["streamClosed"] = True
    return b"event: control\ndata:%b\nid:%b\n\n" % (msgspec.json.encode(fields), id.encode())
