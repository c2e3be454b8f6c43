"""The command: which verbs there are, loading the one that is used, and the error boundary.

A verb's module is imported when the verb is used, so that `transit --help` loads none of them.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from transit.cli.failures import BROKEN_PIPE, INTERRUPTED, describe
from transit.cli.flags import Flags
from transit.cli.options import shared_options
from transit.cli.standard import drop, take_closed, unwritten

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMPLETE_VARIABLE: Final = "_TRANSIT_COMPLETE"


class Verb(NamedTuple):
    """Where a verb is, and what it does in one line."""

    module: str
    help: str


VERBS: Final[Mapping[str, Verb]] = {
    "create": Verb("create", "Make new, empty streams."),
    "append": Verb("append", "Append records from arguments, files or a pipe."),
    "read": Verb("read", "Print the records of streams."),
    "tail": Verb("tail", "Print the last records, and wait for more."),
    "branch": Verb("branch", "Make a stream that inherits another up to an offset."),
    "merge": Verb("merge", "Make a stream from the heads of others, by a policy."),
    "streams": Verb("streams", "List streams."),
    "cursors": Verb("cursors", "List the places of readers, and how far behind they are."),
    "show": Verb("show", "Print what a run did, or what a stream is."),
    "runs": Verb("runs", "List recorded runs: how they ended, and what they used."),
    "find": Verb("find", "Find the records of runs in which something was said, or happened."),
    "sql": Verb("sql", "Ask records in SQL."),
    "note": Verb("note", "Write a score, a label or a comment on a run."),
    "log": Verb("log", "Print how streams descend from one another."),
    "why": Verb("why", "Explain how a record got where it is."),
    "diff": Verb("diff", "Compare the histories of two streams."),
    "import": Verb("import_", "Append streams from an export, or runs from other tools' files."),
    "export": Verb("export", "Write streams as JSON lines or a chain, or a run for another tool."),
    "chat": Verb("chat", "Talk in channels, see who answers whom, and correct it."),
    "tap": Verb("tap", "Run a command and record its output."),
    "reconcile": Verb("reconcile", "Look at reconcilers and schedules, switch them, run them."),
    "status": Verb("status", "Print what the store holds."),
    "fleet": Verb("fleet", "Look at many stores below one prefix."),
    "mcp": Verb("mcp", "Serve the store to an agent, by the Model Context Protocol."),
    "finish": Verb("finish", "Take no more records into a stream, ever."),
    "hide": Verb("hide", "Leave a stream out of listings; its name is free."),
    "delete": Verb("delete", "Delete a stream: nobody reads it any more."),
    "trim": Verb("trim", "Let a stream begin at a later offset."),
    "hold": Verb("hold", "Let nobody delete a stream."),
    "retain": Verb("retain", "Say how long streams are kept, and let go what is due."),
    "erase": Verb("erase", "Free the bytes of what was deleted or trimmed."),
    "gc": Verb("gc", "List or remove what a store does not need."),
    "seal": Verb("seal", "Turn what was written into an immutable segment, now."),
    "publish": Verb("publish", "Bring to the remote what it lacks."),
    "key": Verb("key", "Make keys that sign checkpoints, and print what checks them."),
    "keyring": Verb("keyring", "Make, show, rotate and destroy the keys of an encrypted store."),
    "checkpoint": Verb("checkpoint", "Sign what the store holds, for people who have no store."),
    "proof": Verb("proof", "Make proofs that need no store, and check them."),
    "exhibit": Verb("exhibit", "Put a run into one file, with the proof that it is all of it."),
    "restore": Verb("restore", "Make a store from its remote."),
    "copy": Verb("copy", "Bring a published store to another remote, or what is new of it."),
    "standby": Verb("standby", "Keep a folder where its remote is, ready to take over."),
    "takeover": Verb("takeover", "Take the store over in a folder, and fence off its writer."),
    "takeovers": Verb("takeovers", "List the takeovers of a store, and what each missed."),
    "verify": Verb("verify", "Check every byte of the store."),
    "audit": Verb("audit", "Derive a remote or a folder again from its bytes."),
    "doctor": Verb("doctor", "Look at folder, disk, lock and remote, and say what mends them."),
    "serve": Verb("serve", "Put the store on the network, over HTTP."),
    "token": Verb("token", "Make, list and take back the tokens of a server."),
    "bench": Verb("bench", "Measure each durability on your disk and bucket, beside the raw cost."),
    "evict": Verb("evict", "Drop local segments that are published."),
    "inspect": Verb("inspect", "Print what a file of a store holds."),
    "config": Verb("config", "Print the configuration in effect, and where it comes from."),
    "completion": Verb("completion", "Print the completion script of a shell."),
    "demo": Verb("demo", "Record, publish, lose, restore and prove a run, from end to end."),
}


class Verbs(click.Group):
    """The verbs of the table, each loaded when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in the table's order."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command, or None."""
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        command = import_module(f"transit.cli.verbs.{verb.module}").command
        assert isinstance(command, click.Command)
        command.name = cmd_name
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's; the error for an unknown verb names the nearest ones."""
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            raise click.exceptions.NoSuchCommand(
                error.command_name, possibilities=VERBS, ctx=ctx
            ) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs with their lines in the table; no verb is loaded."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Verbs and options that start as typed; no verb is loaded."""
        # Imported here: only a shell that completes needs it.
        from click.shell_completion import CompletionItem

        verbs = [
            CompletionItem(name, help=verb.help)
            for name, verb in VERBS.items()
            if name.startswith(incomplete)
        ]
        return verbs + click.Command.shell_complete(self, ctx, incomplete)


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        # Imported here: only this option needs it.
        from transit import __version__

        click.echo(f"transit {__version__}")
        ctx.exit()


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@shared_options
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
    help="Print the version and exit.",
)  # fmt: skip
def root() -> None:
    """An append-only log with branches, merges and verifiable history.

    At a terminal tables are printed; in a pipe JSON, one object a line.
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command; the exit code. Every failure is told on the standard error output."""
    flags = Flags()
    take_closed()
    if COMPLETE_VARIABLE in os.environ:
        root.main(list(arguments), prog_name="transit", obj=flags)
    try:
        return _invoke(arguments, flags)
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        drop(sys.stdout)
        return BROKEN_PIPE
    except Exception as error:
        return _tell(error, flags, arguments)


