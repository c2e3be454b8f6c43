"""The variables of the environment that name a store: read by the command, and by adapters.

    TRANSIT_STORE                        a folder, or a server's http(s):// address
    TRANSIT_REMOTE                       where a folder is published
    TRANSIT_REPLICAS                     remotes that follow that one, separated by white space
    TRANSIT_FLEET                        instead, the fleet that a folder's store is a member of
    TRANSIT_MODE, TRANSIT_DURABILITY     as `transit.open` takes them
    TRANSIT_TOKEN                        what a server knows its client by
    TRANSIT_KEYRING                      path of an encrypted store's keyring, which is unlocked by
    TRANSIT_KEY_FILE                     this file, or else by
    TRANSIT_PASSPHRASE                   this text
    TRANSIT_ENCRYPT                      what is encrypted: remote, all

Owns the names, and which of two ways unlocks a keyring. An empty variable is none.
"""

from __future__ import annotations

from typing import Final, TypedDict

STORE_VARIABLE: Final = "TRANSIT_STORE"
REMOTE_VARIABLE: Final = "TRANSIT_REMOTE"
REPLICAS_VARIABLE: Final = "TRANSIT_REPLICAS"
FLEET_VARIABLE: Final = "TRANSIT_FLEET"
MODE_VARIABLE: Final = "TRANSIT_MODE"
DURABILITY_VARIABLE: Final = "TRANSIT_DURABILITY"
TOKEN_VARIABLE: Final = "TRANSIT_TOKEN"
KEYRING_VARIABLE: Final = "TRANSIT_KEYRING"
KEY_FILE_VARIABLE: Final = "TRANSIT_KEY_FILE"
PASSPHRASE_VARIABLE: Final = "TRANSIT_PASSPHRASE"
ENCRYPT_VARIABLE: Final = "TRANSIT_ENCRYPT"


class Unlocking(TypedDict, total=False):
    """What unlocks a keyring, as `Keyring` takes it."""

    key_file: str
    passphrase: str


def unlocking(key_file: str | None, passphrase: str | None) -> Unlocking:
    """The key file, or else the passphrase; nothing where neither is given."""
    if key_file:
        return {"key_file": key_file}
    return {"passphrase": passphrase} if passphrase else {}


def is_server(place: str) -> bool:
    """Whether `place` is the URL of a server of transit, rather than of a folder or remote."""
    return place.lower().startswith(("http://", "https://"))
