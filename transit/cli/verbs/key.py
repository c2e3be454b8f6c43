"""`transit key`: keys that sign checkpoints."""

from __future__ import annotations

import click

from transit import NotFoundError, SigningKey
from transit.cli.escapes import printable
from transit.cli.failures import CommandError, hinted
from transit.cli.opening import Session
from transit.cli.options import store_options
from transit.cli.trust import Kind, Role, show, vkey_of, write_new


@click.group()
def command() -> None:
    """Make keys that sign checkpoints, and print what others check them with.

    A key is one line of text in a file that only you can read. Its vkey is for everybody: whoever
    has it checks what the key signed.
    """


@command.command()
@click.argument("name")
@click.option(
    "--kind", type=click.Choice(("ed25519", "ml-dsa-44")), default="ed25519", show_default=True,
    help="Public witnesses need an Ed25519 signature; ML-DSA-44 stands beside it.",
)  # fmt: skip
@click.option("--witness", is_flag=True, help="A key that cosigns the checkpoints of others.")
@click.option(
    "-o", "--output", "file", metavar="FILE", required=True, type=click.Path(),
    help="Where the key goes: a new file that only you can read.",
)  # fmt: skip
@store_options
def new(context: Session, name: str, kind: Kind, witness: bool, file: str) -> None:
    """Make a key NAME, such as example.com/runs, and print its vkey.

    The id of the store is put behind NAME, as the origin of its checkpoints. Without a store, and
    for a witness, the name is NAME alone.
    """
    if file == "-":
        raise CommandError("a key is written to a file, never printed", hint="give -o FILE")
    whole = name if witness else _with_store(context, name)
    role: Role = "witness" if witness else "log"
    key = SigningKey.generate(whole, kind, role)
    write_new(file, key.to_text().encode() + b"\n", secret=True)
    verifying = key.verifying
    said = {
        "name": verifying.name,
        "kind": kind,
        "role": role,
        "id": verifying.key_id.hex(),
        "file": file,
    }
    if context.output.tables:
        show(context.output, said)
        context.output.line(verifying.to_text())
    else:
        show(context.output, {**said, "vkey": verifying.to_text()})


def _with_store(context: Session, name: str) -> str:
    if context.configuration.store is None or not name:
        return name
    hint = "make the store first: a key of a log is named for its store"
    with hinted(NotFoundError, hint), context.open_read() as log:
        store = log.store_id
    return name if name.endswith(f"/{store}") else f"{name}/{store}"


@command.command("show")
@click.argument("file", type=click.Path())
@store_options
def show_(context: Session, file: str) -> None:
    """Print the vkey of the key in FILE, alone on a line; the key itself is never printed."""
    key = vkey_of(file)
    if context.flags.format == "json":
        said = {"name": key.name, "id": key.key_id.hex(), "vkey": key.to_text()}
        show(context.output, said)
    else:
        # In a pipe byte for byte; at a terminal nothing in a name may steer it.
        text = key.to_text()
        context.output.line(printable(text) if context.output.terminal else text)
