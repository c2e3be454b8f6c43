"""The configuration in effect: defaults < transit.toml < environment < command line.

Owns the keys, where each value comes from, and the refusal of secrets in files. A file is the
nearest `transit.toml` from the working directory upwards, or the one that is named.

    store = "runs"                  # a folder, relative to the file; or a server's http(s):// URL
    remote = "s3://bucket/runs"
    replicas = ["/mnt/nas/runs"]    # remotes that follow it; with options of its own a replica is
                                    # { url = "s3://…", options = { endpoint_url = "https://…" } }
    fleet = "s3://bucket/agents"    # instead of remote: the store is a member, and publishes there
    durability = "local"            # memory, os, local, tiered, replicated
    mode = "exclusive"              # exclusive, shared
    keyring = "../keys/runs.json"   # of an encrypted store; unlocked by TRANSIT_PASSPHRASE, or
    key_file = "../keys/runs.key"   # by this
    encrypt = "remote"              # remote (all that is sealed), all (the WAL too)
    token_file = "token"            # what a server knows this user by; or TRANSIT_TOKEN
    ca_file = "ca.pem"              # certificates to trust for a server, instead of the system's
    views = ["board.py"]            # what `transit serve` loads: files, or modules[:name]

    [limits]                        # the fields of transit.Settings
    seal_bytes = 33554432

    [remote_options]                # what fsspec takes, but no secrets
    endpoint_url = "http://127.0.0.1:9000"

    [prices."model-1"]              # of a million tokens; see transit.trace.Prices
    input = 2.5
    output = 10
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args

import msgspec

from transit import Durability, InvalidInputError, Settings, address_folder
from transit.cli.failures import NOT_FOUND, CommandError
from transit.cli.flags import ENCRYPTED, Flags
from transit.cli.values import parse_size
from transit.environment import (
    DURABILITY_VARIABLE,
    ENCRYPT_VARIABLE,
    FLEET_VARIABLE,
    KEY_FILE_VARIABLE,
    KEYRING_VARIABLE,
    MODE_VARIABLE,
    REMOTE_VARIABLE,
    REPLICAS_VARIABLE,
    STORE_VARIABLE,
)

if TYPE_CHECKING:
    from transit.trace.prices import Prices

FILE_NAME: Final = "transit.toml"
FILE_BYTES_MAX: Final = 1024 * 1024
MODES: Final = ("exclusive", "shared")
DURABILITIES: Final[tuple[str, ...]] = get_args(Durability)
LIMITS_PREFIX: Final = "TRANSIT_LIMITS_"

_PLACES: Final = ("store", "remote", "fleet", "keyring", "key_file", "token_file", "ca_file")
_TOP: Final = (
    "store", "remote", "replicas", "fleet", "durability", "mode", "keyring", "key_file", "encrypt",
    "token_file", "ca_file", "views",
)  # fmt: skip
_FLAGS: Final = ("store", "remote", "keyring", "key_file", "encrypt")
_TABLES: Final = ("limits", "remote_options", "prices")
_LIMITS: Final = {field.name: field for field in msgspec.structs.fields(Settings)}
_ENVIRONMENT: Final = {
    STORE_VARIABLE: "store",
    REMOTE_VARIABLE: "remote",
    REPLICAS_VARIABLE: "replicas",
    FLEET_VARIABLE: "fleet",
    DURABILITY_VARIABLE: "durability",
    MODE_VARIABLE: "mode",
    KEYRING_VARIABLE: "keyring",
    KEY_FILE_VARIABLE: "key_file",
    ENCRYPT_VARIABLE: "encrypt",
    "TRANSIT_TOKEN_FILE": "token_file",
    "TRANSIT_CA_FILE": "ca_file",
    "TRANSIT_ENDPOINT_URL": "remote_options.endpoint_url",
}
_SECRET: Final = re.compile(
    r"(?:^|_)(?:key|keys|secret|secrets|token|tokens|password|passwd|credential|credentials|sas)"
    r"(?:$|_)|connection_string|access_?key|secretkey|authorization",
    re.IGNORECASE,
)
_DEFAULT: Final = "default"


class Setting(NamedTuple):
    """One value and where it comes from: "default", a file, a variable or an option."""

    value: object
    source: str


class Replica(NamedTuple):
    """A remote that follows the first: its address; what fsspec takes for it alone, if given."""

    url: str
    options: Mapping[str, object] | None = None


class Effective:
    """The values in effect.

    store, remote, fleet: addresses, keyring, key_file: paths, encrypt: what is encrypted; None when
    not given. token_file, ca_file: paths, for a server.
    replicas: remotes that follow `remote`.
    settings: limits of the handle. remote_options: what fsspec takes. prices: of tokens, None when
    none are given. views: files, and modules, that declare what a server serves. file: the
    configuration file that was read, or None.
    """

    def __init__(self, given: Mapping[str, Setting], file: str | None) -> None:
        self._given = given
        self.file = file
        self.store = self._address("store")
        self.remote = self._address("remote")
        self.replicas = self._replicas()
        self.fleet = self._address("fleet")
        self.keyring = self._address("keyring")
        self.key_file = self._address("key_file")
        self.encrypt = self._one_of("encrypt", ENCRYPTED) if "encrypt" in given else None
        self.token_file = self._address("token_file")
        self.ca_file = self._address("ca_file")
        self.durability = self._one_of("durability", DURABILITIES, "local")
        self.mode = self._one_of("mode", MODES, "exclusive")
        self.settings = self._settings()
        self.remote_options = self._below("remote_options")
        self.prices = self._prices()
        self.views = self._views()

    def source(self, key: str) -> str:
        """Where the value of `key` comes from: "default", a file, a variable or an option."""
        return self._given[key].source if key in self._given else _DEFAULT

    def rows(self) -> list[dict[str, object]]:
        """Every key with its value and source; addresses without user information."""
        values: dict[str, object] = {key: getattr(self, key) for key in _TOP}
        values["replicas"] = [shown_address(each.url) for each in self.replicas]
        values |= {f"limits.{name}": getattr(self.settings, name) for name in _LIMITS}
        for table in _TABLES[1:]:
            values |= {f"{table}.{key}": each for key, each in self._below(table).items()}
        return [
            {"key": key, "value": shown_address(value), "source": self.source(key)}
            for key, value in values.items()
        ]

    def _below(self, table: str) -> dict[str, object]:
        start = f"{table}."
        return {
            key.removeprefix(start): setting.value
            for key, setting in self._given.items()
            if key.startswith(start)
        }

    def _text(self, key: str) -> str | None:
        if key not in self._given:
            return None
        value, source = self._given[key]
        if not isinstance(value, str) or not value:
            raise CommandError(f"{source}: {key} must be text, not {value!r}")
        return value

    def _address(self, key: str) -> str | None:
        """An address, `~` filled in."""
        text = self._text(key)
        return None if text is None else _address(text, self._given[key].source)

    def _replicas(self) -> tuple[Replica, ...]:
        """Those given: in the environment a text, in a file a list."""
        if "replicas" not in self._given:
            return ()
        value, source = self._given["replicas"]
        found: list[Replica] = []
        for each in value.split() if isinstance(value, str) else _listed(source, value):
            entry = {"url": each} if isinstance(each, str) else each
            url, options = entry.get("url"), entry.get("options")
            if not isinstance(url, str) or not url or set(entry) - {"url", "options"}:
                raise CommandError(
                    f"{source}: replicas: {each!r} is no address, nor a table of one"
                )
            if options is not None and not isinstance(options, Mapping):
                raise CommandError(f"{source}: replicas: options must be a table, not {options!r}")
            _refuse_secrets(source, "replicas.options", "", options)
            found.append(Replica(_address(url, source), options))
        return tuple(found)

    def _views(self) -> tuple[str, ...]:
        """Files and modules; a file is meant from where the configuration is."""
        if "views" not in self._given:
            return ()
        value, source = self._given["views"]
        if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
            raise CommandError(f"{source}: views must be a list of texts, not {value!r}")
        folder = os.path.dirname(os.path.abspath(source))
        return tuple(
            os.path.join(folder, each) if ".py" in each.rpartition("/")[2] else each
            for each in value
        )

    def _one_of(self, key: str, choices: tuple[str, ...], default: str = "") -> str:
        value = self._text(key) or default
        if value not in choices:
            raise CommandError(
                f"{self.source(key)}: {key} must be one of {', '.join(choices)}, not {value!r}"
            )
        return value

    def _settings(self) -> Settings:
        limits = self._below("limits")
        try:
            return Settings(**limits)  # type: ignore[arg-type]
        except InvalidInputError as error:
            named = [self.source(f"limits.{name}") for name in limits if name in str(error)]
            raise CommandError(f"{', '.join(dict.fromkeys(named))}: {error}") from None

    def _prices(self) -> Prices | None:
        given = self._below("prices")
        if not given:
            return None
        # Loaded here: few commands need prices, and most files have none.
        from transit.trace.prices import Prices

        try:
            return Prices(given)  # type: ignore[arg-type]
        except InvalidInputError as error:
            source = self.source(f"prices.{next(iter(given))}")
            raise CommandError(
                f"{source}: {error}",
                hint='a table a model, its name in quotes: [prices."model-1.5"]',
            ) from None


def working_folder() -> str | None:
    """The folder in which the command runs; None when it was removed."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def is_url(place: str) -> bool:
    """Whether `place` is a store's URL, rather than a folder; `InvalidInputError` for neither."""
    return address_folder(place) is None


