"""`transit completion`: the script that makes a shell complete verbs, options and stream names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from transit.cli.main import COMPLETE_VARIABLE, root
from transit.cli.opening import Session
from transit.cli.options import store_options

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@store_options
def command(context: Session, shell: str) -> None:
    """Print the completion script for SHELL.

    In bash: eval "$(transit completion bash)", in ~/.bashrc.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(root, {}, "transit", COMPLETE_VARIABLE).source()
    context.output.raw(script.encode() + b"\n")
