"""`transit token`: the tokens of a server, in their file."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import click

from transit.cli.opening import Session
from transit.cli.options import DURATION, store_options

_FILE = click.option(
    "--tokens", "file", metavar="FILE", envvar="TRANSIT_TOKENS", required=True,
    help="The file of tokens, made where there is none.",
)  # fmt: skip


@click.group()
def command() -> None:
    """Make, list and take back the tokens of a server.

    A running server sees a change within a second.
    """


@command.command()
@click.argument("name")
@click.option(
    "--allow", multiple=True, required=True, metavar="PREFIX=RIGHT,…",
    help="Rights on streams whose names begin so: read, append, branch, merge, admin, or all.",
)  # fmt: skip
@click.option("--expires", type=DURATION, help="It is good for so long.")
@_FILE
@store_options
def new(
    context: Session, name: str, allow: tuple[str, ...], expires: float | None, file: str
) -> None:
    """Print a new token NAME, this once, and keep its digest in the file.

    A prefix is text: "fix-1" covers "fix-10" too, "fix-1/" does not; an empty one covers all.
    """
    # Imported here: `--help` needs no server.
    from transit.server.tokens import new_token, parse_allowed

    allowed: dict[str, list[str]] = {}
    for text in allow:
        prefix, rights = parse_allowed(text)
        if prefix in allowed:
            raise click.UsageError(f"prefix {prefix!r} is given twice")
        allowed[prefix] = rights
    until = None if expires is None else time.time() + expires
    secret = new_token(file, name, allowed, until)
    context.output.document(name, {"name": name, "token": secret, "expires": _shown(until)})


@command.command("list")
@_FILE
@store_options
def list_(context: Session, file: str) -> None:
    """List the tokens of the file: names, rights, until when; never the tokens themselves."""
    # Imported here: `--help` needs no server.
    from transit.server.access import RIGHTS
    from transit.server.tokens import is_expired, read_tokens  # nor this

    rows = [
        {
            "name": token.name,
            "allow": {prefix: sorted(rights, key=RIGHTS.index) for prefix, rights in token.rights},
            "expires": _shown(token.expires),
            "expired": is_expired(token),
        }
        for token in read_tokens(file)[1]
    ]
    context.output.rows("tokens", ("name", "allow", "expires", "expired"), rows)


@command.command()
@click.argument("name")
@_FILE
@store_options
def remove(context: Session, name: str, file: str) -> None:
    """Take the token NAME out of the file; what it was doing at a server ends."""
    # Imported here: `--help` needs no server.
    from transit.server.tokens import remove_token

    remove_token(file, name)
    context.output.row({"name": name, "removed": True})


def _shown(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(int(moment), UTC).isoformat()