def reachable(place: str) -> str:
    """`place`, an address or a path; `CommandError` for a path that starts nowhere."""
    folder = address_folder(place)
    if folder is None or os.path.isabs(folder) or working_folder() is not None:
        return place
    raise CommandError(
        f"{place}: starts from the working directory, which was removed",
        kind="not_found",
        exit_code=NOT_FOUND,
        hint="give an absolute path, or go to a folder that is there: cd",
    )


def effective(flags: Flags, environment: Mapping[str, str], folder: str | None) -> Effective:
    """The configuration for a command run in `folder`; `CommandError` for what it cannot mean.

    None stands for a folder that was removed: no file is looked for from there.
    """
    given: dict[str, Setting] = {}
    path = find_file(flags, environment, folder)
    if path is not None:
        given |= from_file(path)
    given |= from_environment(environment)
    for key in _FLAGS:
        value = getattr(flags, key)
        if value is not None:
            given[key] = Setting(value, f"--{key.replace('_', '-')}")
    return Effective(given, path)


def find_file(flags: Flags, environment: Mapping[str, str], folder: str | None) -> str | None:
    """The configuration file to read: the named one, or the nearest; None when there is none."""
    named = flags.config or environment.get("TRANSIT_CONFIG")
    if named:
        return os.path.join(folder or "", reachable(named))
    if folder is None:
        return None
    for place in (Path(folder), *Path(folder).parents):
        path = place / FILE_NAME
        if path.is_file():
            _check_owner(path)
            return str(path)
    return None