def _invoke(arguments: Sequence[str], flags: Flags) -> int:
    exit_code = 0
    try:
        with root.make_context("transit", list(arguments), obj=flags) as context:
            root.invoke(context)
    except click.exceptions.Exit as asked:
        exit_code = asked.exit_code
    try:
        sys.stdout.flush()
    except OSError as error:
        raise unwritten(error) from None
    return exit_code


def _tell(error: Exception, flags: Flags, arguments: Sequence[str]) -> int:
    failure = describe(error)
    as_json = flags.format == "json" or "--format=json" in arguments
    as_json = as_json or ("--format", "json") in pairwise(arguments)
    try:
        # What was printed before the failure comes before its message.
        sys.stdout.flush()
    except OSError:
        drop(sys.stdout)
    try:
        if as_json or not sys.stderr.isatty():
            sys.stderr.write(failure.as_json().decode())
        elif isinstance(error, click.exceptions.NoArgsIsHelpError):
            # People who name no verb want to see which there are.
            sys.stderr.write(f"{error.ctx.get_help()}\n")
        else:
            color = "NO_COLOR" not in os.environ if flags.color is None else flags.color
            sys.stderr.write(failure.as_text(color))
        if flags.debug and failure.kind == "internal":
            traceback.print_exception(error)
        sys.stderr.flush()
    except OSError:
        # It cannot be written: the exit code still says what happened.
        drop(sys.stderr)
    return failure.exit_code
