"""`transit keyring`: the keys of an encrypted store."""

from __future__ import annotations

import click

from transit import InvalidInputError, Keyring
from transit.cli.configuration import reachable
from transit.cli.failures import CommandError
from transit.cli.keyrings import NEW_PASSPHRASE_VARIABLE, open_keyring, way_of
from transit.cli.opening import Session
from transit.cli.options import store_options
from transit.cli.values import moment_text

COLUMNS = ("id", "owner", "state", "made", "destroyed", "reason")

_PATH = click.argument("path", metavar="[FILE]", required=False, type=click.Path())
_OWNER = click.option(
    "--owner", metavar="OWNER", help='Of this one alone: "store", stream:UID or subject:TEXT.'
)


@click.group()
def command() -> None:
    """Make a keyring, look at it, and rotate, wrap anew or destroy its keys.

    A keyring is unlocked by --key-file, or by a passphrase: the variable TRANSIT_PASSPHRASE, or
    what is typed at a terminal. FILE is the keyring; without it, the configured one. It must not
    lie in the store, nor in its remote. Keep a copy: what is encrypted is lost with its keys.
    """


@command.command()
@click.argument("path", metavar="FILE", type=click.Path())
@store_options
def new(context: Session, path: str) -> None:
    """Make a keyring without keys; a store's first use of it binds it to that store."""
    way = way_of(context.configuration.key_file, is_new=True)
    ring = Keyring.create(reachable(path), **way)
    context.output.row({"keyring": ring.path, "id": ring.id, "by": ring.by})


@command.command()
@_PATH
@store_options
def show(context: Session, path: str | None) -> None:
    """Print which store the keyring is for, and of each key whose it is and what became of it."""
    ring = _opened(context, path)
    store, keys = ring.store_id, ring.keys()
    rows = [
        {
            "id": each.id,
            "owner": each.owner,
            "state": each.state,
            "made": moment_text(each.made),
            "destroyed": None if each.destroyed is None else moment_text(each.destroyed),
            "reason": each.reason,
        }
        for each in keys
    ]
    about = {
        "keyring": ring.path,
        "id": ring.id,
        "by": ring.by,
        "store": None if store is None else store.hex(),
        "keys": len(keys),
    }
    context.output.row(about)
    context.output.rows("keys", COLUMNS, rows)


@command.command()
@_PATH
@_OWNER
@store_options
def rotate(context: Session, path: str | None, owner: str | None) -> None:
    """Have new data keys from the next use on; old ones stay, for what they encrypted."""
    ring = _opened(context, path)
    context.output.row({"keyring": ring.path, "rotated": ring.rotate(owner)})


@command.command()
@_PATH
@click.option(
    "--new-key-file", metavar="FILE", type=click.Path(), help="What unlocks it from now on."
)
@click.option(
    "--new-passphrase", is_flag=True,
    help=f"A passphrase unlocks it from now on: {NEW_PASSPHRASE_VARIABLE}, or typed.",
)  # fmt: skip
@store_options
def rewrap(
    context: Session, path: str | None, new_key_file: str | None, new_passphrase: bool
) -> None:
    """Wrap all keys anew, for another key file or passphrase. What is encrypted stays as it is."""
    if (new_key_file is None) != new_passphrase:
        raise click.UsageError("say what unlocks it: --new-key-file FILE or --new-passphrase")
    ring = _opened(context, path)
    ring.rewrap(**way_of(new_key_file, NEW_PASSPHRASE_VARIABLE, is_new=True))
    context.output.row({"keyring": ring.path, "by": ring.by, "keys": len(ring.keys())})


@command.command()
@click.argument("owner", metavar="OWNER")
@click.option("--reason", required=True, help="Kept with it.")
@store_options
def destroy(context: Session, owner: str, reason: str) -> None:
    """Destroy all keys of OWNER, stream:UID or subject:TEXT: what they encrypted is gone.

    That cannot be taken back. Copies of the keyring made before still have the keys. To see which
    there are: `transit keyring show`.
    """
    ring = _opened(context, None)
    count = ring.destroy(owner, reason)
    if not count:
        raise InvalidInputError(f"{owner!r} has no keys in {ring.path}")
    context.output.row({"keyring": ring.path, "owner": owner, "destroyed": count})


@command.command()
@click.argument("path", metavar="FILE", type=click.Path())
@store_options
def new_key_file(context: Session, path: str) -> None:
    """Make a key file: 32 random bytes in hex that only you can read."""
    context.output.row({"key_file": Keyring.new_key_file(reachable(path))})


def _opened(context: Session, path: str | None) -> Keyring:
    configuration = context.configuration
    chosen = path or configuration.keyring
    if chosen is None:
        raise CommandError(
            "no keyring is configured",
            hint='give FILE or --keyring FILE, set TRANSIT_KEYRING, or write keyring = "FILE" '
            "into transit.toml",
        )
    return open_keyring(reachable(chosen), configuration.key_file)
