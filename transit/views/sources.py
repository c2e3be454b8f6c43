"""The digest of a Python function: of its tokens, without comments and blanks.

Bytecode and syntax trees differ between versions of Python, tokens do not: a text with values in it
(an f-string) is one token in 3.11 and several later, so here it is always one. What the function
calls elsewhere is not covered.
"""

from __future__ import annotations

import ast
import inspect
import io
import textwrap
import tokenize
from collections.abc import Callable, Iterator
from typing import Any, Final

from blake3 import blake3

from transit import InvalidInputError

_LEFT_OUT: Final = frozenset(
    {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER, tokenize.TYPE_COMMENT}
)
_F_START: Final = getattr(tokenize, "FSTRING_START", -1)
_F_END: Final = getattr(tokenize, "FSTRING_END", -1)


def source_digest(function: Callable[..., Any]) -> str:
    """64 hex digits: the digest of a function's source, decorators left out.

    `InvalidInputError` where there is no source: in some interactive shells, and made by `exec`.
    """
    try:
        text = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise InvalidInputError(
            f"the source of {function!r} is not there ({error}): put it in a file, or give code="
        ) from None
    return blake3("\0".join(_tokens(_undecorated(text))).encode()).hexdigest()


def _undecorated(text: str) -> str:
    """The lines of a function from its `def` on; of a lambda the whole statement."""
    try:
        first = ast.parse(text).body[0]
    except (SyntaxError, IndexError):
        # A lambda inside of a call: its lines alone are no statement.
        return text
    line = getattr(first, "lineno", 1)
    return "".join(text.splitlines(keepends=True)[line - 1 :])


def _tokens(text: str) -> Iterator[str]:
    lines = text.splitlines(keepends=True)
    depth, start = 0, (0, 0)
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == _F_START:
                start = start if depth else token.start
                depth += 1
            elif token.type == _F_END:
                depth -= 1
                if not depth:
                    yield _between(lines, start, token.end)
            elif depth or token.type in _LEFT_OUT:
                continue
            elif token.type in (tokenize.INDENT, tokenize.DEDENT):
                # How far is a matter of taste.
                yield tokenize.tok_name[token.type]
            elif token.type == tokenize.NEWLINE:
                yield "\n"
            else:
                yield token.string
    except tokenize.TokenError:
        # The lines of a lambda inside of a call may end in the middle.
        return


def _between(lines: list[str], start: tuple[int, int], stop: tuple[int, int]) -> str:
    if start[0] == stop[0]:
        return lines[start[0] - 1][start[1] : stop[1]]
    first, *middle = lines[start[0] - 1 : stop[0] - 1]
    return "".join([first[start[1] :], *middle, lines[stop[0] - 1][: stop[1]]])
