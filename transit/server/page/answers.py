"""Answers of the page: HTML from templates, files that come with the package, and what went wrong.

Owns the policy that every page has: nothing but this server's own files runs, is shown, or is asked
for. Templates escape what they are given; they and the files are read once.

Addresses in pages are relative, so that the page works below any path that a proxy serves it at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pkgutil import get_data
from typing import Final
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from transit.server.asgi import Answer
from transit.server.page import texts
from transit.server.refusals import NO_STORE, Header
from transit.trace.page.document import SCRIPTS, resource

POLICY: Final = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS: Final[tuple[Header, ...]] = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", POLICY.encode()),
    # Forms say where they come from, to this server alone.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    NO_STORE,
)
_TYPES: Final = {
    "css": b"text/css; charset=utf-8", "js": b"text/javascript; charset=utf-8",
    "svg": b"image/svg+xml",
}  # fmt: skip


def _template(name: str) -> str | None:
    try:
        found = get_data("transit.server.page", f"templates/{name}")
    except FileNotFoundError:
        return None
    return None if found is None else found.decode()


@cache
def _templates() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    for name in ("readable", "duration", "moment", "iso", "number", "counted", "cost", "size"):
        made.filters[name] = getattr(texts, name)
    made.filters["part"] = lambda text: quote(str(text), safe="")
    made.globals["asset"] = address_of
    made.globals["run_elements"] = _run_elements
    return made


def page(template: str, said: Mapping[str, object], status: int = 200) -> Answer:
    """A page of HTML: a template, and what it is filled with."""
    text = _templates().get_template(template).render(said)
    # Half of a surrogate pair has no bytes: names have none, and values show it as an escape.
    return Answer(status, list(_HEADERS), text.encode("utf-8", "backslashreplace"))


def part(name: str, *given: object) -> str:
    """A part of pages: a macro, and what it is filled with."""
    templates = _templates()
    for template in ("rows.html", "parts.html", "said.html"):
        made = getattr(templates.get_template(template).module, name, None)
        if made is not None:
            return str(made(*given))
    raise KeyError(name)


def redirect(address: str, *headers: Header) -> Answer:
    """Go on there, with GET."""
    return Answer(303, [(b"location", address.encode()), NO_STORE, *headers])


def data_of(data: bytes) -> Markup:
    """JSON that may stand in a page: `harmless` was done to it."""
    return Markup(data.decode())


@cache
def _run_elements() -> Markup:
    """What a page of a run consists of, as in the page that is a file."""
    text = resource("page.html")
    begin, end = text.index('<header id="head"'), text.index('<script type="application/json"')
    return Markup(text[begin:end])


@cache
def _files() -> dict[str, bytes]:
    """The files that pages ask for."""
    *scripts, begin = [resource(f"script/{name}") for name in SCRIPTS]
    hearing = _own("script/hearing.js")
    run = "\n".join([*scripts, hearing, _own("script/live.js"), _own("script/notes.js"), begin])
    parts = ("site", "lists", "channel")
    site = "\n".join([hearing, *(_own(f"script/{name}.js") for name in parts)])
    return {
        "page.css": resource("page.css").encode(),
        "site.css": _own("site.css").encode(),
        "run.js": run.encode(),
        "site.js": site.encode(),
        "icon.svg": _own("icon.svg").encode(),
    }


def _own(name: str) -> str:
    found = get_data("transit.server.page", name)
    assert found is not None, "it comes with the package"
    return found.decode()


@cache
def _digest(name: str) -> str:
    return hashlib.sha256(_files()[name]).hexdigest()[:16]


def address_of(name: str) -> str:
    """The address of a file, which changes when the file does."""
    return f"assets/{name}?v={_digest(name)}"


def file_answer(name: str, version: str | None) -> Answer | None:
    """A file; None where there is none of this name. version: as `address_of` said."""
    data = _files().get(name)
    if data is None:
        return None
    known = version == _digest(name)
    lasting = b"max-age=31536000, immutable" if known else b"no-cache"
    kind = _TYPES[name.rpartition(".")[2]]
    policy = (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'")
    return Answer(200, [(b"content-type", kind), (b"cache-control", lasting), policy], data)
