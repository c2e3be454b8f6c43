"""How an adapter comes to its store: one that is given, one that it opens, or the process's own.

A program gives a `Log`, or a place. A stack that makes its objects itself gives nothing: those
share one store a process, which the environment names in the words of the command: see
`transit.environment`. What an adapter opened itself it opens again in a child made by fork.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Final, Self

import transit
from transit import InvalidInputError, Keyring, address_folder
from transit.environment import (
    DURABILITY_VARIABLE,
    ENCRYPT_VARIABLE,
    FLEET_VARIABLE,
    KEY_FILE_VARIABLE,
    KEYRING_VARIABLE,
    MODE_VARIABLE,
    PASSPHRASE_VARIABLE,
    REMOTE_VARIABLE,
    REPLICAS_VARIABLE,
    STORE_VARIABLE,
    TOKEN_VARIABLE,
    is_server,
    unlocking,
)
from transit.trace import Redaction

# Less is not worth a segment of its own.
_SEALED_BYTES_MIN: Final = 64 * 1024


def open_store(
    where: str | os.PathLike[str],
    *,
    remote: str | Sequence[str] | None = None,
    mode: str = "shared",
    durability: str = "local",
    token: str | None = None,
    storage_options: Mapping[str, object] | None = None,
    encrypt: str | None = None,
    keyring: Keyring | None = None,
) -> transit.Log:
    """The store in a folder, or the one that a server has at an address (`http://…`).

    mode, remote, storage_options, encrypt, keyring: as for `transit.open`; a folder only. token: a
    server only. Raises what `transit.open` and `transit.connect` raise.
    """
    address = os.fspath(where)
    if is_server(address):
        if remote is not None or storage_options is not None:
            raise InvalidInputError(f"{address}: a server has its own remote")
        if encrypt is not None or keyring is not None:
            raise InvalidInputError(
                f"{address}: encrypt= and keyring= are for a folder: a server has its own keyring"
            )
        return transit.connect(address, token=token, durability=durability)
    if token is not None:
        raise InvalidInputError(f"{address}: token= is for a server")
    return transit.open(
        address, remote=remote, mode=mode, durability=durability, storage_options=storage_options,
        encrypt=encrypt, keyring=keyring,
    )  # fmt: skip


def settle(log: transit.Log) -> None:
    """Before a store is closed: publish what its remote lacks, or seal what is worth a segment."""
    if type(log) is not transit.Log or log.mode == "read" or log.closed:
        return
    status = log.status()
    if status.remote:
        log.publish()
    elif status.wal_bytes >= _SEALED_BYTES_MIN:
        log.seal()


class Place:
    """A store that is opened at first use, and again in a child made by fork. Safe for threads."""

    def __init__(self, opens: Callable[[], transit.Log]) -> None:
        self._opens = opens
        self._lock = threading.Lock()
        self._log: transit.Log | None = None
        _places.add(self)

    @property
    def log(self) -> transit.Log:
        """The store, open. Raises what opening it raises."""
        log = self._log
        if log is None:
            with self._lock:
                log = self._log
                if log is None:
                    log = self._log = self._opens()
        return log

    @property
    def is_open(self) -> bool:
        """Whether the store was used, and not closed since."""
        return self._log is not None

    def close(self) -> None:
        """Close the store if it is open; the next use opens it again.

        What was recorded is published first, where there is a remote. Raises what that raises.
        """
        with self._lock:
            log, self._log = self._log, None
        if log is not None:
            with log:
                settle(log)

    def forget(self) -> None:
        """In a child made by fork: the parent's store is not ours, nor is a lock that it held."""
        self._lock = threading.Lock()
        self._log = None


_places: weakref.WeakSet[Place] = weakref.WeakSet()


def _forget_all() -> None:
    for place in list(_places):
        place.forget()


os.register_at_fork(after_in_child=_forget_all)


def _from_environment() -> transit.Log:
    where = os.environ.get(STORE_VARIABLE)
    if not where:
        raise InvalidInputError(f"{STORE_VARIABLE} names no store: a folder, or http://HOST:PORT")
    encrypt = os.environ.get(ENCRYPT_VARIABLE) or None
    # As for the command: a server's keys are not its clients' to unlock.
    keyring = None if is_server(where) else _keyring_of_environment()
    if encrypt is not None and keyring is None and not is_server(where):
        raise InvalidInputError(
            f"{ENCRYPT_VARIABLE}: to encrypt, a keyring is needed: set {KEYRING_VARIABLE}"
        )
    mode = os.environ.get(MODE_VARIABLE) or "shared"
    return open_store(
        where,
        remote=_with_replicas(_remote_of_environment(where, mode, encrypt, keyring)),
        mode=mode,
        durability=os.environ.get(DURABILITY_VARIABLE) or "local",
        token=os.environ.get(TOKEN_VARIABLE) or None,
        encrypt=encrypt,
        keyring=keyring,
    )


