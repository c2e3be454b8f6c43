"""Text that cannot steer a terminal, whatever a record, a file or a file's name holds."""

from __future__ import annotations

from typing import Final

# Zero-width non-joiner and joiner.
_JOINERS: Final = "\u200c\u200d"


def printable(text: str) -> str:
    """`text` with every character that is not shown, or steers a terminal, as an escape.

    Joiners are shown: words of many languages, and emoji, are not read without them.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in _JOINERS else each.encode("unicode_escape").decode()
        for each in text
    )


def printable_lines(text: str) -> str:
    """The same of each line of a text."""
    return "\n".join(map(printable, text.split("\n")))