def _check_owner(path: Path) -> None:
    # Another user who can write to a folder above could otherwise send this user's credentials
    # elsewhere.
    if path.stat().st_uid not in (os.geteuid(), 0):
        raise CommandError(
            f"{path}: belongs to another user",
            kind="permission",
            exit_code=6,
            hint=f"name it if you trust it: --config {path}",
        )


def from_file(path: str) -> dict[str, Setting]:
    """The settings of a configuration file, each named by its dotted key."""
    with open(path, "rb") as file:
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise CommandError(f"{path}: larger than {FILE_BYTES_MAX} bytes")
    try:
        # Some editors begin a file with a byte-order mark.
        document = tomllib.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        # Not TOML, not UTF-8, or a number of thousands of digits.
        raise CommandError(f"{path}: not TOML: {error}") from None
    given: dict[str, Setting] = {}
    for key, value in document.items():
        if key not in (*_TOP, *_TABLES):
            raise _unknown(path, key, (*_TOP, *_TABLES))
        if key == "replicas":
            given[key] = Setting([_replica_from(path, each) for each in _listed(path, value)], path)
        elif key in _TOP:
            given[key] = Setting(_from_folder(path, value) if key in _PLACES else value, path)
        elif isinstance(value, dict):
            given |= _table(path, key, value)
        else:
            raise CommandError(f"{path}: {key} must be a table")
    return given


