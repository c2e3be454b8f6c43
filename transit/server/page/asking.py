"""What a page is asked for: parameters of its address, strictly."""

from __future__ import annotations

from urllib.parse import quote

from transit import InvalidInputError
from transit.server.asgi import Request


def known(request: Request, *names: str) -> dict[str, str]:
    """The query; `InvalidInputError` for a parameter that means nothing here."""
    query = dict(request.query)
    for name in query.keys() - set(names):
        raise InvalidInputError(f"query: {name[:64]!r} means nothing here")
    return query


def query_without(query: dict[str, str], *names: str) -> str:
    """The beginning of a query that says the same again, but for these."""
    kept = [(key, value) for key, value in query.items() if value and key not in names]
    return "".join(f"{key}={quote(value, safe='')}&" for key, value in kept)


def number(text: str, what: str) -> int:
    """A parameter that is a number; `InvalidInputError`."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidInputError(f"{what} must be a number, not {text[:64]!r}")
    return int(text)


def choice(text: str, choices: tuple[str, ...], what: str) -> str:
    """A parameter that is one of some words, or empty; `InvalidInputError`."""
    if text and text not in choices:
        raise InvalidInputError(f"{what} must be one of {', '.join(choices)}, not {text[:64]!r}")
    return text
