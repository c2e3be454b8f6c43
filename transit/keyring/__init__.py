"""Keyrings: the data keys of encrypted stores, in one file, wrapped by a master secret.

envelopes  the keys of one open store: chunks into envelopes, and out of them
keyring    `Keyring`: makes, finds, rotates and destroys keys
shared     the file as one process has it: threads, other processes, forks, what is durable
document   the file's bytes: shape, check, MAC
masters    what unlocks a keyring: a passphrase, a key file, a key service
ciphers    AES-256-GCM, by `cryptography`
files      reading, replacing and locking the file; key files and their rights
"""

from transit.keyring.document import KeyInfo
from transit.keyring.keyring import Key, Keyring

__all__ = ["Key", "KeyInfo", "Keyring"]
