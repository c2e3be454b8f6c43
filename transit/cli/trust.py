"""Keys, policies and checkpoints as a command reads and shows them.

Owns that a signing key is never printed, and that no name of a key or a log is: each is shown in
ASCII, so that one that looks like another is told apart from it, and none can steer a terminal.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import click

from transit import (
    AlreadyExistsError,
    InvalidInputError,
    Policy,
    SigningKey,
    Verdict,
    VerifyingKey,
)
from transit.cli.configuration import reachable
from transit.cli.keeping import signer_options
from transit.cli.output import Output, cell, plain
from transit.cli.values import second_text

# A key, or its vkey; Go's and ours have less than 3 KiB.
KEY_BYTES_MAX: Final = 16 * 1024
POLICY_BYTES_MAX: Final = 1024 * 1024
# A signed note, and a proof that one grew from another.
NOTE_BYTES_MAX: Final = 2 * 1024 * 1024

Decorated = Callable[..., Any]
Kind = Literal["ed25519", "ml-dsa-44"]
Role = Literal["log", "witness"]

key_option = click.option(
    "--key", "keys", metavar="FILE", type=click.Path(), multiple=True,
    help="A key that signs, as `transit key new` makes it; several of one name may sign together.",
)  # fmt: skip


def trust_options(function: Decorated) -> Decorated:
    """The options of `signer_options`, one of --vkey and --policy required."""

    @functools.wraps(function)
    def with_policy(*args: Any, policy: Policy | None, **given: Any) -> Any:
        if policy is None:
            raise click.UsageError("say whom to trust: --vkey KEY (or @FILE), or --policy FILE")
        return function(*args, policy=policy, **given)

    return signer_options(with_policy)


def signing_keys(files: Sequence[str]) -> list[SigningKey]:
    """The keys in these files; a usage error when there are none."""
    if not files:
        raise click.UsageError("give --key FILE: `transit key new NAME -o FILE` makes one")
    keys = []
    for file in files:
        try:
            keys.append(SigningKey.from_text(_line_of(file, "a signing key")))
        except InvalidInputError as error:
            raise InvalidInputError(f"{file}: {error}") from None
    return keys


def vkey_of(file: str) -> VerifyingKey:
    """The vkey of the key in a file, be it one that signs or one that verifies."""
    text = _line_of(file, "a key")
    try:
        if text.startswith("PRIVATE+KEY+"):
            return SigningKey.from_text(text).verifying
        return VerifyingKey.from_text(text)
    except InvalidInputError as error:
        raise InvalidInputError(f"{file}: {error}") from None


def _line_of(file: str, what: str) -> str:
    data = read_file(file, KEY_BYTES_MAX)
    try:
        return data.decode("utf-8").strip()
    except UnicodeDecodeError:
        # Nothing of it is shown: it may be a secret.
        raise InvalidInputError(f"{file}: not {what}") from None


# Files


def read_file(path: str, most: int) -> bytes:
    """The bytes of a file that the user named, at most so many; `InvalidInputError` for more."""
    with open(reachable(path), "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise InvalidInputError(f"{path}: more than {most} bytes")
    return data


def write_new(path: str, data: bytes, *, secret: bool = False) -> None:
    """Make a file, whole and synced; `AlreadyExistsError` when something is there already.

    secret: nobody but its owner reads it.
    """
    mode = 0o600 if secret else 0o666
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        number = os.open(reachable(path), flags, mode)
    except FileExistsError:
        raise AlreadyExistsError(f"{path}: it is there already, and stays as it is") from None
    try:
        with open(number, "wb") as file:
            if secret:
                # Whatever the umask let through, and whatever it took away from the owner.
                os.fchmod(file.fileno(), stat.S_IRUSR | stat.S_IWUSR)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


# What is shown


def escaped(text: str) -> str:
    """`text` in ASCII: what is not, and what steers a terminal, as an escape."""
    return ascii(text)[1:-1]


def facts_of(verdict: Verdict) -> dict[str, object]:
    """What a checkpoint says, who signed it, and how far that goes."""
    head, signed = verdict.checkpoint, verdict.signed
    return {
        "origin": head.origin,
        "size": head.size,
        "root": head.root.hex(),
        "signed_by": [f"{each.key.name}+{each.key.key_id.hex()}" for each in signed.logs],
        "cosigned_by": {
            name: f"{second_text(at_s)}Z" for name, at_s in sorted(verdict.witnesses.items())
        },
        "stage": stage_of(verdict),
    }


def stage_of(verdict: Verdict) -> str:
    """The last stage that was reached, as `verify` and `audit` name them."""
    is_witnessed = verdict.quorum != "none" and verdict.quorum_met
    return "cosignature" if is_witnessed else "checkpoint"


def show(output: Output, facts: Mapping[str, object]) -> None:
    """One thing with many facts, every text of it in ASCII; what says nothing is left out."""
    if not output.tables:
        output.raw(json.dumps(plain(facts), separators=(",", ":")).encode() + b"\n")
        return
    shown = {name: value for name, value in facts.items() if value not in (None, [], {}, "")}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        label = output.style(f"{name.replace('_', ' '):<{width}}", fg="cyan")
        many = value if isinstance(value, list | tuple) else [value]
        for number, each in enumerate(many):
            before = label if not number else " " * width
            output.line(f"{before}  {escaped(cell(each))}".rstrip())
