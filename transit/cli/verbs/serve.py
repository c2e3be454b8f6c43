"""`transit serve`: the store on the network, until it is told to end."""

from __future__ import annotations

import sys
from contextlib import closing, nullcontext
from functools import partial
from importlib.util import find_spec
from typing import IO, TYPE_CHECKING, NamedTuple

import click

from transit import LockedError, Log, SigningKey, VerifyingKey
from transit.cli.configuration import is_url
from transit.cli.failures import CommandError
from transit.cli.opening import Session
from transit.cli.options import DURATION, HEADER, store_options
from transit.cli.signing import witnesses_of
from transit.cli.trust import POLICY_BYTES_MAX, read_file, signing_keys
from transit.cli.values import parse_duration, parse_size

if TYPE_CHECKING:
    from transit.server.proving import Signing
    from transit.server.run import Running
    from transit.server.settings import ServerSettings
    from transit.server.witness import WitnessKeys

_KEY_CHARS_MAX = 4096
BIND = "127.0.0.1:4437"


class Opened(NamedTuple):
    """The store that is served, and why it is not written, if it is not."""

    log: Log
    why_read: str = ""


@click.command()
@click.option("--bind", default=BIND, metavar="HOST:PORT", show_default=True, help="Where.")
@click.option(
    "--tokens", metavar="FILE", envvar="TRANSIT_TOKENS",
    help="Ask for a token of this file: see `transit token`.",
)  # fmt: skip
@click.option("--tls-cert", metavar="FILE", help="Certificate and its chain, PEM.")
@click.option("--tls-key", metavar="FILE", help="Its key, PEM; else in the certificate's file.")
@click.option(
    "--mode", type=click.Choice(("exclusive", "shared", "read")),
    help="shared: beside other writers; read: without writing. Else as configured.",
)  # fmt: skip
@click.option(
    "--host", "hosts", multiple=True, metavar="NAME", help="A name that clients call it by."
)
@click.option(
    "--cors", multiple=True, metavar="ORIGIN", help="Pages of this origin may use it; * for all."
)
@click.option("--long-poll", type=DURATION, help="How long a long poll waits; else 30 seconds.")
@click.option("--subscriptions", is_flag=True, help="Serve the protocol's subscriptions.")
@click.option(
    "--limit", "limits", type=HEADER, multiple=True,
    help="Another limit, such as body_bytes_max=64MiB or requests_max=1000.",
)  # fmt: skip
@click.option(
    "--witness-key", "witness_files", type=click.File("r", encoding="utf-8"), multiple=True,
    help="Cosign checkpoints of other logs with this key: see `transit key new --witness`.",
)  # fmt: skip
@click.option(
    "--witness-log", "witnessed", metavar="VKEY", multiple=True, help="The key of such a log."
)
@click.option(
    "--checkpoint-key", "signing_files", metavar="FILE", type=click.Path(), multiple=True,
    help="Sign checkpoints of the store with this key when an administrator asks for one.",
)  # fmt: skip
@click.option(
    "--checkpoint-policy", "signing_policy", metavar="FILE", type=click.Path(),
    help="Ask its witnesses to cosign these; its quorum must be met.",
)  # fmt: skip
@click.option(
    "--views", "places", multiple=True, metavar="MODULE[:NAME]",
    help="Serve the views, and run the reconcilers, that this module or FILE.py declares.",
)  # fmt: skip
@click.option(
    "--views-persist", "persist", type=click.Choice(("logged", "stateful", "ephemeral")),
    default="logged", show_default=True, help="Where the views' savepoints are kept.",
)  # fmt: skip
@click.option("--no-sql", is_flag=True, help="Answer no queries in SQL.")
@click.option("--insecure", is_flag=True, help="Let others reach it without tokens or TLS.")
@click.option("--quiet", is_flag=True, help="No log.")
@store_options
def command(  # noqa: PLR0913, PLR0917 - each is an option
    context: Session,
    bind: str,
    tokens: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    mode: str | None,
    hosts: tuple[str, ...],
    cors: tuple[str, ...],
    long_poll: float | None,
    subscriptions: bool,
    limits: tuple[tuple[str, str], ...],
    witness_files: tuple[IO[str], ...],
    witnessed: tuple[str, ...],
    signing_files: tuple[str, ...],
    signing_policy: str | None,
    places: tuple[str, ...],
    persist: str,
    no_sql: bool,
    insecure: bool,
    quiet: bool,
) -> None:
    """Serve the store over HTTP until SIGINT or SIGTERM.

    Prints where it listens, once it does; port 0 takes a free one. The log goes to the standard
    error output, a JSON object a line. Where another process writes the store it is served
    read-only, unless --mode shared is given to both.
    """
    _check_installed()
    # Imported here: `--help` needs no server.
    from transit.server.certificate import Certificate
    from transit.server.journal import Journal  # nor this
    from transit.server.run import serve  # nor this
    from transit.views.loading import load_all  # nor this

    if tls_key is not None and tls_cert is None:
        raise click.UsageError("--tls-key needs --tls-cert")
    settings = _settings(limits, hosts, cors, long_poll, subscriptions, not no_sql)
    declared = load_all(places or context.configuration.views)
    certificate = None if tls_cert is None else Certificate(tls_cert, tls_key)
    witness = _witness(witness_files, witnessed)
    log, why_read = _open(context, mode)
    journal = None if quiet else Journal(sys.stderr.buffer)

    with log, closing(journal) if journal is not None else nullcontext():
        serve(
            log,
            bind,
            settings,
            tokens=tokens,
            certificate=certificate,
            is_insecure=insecure,
            journal=journal,
            prices=context.configuration.prices,
            witness=witness,
            signing=_signing(context, log, signing_files, signing_policy),
            declared=declared,
            persist=persist,
            ready=partial(_say, context, log, why_read),
        )