def _listed(source: str, value: object) -> list[Any]:
    if not isinstance(value, list) or not all(isinstance(each, str | dict) for each in value):
        raise CommandError(f"{source}: replicas must be a list of addresses, not {value!r}")
    return value


def _replica_from(path: str, value: str | dict[str, object]) -> object:
    """A replica of a file: a folder is meant from where the file is."""
    if isinstance(value, str):
        return _from_folder(path, value)
    return {**value, "url": _from_folder(path, value.get("url"))}


def _table(path: str, table: str, entries: Mapping[str, object]) -> dict[str, Setting]:
    for name, value in entries.items():
        if table == "limits" and name not in _LIMITS:
            raise _unknown(path, name, tuple(_LIMITS), "limits.")
        if table == "remote_options":
            _refuse_secrets(path, f"{table}.{name}", name, value)
    return {f"{table}.{name}": Setting(value, path) for name, value in entries.items()}


def _refuse_secrets(path: str, place: str, name: str, value: object) -> None:
    if _SECRET.search(name):
        raise CommandError(
            f"{path}: {place}: secrets do not belong in a file like this",
            hint="use the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or a profile"
            " of the AWS tools (remote_options.profile)",
        )
    if isinstance(value, Mapping):
        for inner, each in value.items():
            _refuse_secrets(path, f"{place}.{inner}", str(inner), each)


def from_environment(environment: Mapping[str, str]) -> dict[str, Setting]:
    """The settings of the environment; an empty variable is none."""
    given = {
        key: Setting(environment[name], name)
        for name, key in _ENVIRONMENT.items()
        if environment.get(name)
    }
    for name, text in environment.items():
        if name.startswith(LIMITS_PREFIX) and text:
            limit = name.removeprefix(LIMITS_PREFIX).lower()
            if limit not in _LIMITS:
                raise _unknown(name, limit, tuple(_LIMITS), "limits.")
            given[f"limits.{limit}"] = Setting(_limit(name, limit, text), name)
    return given


def _limit(name: str, limit: str, text: str) -> object:
    """A limit from text, by its type; sizes may have a unit."""
    try:
        if "bytes" in limit:
            return parse_size(text)
        wanted = _LIMITS[limit].type
        is_number = wanted in (int, float, float | None, int | None)
        return _number(text) if is_number else text
    except ValueError as error:
        raise CommandError(f"{name}: {error}") from None


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _from_folder(path: str, value: object) -> object:
    """An address in a file: a folder is meant from where the file is."""
    if not isinstance(value, str) or not value:
        return value
    folder = _address(value, path)
    if address_folder(folder) is None:
        return folder
    return os.path.join(os.path.dirname(os.path.abspath(path)), folder)


def _address(text: str, source: str) -> str:
    """A folder with `~` filled in, or a URL as it is."""
    try:
        return address_folder(text) or text
    except InvalidInputError as error:
        raise CommandError(f"{source}: {error}") from None


def _unknown(source: str, name: str, known: tuple[str, ...], prefix: str = "") -> CommandError:
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {prefix}{near[0]}?" if near else f"there are: {', '.join(known)}"
    return CommandError(f"{source}: unknown key {prefix}{name}", hint=hint)


def shown_address(value: object) -> object:
    """A value without what an address may hold of credentials."""
    if isinstance(value, str) and "://" in value:
        scheme, _, rest = value.partition("://")
        place = rest.partition("?")[0]
        # A bucket's name has neither of these, and a prefix may have an "@".
        if scheme.lower() not in ("s3", "s3a") or set("@:") & set(place.partition("/")[0]):
            place = place.rpartition("@")[2]
        return f"{scheme}://{place}"
    if isinstance(value, Mapping):
        return {key: shown_address(each) for key, each in value.items()}
    return value