def _remote_of_environment(
    where: str, mode: str, encrypt: str | None, keyring: Keyring | None
) -> str | None:
    """Where a folder's store is published; in a fleet, it is a member from then on."""
    remote, url = os.environ.get(REMOTE_VARIABLE), os.environ.get(FLEET_VARIABLE)
    if not url:
        return remote or None
    if remote or is_server(where):
        other = REMOTE_VARIABLE if remote else f"a server ({STORE_VARIABLE})"
        raise InvalidInputError(f"{FLEET_VARIABLE} and {other} do not go together")
    # Loaded here: few stores are in a fleet.
    from transit.fleet import create

    with create(url, keyring=keyring) as fleet:
        return fleet.join(where, mode=mode, encrypt=encrypt)


def _with_replicas(remote: str | None) -> str | list[str] | None:
    """The remote with those that follow it."""
    replicas = os.environ.get(REPLICAS_VARIABLE, "").split()
    return [remote, *replicas] if remote is not None and replicas else remote


def _keyring_of_environment() -> Keyring | None:
    """The keyring, unlocked; None where none is named. Nobody is asked for a passphrase."""
    path = _path_in(KEYRING_VARIABLE)
    if path is None:
        return None
    way = unlocking(_path_in(KEY_FILE_VARIABLE), os.environ.get(PASSPHRASE_VARIABLE))
    if not way:
        raise InvalidInputError(
            f"{KEYRING_VARIABLE}: nothing unlocks it: set {KEY_FILE_VARIABLE} or"
            f" {PASSPHRASE_VARIABLE}"
        )
    return Keyring.open(path, **way)


def _path_in(variable: str) -> str | None:
    """A path that the environment has, `~` filled in."""
    text = os.environ.get(variable)
    return (address_folder(text) or text) if text else None


# Of the adapters that their stack makes without arguments.
PROCESS: Final = Place(_from_environment)


class Adapter:
    """What adapters are: made with a `Log`, or by `open`; open ones are blocks of `with`.

    log: a store, which stays the caller's to close. redact: a policy for all that is written
    (`transit.trace.Redaction`). Raises `InvalidInputError` for anything else.
    """

    def __init__(self, log: transit.Log | Place, *, redact: Redaction | None = None) -> None:
        if not isinstance(log, transit.Log | Place):
            raise InvalidInputError(f"log must be a transit.Log, not {log!r}")
        if redact is not None and not isinstance(redact, Redaction):
            raise InvalidInputError(f"redact must be a transit.trace.Redaction, not {redact!r}")
        self._store = log
        self._redact = redact
        # Opens the store that `open` opened, in another mode.
        self._again: Callable[..., transit.Log] | None = None

    @classmethod
    def open(
        cls,
        where: str | os.PathLike[str],
        *,
        remote: str | Sequence[str] | None = None,
        mode: str = "shared",
        durability: str = "local",
        token: str | None = None,
        storage_options: Mapping[str, object] | None = None,
        encrypt: str | None = None,
        keyring: Keyring | None = None,
        **options: object,
    ) -> Self:
        """An adapter with a store of its own, which `close` closes: see `open_store`.

        options: what the class itself takes. Raises what opening the store raises.
        """
        again = partial(
            open_store, where, remote=remote, durability=durability, token=token,
            storage_options=storage_options, encrypt=encrypt, keyring=keyring,
        )  # fmt: skip
        place = Place(partial(again, mode=mode))
        try:
            # What is wrong with the place is told where it is named.
            _ = place.log
            made = cls(place, **options)  # type: ignore[arg-type]
            made._again = again
            return made
        except BaseException:
            place.close()
            raise

    @property
    def log(self) -> transit.Log:
        """The store."""
        return self._store.log if isinstance(self._store, Place) else self._store

    def close(self) -> None:
        """Close the store if it was opened here, after publishing. Twice is once."""
        if isinstance(self._store, Place) and self._store is not PROCESS:
            self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
