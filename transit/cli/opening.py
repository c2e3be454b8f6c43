"""The session of a command: its configuration, its output, and the store it opens."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import transit
from transit import NotFoundError, StorePermissionError, TransitError, open_store
from transit.cli.configuration import (
    Effective,
    Replica,
    effective,
    is_url,
    reachable,
    shown_address,
    working_folder,
)
from transit.cli.failures import CommandError, hinted
from transit.cli.flags import Flags
from transit.cli.keyrings import open_keyring
from transit.environment import TOKEN_VARIABLE, is_server

if TYPE_CHECKING:
    from transit.cli.output import Output
    from transit.fleet.opening import Fleet

Options = Mapping[str, object]
FORMAT_FILE = "FORMAT"
REMOTE_FILE = "REMOTE"
ADDRESS_BYTES_MAX = 4096
TOKEN_BYTES_MAX = 4096


class Session:
    """One run of a verb. Nothing is read or opened before it is asked for."""

    def __init__(self, flags: Flags) -> None:
        self.flags = flags

    @cached_property
    def configuration(self) -> Effective:
        """The configuration in effect."""
        return effective(self.flags, os.environ, working_folder())

    @cached_property
    def output(self) -> Output:
        """Where rows go."""
        # Imported here: a shell that completes opens a store and prints nothing.
        from transit.cli.output import Output

        return Output(self.flags.format, self.flags.color)

    def store(self) -> str:
        """Path or address of the store; a usage error when none is configured."""
        store = self.configuration.store
        if store is None:
            raise CommandError(
                "no store is configured",
                hint='give --store PATH, set TRANSIT_STORE, or write store = "PATH"'
                " into transit.toml",
            )
        return reachable(store)

    @property
    def is_served(self) -> bool:
        """Whether the store is one that a server serves."""
        store = self.configuration.store
        return store is not None and is_server(store)

    def check_folder(self, verb: str) -> None:
        """A usage error where the store is a server's: this verb needs its files."""
        if self.is_served:
            raise CommandError(
                f"{verb} needs the store's folder, and {shown_address(self.store())} is a server",
                hint="run it on the server's machine, with the folder as --store",
            )

    def remote(self, *, join: bool = False) -> str | None:
        """The address of the remote; None when none is configured.

        That of a store which is a member of a fleet is there. join: make it one first, and the
        fleet; otherwise nothing is written.
        """
        configuration = self.configuration
        if configuration.fleet is not None and not self._remote_was_given():
            return self._remote_in_fleet(configuration.fleet, join=join)
        remote = configuration.remote
        return None if remote is None else reachable(remote)

    def open_fleet(self) -> Fleet:
        """The configured fleet; a usage error when none is."""
        # Imported here: few stores are in a fleet.
        from transit import fleet as fleets

        configuration = self.configuration
        if configuration.fleet is None:
            raise CommandError(
                "no fleet is configured",
                hint='set TRANSIT_FLEET, or write fleet = "URL" into transit.toml',
            )
        place = reachable(configuration.fleet)
        return fleets.open(
            place,
            storage_options=self.storage_options(place),
            settings=configuration.settings,
            keyring=self.keyring,
        )

    def _remote_in_fleet(self, url: str, *, join: bool) -> str | None:
        configuration = self.configuration
        if configuration.remote is not None:
            said = configuration.source("remote")
            raise CommandError(
                f"{configuration.source('fleet')}: a fleet and a remote ({said}) do not go together"
            )
        # Imported here: few stores are in a fleet.
        from transit import fleet as fleets

        place = reachable(url)
        opened = fleets.create if join else fleets.open
        with opened(
            place,
            storage_options=self.storage_options(place),
            settings=configuration.settings,
            keyring=self.keyring,
        ) as fleet:
            folder = self.store()
            if not join:
                return fleet.remote_of(folder)
            return fleet.join(folder, mode=configuration.mode, encrypt=configuration.encrypt)

    def required_remote(self, *, join: bool = False) -> str:
        """As `remote`; a usage error when none is configured."""
        remote = self.remote(join=join)
        if remote is None:
            raise CommandError(
                "no remote is configured",
                hint='give --remote URL, set TRANSIT_REMOTE, or write remote = "URL"'
                " into transit.toml",
            )
        return remote

    def storage_options(self, address: str | None) -> Mapping[str, object] | None:
        """What fsspec is given to open `address`; None for a folder, and when nothing is set."""
        options = self.configuration.remote_options
        return options if options and address is not None and is_url(address) else None

    @cached_property
    def keyring(self) -> transit.Keyring | None:
        """The keyring, unlocked; None when none is configured, or a server has the store."""
        path = self.configuration.keyring
        if path is None or self.is_served:
            if self.configuration.encrypt and not self.is_served:
                raise CommandError(
                    f"{self.configuration.source('encrypt')}: to encrypt, a keyring is needed",
                    hint="give --keyring FILE: `transit keyring new FILE` makes one",
                )
            return None
        return open_keyring(reachable(path), self.configuration.key_file)

    def open_read(self, checkpoint: bytes | None = None) -> transit.Log:
        """The store, for reading. The remote is only asked where segments may be there alone.

        It is when --remote was given, when the store is a remote's address, and when the folder
        has a note that segments are away. checkpoint: one that was kept, which the history must
        extend.
        """
        store, configuration = self.store(), self.configuration
        if is_server(store):
            if checkpoint is not None:
                raise CommandError(
                    f"{shown_address(store)} is a server, whose word shows nothing",
                    hint="give --checkpoint to `transit audit` of the remote, or on its machine",
                )
            return self._connect(store)
        if is_url(store):
            return transit.open(
                store,
                mode="read",
                storage_options=self.storage_options(store),
                settings=configuration.settings,
                checkpoint=checkpoint,
                keyring=self.keyring,
            )
        away = os.path.exists(os.path.join(store, REMOTE_FILE))
        wanted = away or self._remote_was_given()
        return self.open_place(store, self.remote() if wanted else None, checkpoint)

    def open_place(
        self, place: str, remote: str | None = None, checkpoint: bytes | None = None
    ) -> transit.Log:
        """The store at `place`, a folder or an address, for reading, with this remote or none."""
        return transit.open(
            place,
            mode="read",
            remote=remote,
            storage_options=self.storage_options(remote or place),
            settings=self.configuration.settings,
            checkpoint=checkpoint,
            keyring=self.keyring,
        )

    def open_write(
        self, *, create: bool = True, remote: bool = False, mode: str | None = None
    ) -> transit.Log:
        """The store, for writing.

        create: make the store when there is none; otherwise that is an error. remote: the work
        needs the remote. Without that it is asked only where it must be: when --remote was given,
        when appends wait for it, when a new store continues its history, when segments are away.
        mode: "exclusive" or "shared"; None: as configured.
        """
        store, configuration = self.store(), self.configuration
        if is_server(store):
            return self._connect(store)
        there = os.path.exists(os.path.join(store, FORMAT_FILE))
        if not create and not there and not is_url(store):
            # Opened for reading nothing is made, and what is there instead is said.
            with hinted(NotFoundError, "`transit config` says where the path comes from"):
                self.open_place(store).close()
        away = os.path.exists(os.path.join(store, REMOTE_FILE))
        wanted = remote or not there or away or configuration.durability in ("tiered", "replicated")
        address = self.remote(join=True) if wanted or self._remote_was_given() else None
        remotes, options = self._with_replicas(address)
        return transit.open(
            store,
            mode=mode or configuration.mode,
            remote=remotes,
            durability=configuration.durability,
            storage_options=options,
            settings=configuration.settings,
            encrypt=configuration.encrypt,
            keyring=self.keyring,
        )

    def replicas_now(self, commits: int) -> list[transit.ReplicaStatus]:
        """How far the configured replicas are, each asked; commits: that the store has."""
        found = []
        for each in self.configuration.replicas:
            options = self.options_of(each)
            url, there, error = reachable(each.url), 0, ""
            try:
                with contextlib.closing(open_store(url, options)) as store:
                    url = store.url
                with self.open_remote(url, options) as log:
                    there = log.status().commits
            except NotFoundError:
                # Nothing was published there yet.
                pass
            except TransitError as failure:
                error = str(failure)
            known = None if error else there
            found.append(transit.ReplicaStatus(url, known, max(0, commits - there), error))
        return found

    def options_of(self, replica: Replica) -> Options | None:
        """What fsspec is given for a replica: its own options, else those of all remotes."""
        return self.storage_options(replica.url) if replica.options is None else replica.options

    def open_remote(self, url: str, options: Options | None) -> transit.Log:
        """What a remote holds, whatever the folder does, for reading."""
        return transit.open(
            url,
            mode="read",
            storage_options=options,
            settings=self.configuration.settings,
            keyring=self.keyring,
        )

    def _with_replicas(
        self, address: str | None
    ) -> tuple[str | list[str] | None, Options | list[Options | None] | None]:
        """The remote and those that follow it, with what fsspec is given for each."""
        replicas = self.configuration.replicas if address is not None else ()
        if address is None or not replicas:
            return address, self.storage_options(address)
        options: list[Options | None] = [self.storage_options(address)]
        for each in replicas:
            options.append(self.options_of(each))
        return [address, *(reachable(each.url) for each in replicas)], options

    def _connect(self, url: str) -> transit.Log:
        """The store that the server at `url` serves."""
        configuration = self.configuration
        # Unless something was said, the server decides.
        said = configuration.source("durability") != "default"
        hint = f"set {TOKEN_VARIABLE}, or token_file in transit.toml, to a token of this server"
        with hinted(StorePermissionError, hint):
            return transit.connect(
                url,
                token=self._token(),
                durability=configuration.durability if said else None,
                timeout_s=configuration.settings.remote_timeout_s,
                ca_file=configuration.ca_file,
            )

    def _token(self) -> str | None:
        """What a server knows this user by: from the environment, or else from a file."""
        if token := os.environ.get(TOKEN_VARIABLE):
            return token
        path = self.configuration.token_file
        if path is None:
            return None
        with open(path, "rb") as file:
            data = file.read(TOKEN_BYTES_MAX + 1)
        try:
            if len(data) <= TOKEN_BYTES_MAX and (token := data.decode().strip()):
                return token
        except UnicodeDecodeError:
            pass
        raise CommandError(f"{path}: holds no token", hint="a token is one line of text")

    def where_records_are(self) -> str:
        """The hint for a folder whose segments are away: REMOTE names their place, for people."""
        store = self.store()
        with contextlib.suppress(OSError), open(os.path.join(store, REMOTE_FILE), "rb") as file:
            address = file.read(ADDRESS_BYTES_MAX).decode("utf-8", "backslashreplace").strip()
            if address:
                return f"give --remote {shown_address(address)}: the folder's REMOTE names it"
        return "give --remote: the records are there"

    def _remote_was_given(self) -> bool:
        """Whether this very command names a remote, rather than the configuration."""
        return self.configuration.source("remote") == "--remote"