def _say(context: Session, log: Log, why_read: str, running: Running) -> None:
    said = {"url": running.url, "store": log.path, "mode": log.mode}
    context.output.row(said | ({"read_only": why_read} if why_read else {}))
    context.output.flush()


def _check_installed() -> None:
    missing = [name for name in ("uvicorn", "httptools", "jinja2") if find_spec(name) is None]
    if missing:
        raise CommandError(f"{missing[0]} is missing", hint="pip install 'transit[server]'")


def _witness(files: tuple[IO[str], ...], logs: tuple[str, ...]) -> WitnessKeys | None:
    """Whom the server cosigns, and with which keys; None for nobody."""
    if not files and not logs:
        return None
    # Imported here: `--help` needs no server.
    from transit.server.witness import witness_keys

    keys = [SigningKey.from_text(file.read(_KEY_CHARS_MAX).strip()) for file in files]
    return witness_keys(keys, [VerifyingKey.from_text(each) for each in logs])


def _signing(
    context: Session, log: Log, files: tuple[str, ...], policy: str | None
) -> Signing | None:
    """What signs the store's checkpoints; None for nothing."""
    if not files and policy is None:
        return None
    # Imported here: `--help` needs no server.
    from transit.server.proving import signing_of

    keys = signing_keys(files) if files else []
    if policy is None:
        return signing_of(log, keys)
    asked = witnesses_of(read_file(policy, POLICY_BYTES_MAX), context.configuration.ca_file)
    return signing_of(log, keys, tuple(asked.witnesses.values()), asked.policy)


def _open(context: Session, mode: str | None) -> Opened:
    """The store, for writing where that can be."""
    context.check_folder("serve")
    store = context.store()
    if is_url(store):
        if mode in ("exclusive", "shared"):
            raise click.UsageError(f"--mode {mode} is for a folder: a remote is only read")
        return Opened(context.open_read(), "the store is a remote")
    if mode == "read":
        return Opened(context.open_read(), "--mode read")
    try:
        return Opened(context.open_write(mode=mode))
    except LockedError:
        if mode is not None:
            raise
        why = "another process writes the store; to write beside it, both need mode shared"
        return Opened(context.open_read(), why)


def _settings(
    limits: tuple[tuple[str, str], ...],
    hosts: tuple[str, ...],
    cors: tuple[str, ...],
    long_poll: float | None,
    subscriptions: bool,
    sql: bool,
) -> ServerSettings:
    # Imported here: `--help` needs no server.
    from transit.server.settings import ServerSettings

    given: dict[str, object] = {"hosts": hosts, "cors": cors, "subscriptions": subscriptions}
    given["sql"] = sql
    if long_poll is not None:
        given["long_poll_s"] = long_poll
    known = {
        name: default
        for name, default in zip(
            ServerSettings.__struct_fields__, ServerSettings.__struct_defaults__, strict=True
        )
        if type(default) in (int, float)
    }
    for name, text in limits:
        if name not in known:
            raise click.UsageError(f"--limit {name}: there are {', '.join(sorted(known))}")
        given[name] = _limit(name, text, type(known[name]))
    return ServerSettings(**given)  # type: ignore[arg-type]


def _limit(name: str, text: str, kind: type) -> int | float:
    try:
        if "bytes" in name:
            return parse_size(text)
        if name.endswith("_s"):
            return parse_duration(text)
        return int(text) if kind is int else float(text)
    except ValueError as error:
        raise click.UsageError(f"--limit {name}: {error}") from None
