"""Parts of pages as trees, from which a script makes elements: it is given no HTML to parse.

The policy of the pages forbids that, and so a part that is put into an open page is what a template
made, tag by tag, with all that a store holds as text. A tree is text, or `[tag, [[name, value], …],
[tree, …]]`.
"""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Final

Tree = str | list[object]
_VOID: Final = frozenset({"input", "br", "wbr", "img", "hr"})


class _Builder(HTMLParser):
    """Builds the tree of well-formed HTML."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[object] = []
        self._open: list[list[object]] = [self.found]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See `HTMLParser`."""
        inside: list[object] = []
        self._open[-1].append([tag, [[name, value or ""] for name, value in attrs], inside])
        if tag not in _VOID:
            self._open.append(inside)

    def handle_endtag(self, tag: str) -> None:
        """See `HTMLParser`."""
        if tag not in _VOID:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        """See `HTMLParser`."""
        self._open[-1].append(data)


def trees_of(html: str) -> list[object]:
    """The trees of what a template of ours made; space at its ends is left out."""
    builder = _Builder()
    # Half of a surrogate pair is shown as an escape, as in the page itself.
    builder.feed(html.strip().encode("utf-8", "backslashreplace").decode())
    builder.close()
    return builder.found
