"""Keyrings as a command unlocks them: by a key file, or a passphrase that is never an argument."""

from __future__ import annotations

import os
import sys
from typing import Final

import click

from transit import Keyring, KeyringError, NotFoundError
from transit.cli.configuration import reachable
from transit.cli.failures import CommandError, hinted
from transit.environment import PASSPHRASE_VARIABLE, Unlocking, unlocking

NEW_PASSPHRASE_VARIABLE: Final = "TRANSIT_NEW_PASSPHRASE"


def open_keyring(path: str, key_file: str | None) -> Keyring:
    """The keyring at `path`, unlocked by the key file, or else by a passphrase."""
    if not os.path.exists(path):
        # Nobody is asked for the passphrase of what is not there.
        with hinted(NotFoundError, "`transit keyring new FILE` makes a keyring"):
            raise NotFoundError(f"{path}: there is no such keyring")
    wrong = f"give the --key-file, or the {PASSPHRASE_VARIABLE}, that it was wrapped with"
    with hinted(KeyringError, wrong):
        return Keyring.open(path, **way_of(key_file))


def way_of(
    key_file: str | None, variable: str = PASSPHRASE_VARIABLE, *, is_new: bool = False
) -> Unlocking:
    """What unlocks a keyring, as `Keyring` takes it.

    variable: of the environment, with the passphrase; without it a terminal is asked, twice for
    one that is_new.
    """
    if key_file is not None:
        file = reachable(key_file)
        if not os.path.exists(file):
            with hinted(NotFoundError, "`transit keyring new-key-file FILE` makes a key file"):
                raise NotFoundError(f"{file}: there is no such key file")
        key_file = file
    if given := unlocking(key_file, os.environ.get(variable)):
        return given
    if not sys.stdin.isatty():
        raise CommandError(
            "a passphrase is needed, and nobody is there to ask",
            hint=f"set {variable}, or give --key-file FILE",
        )
    asked = click.prompt(
        "New passphrase" if is_new else "Passphrase of the keyring",
        hide_input=True, confirmation_prompt=is_new, err=True,
    )  # fmt: skip
    return {"passphrase": asked}
