"""Options and argument types that verbs share.

`store_options` gives a verb the options of the store and passes its `Session`. The same options may
stand before the verb; each writes into the one `Flags` of the run, so the last one wins.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from transit.cli.flags import ENCRYPTED, Flags
from transit.cli.values import (
    parse_duration,
    parse_moment,
    parse_pair,
    parse_place,
    parse_size,
)

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from transit.cli.opening import Session

COMPLETIONS_MAX = 1000
_Value = TypeVar("_Value")
Decorated = Callable[..., Any]


class ParsedType(click.ParamType[object]):
    """An argument type made of a parser that raises `ValueError`."""

    def __init__(self, name: str, parse: Callable[[str], object]) -> None:
        self.name = name
        self._parse = parse

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        """The parsed value; a usage error when the text is not one."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class StreamType(ParsedType):
    """A stream, which the shell completes from the store."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Streams of the configured store whose names start as typed; none when it is not there."""
        # Imported here: only a shell that completes needs it.
        from click.shell_completion import CompletionItem

        # Imported here: `--help` needs no store.
        from transit.cli.opening import Session

        try:
            with Session(_flags(ctx)).open_read() as log:
                names = [stream.name for stream in log.streams(incomplete)]
        except Exception:
            # Whatever is wrong, completion in a shell must not print it.
            return []
        return [CompletionItem(name) for name in names[:COMPLETIONS_MAX]]


def _text(value: str) -> str:
    return value


STREAM = StreamType("stream", _text)
POSITION = StreamType("stream[@offset[:stop]]", parse_place)
HEADER = ParsedType("key=value", parse_pair)
DURATION = ParsedType("duration", parse_duration)
SIZE = ParsedType("size", parse_size)
TIME = ParsedType("time", parse_moment)


def store_options(function: Decorated) -> Decorated:
    """The options every verb on a store has; passes the run's `Session` as first argument."""

    @functools.wraps(function)
    def with_session(*args: Any, **given: Any) -> Any:
        # Imported here: `--help` needs no store.
        from transit import RetentionGapError  # and no error of the engine's
        from transit.cli.opening import Session  # nor this

        session: Session = Session(_flags(click.get_current_context()))
        try:
            return function(session, *args, **given)
        except RetentionGapError as error:
            error.add_note(session.where_records_are())
            raise

    return shared_options(with_session)


def place_argument(function: Decorated) -> Decorated:
    """An argument `[PLACE]` that means the same as `--store PLACE`."""
    argument = click.argument(
        "place", metavar="[PLACE]", required=False, callback=_keep_place, expose_value=False
    )
    return argument(function)


def shared_options(function: Decorated) -> Decorated:
    """The options alone; their values go into the `Flags` of the run."""
    for option in reversed(
        (
            _option("store", "PATH", "Folder of the store; for reading also a remote's address."),
            _option("remote", "URL", "Where the store is published: s3://…, a folder, any URL."),
            _option(
                "keyring", "FILE", "Keys of an encrypted store, as `transit keyring` makes them."
            ),
            _option("key-file", "FILE", "What unlocks the keyring, instead of a passphrase."),
            _choice("encrypt", ENCRYPTED, "What is encrypted: what is sealed, or the WAL too."),
            _option("config", "FILE", "Configuration file, instead of the nearest transit.toml."),
            _choice("format", ("auto", "table", "json"), "How to print."),
            _switch("--color/--no-color", "color", "Colour, or not; else as the terminal can."),
            _switch("--debug", "debug", "Show where an unexpected error came from."),
        )
    ):
        function = option(function)
    return function


def pairs(given: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Repeated `KEY=VALUE` options as one mapping; a usage error for a key given twice."""
    mapping = dict(given)
    if len(mapping) != len(given):
        keys = [key for key, _ in given]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise click.UsageError(f"{twice!r} is given twice")
    return mapping


def _flags(ctx: click.Context) -> Flags:
    flags = ctx.find_root().ensure_object(Flags)
    assert isinstance(flags, Flags)
    return flags


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value is not None:
        setattr(_flags(ctx), str(param.name), value)


def _keep_place(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    flags = _flags(ctx)
    if value is not None:
        if flags.store not in (None, value):
            raise click.UsageError(f"two stores: --store {flags.store} and {value}", ctx)
        flags.store = value


def _option(name: str, metavar: str, text: str) -> Callable[[Decorated], Decorated]:
    return click.option(
        f"--{name}", name.replace("-", "_"), metavar=metavar, help=text, callback=_keep,
        expose_value=False, is_eager=True,
    )  # fmt: skip


def _choice(name: str, choices: tuple[str, ...], text: str) -> Callable[[Decorated], Decorated]:
    return click.option(
        f"--{name}", name, type=click.Choice(choices), help=text, callback=_keep,
        expose_value=False, is_eager=True,
    )  # fmt: skip


def _switch(spelling: str, name: str, text: str) -> Callable[[Decorated], Decorated]:
    return click.option(
        spelling, name, is_flag=True, default=None, help=text, callback=_keep,
        expose_value=False, is_eager=True,
    )  # fmt: skip
