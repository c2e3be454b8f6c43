"""What a command is told to trust: a checkpoint that was kept, keys of the log, or a policy."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click
import msgspec

from transit import InvalidInputError, Policy, VerifyingKey
from transit.cli.configuration import reachable
from transit.cli.failures import hinted

# A signed note; a vkey is far smaller.
FILE_BYTES_MAX = 1024 * 1024

Decorated = Callable[..., Any]


def checkpoint_option(function: Decorated) -> Decorated:
    """--checkpoint; passes the bytes of that note as `checkpoint`, None without one."""

    @functools.wraps(function)
    def with_checkpoint(*args: Any, checkpoint_file: str | None, **given: Any) -> Any:
        note = None if checkpoint_file is None else _read(checkpoint_file)
        return function(*args, checkpoint=note, **given)

    return click.option(
        "--checkpoint", "checkpoint_file", metavar="FILE", type=click.Path(),
        help="A checkpoint that you kept: what does not extend it is refused.",
    )(with_checkpoint)  # fmt: skip


def signer_options(function: Decorated) -> Decorated:
    """--vkey, --policy and --retired, none of them required; passes `policy`, None without any."""

    @functools.wraps(function)
    def with_policy(
        *args: Any,
        vkeys: tuple[str, ...],
        policy_file: str | None,
        retired_file: str | None,
        **given: Any,
    ) -> Any:
        return function(*args, policy=_policy(vkeys, policy_file, retired_file), **given)

    for option in (
        click.option(
            "--retired", "retired_file", metavar="FILE", type=click.Path(),
            help='Replaced keys, each with the size it is good up to: {"NAME+ID": 150}.',
        ),
        click.option(
            "--policy", "policy_file", metavar="FILE", type=click.Path(),
            help="Whom to believe, with witnesses, instead of --vkey (C2SP tlog-policy).",
        ),
        click.option(
            "--vkey", "vkeys", metavar="VKEY|@FILE", multiple=True,
            help="A key of the log that must have signed: its text, or @ and a file with it.",
        ),
    ):  # fmt: skip
        with_policy = option(with_policy)
    return with_policy


def _policy(
    vkeys: tuple[str, ...], policy_file: str | None, retired_file: str | None
) -> Policy | None:
    if vkeys and policy_file is not None:
        raise click.UsageError("--vkey or --policy, not both")
    if policy_file is not None:
        policy = Policy.parse(_read(policy_file))
    elif vkeys:
        policy = Policy.of([_vkey(text) for text in vkeys])
    elif retired_file is None:
        return None
    else:
        raise click.UsageError("--retired is said of the keys of --vkey or --policy")
    return policy if retired_file is None else policy.with_retired(_retired(retired_file))


def _retired(path: str) -> dict[str, int]:
    try:
        return msgspec.json.decode(_read(path), type=dict[str, int])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidInputError(f'{path}: expected JSON {{"NAME+ID": size}}: {error}') from None


def _vkey(text: str) -> VerifyingKey:
    if not text.startswith("@"):
        return VerifyingKey.from_text(text.strip())
    path = text[1:]
    try:
        said = _read(path).decode().strip()
    except UnicodeDecodeError:
        raise InvalidInputError(f"{path}: not a vkey") from None
    with hinted(InvalidInputError, f"`transit key show {path}` prints the vkey of a key"):
        return VerifyingKey.from_text(said)


def _read(path: str) -> bytes:
    with open(reachable(path), "rb") as file:
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise InvalidInputError(f"{path}: more than {FILE_BYTES_MAX} bytes")
    return data
