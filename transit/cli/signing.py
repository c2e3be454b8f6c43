"""Checkpoints as the command makes them: signed by keys in files, cosigned by a policy's witnesses.

Owns what is told of a witness that did not cosign.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from transit import (
    Log,
    Policy,
    ProofError,
    SignedCheckpoint,
    SigningKey,
    SplitViewError,
    VerifyingKey,
    Witness,
    make_policy,
)
from transit.cli.failures import CommandError
from transit.cli.trust import escaped
from transit.cli.values import second_text


class Asked(NamedTuple):
    """A policy, and those of its witnesses that can be asked, by their names in it."""

    policy: Policy
    witnesses: dict[str, Witness]


def witnesses_of(text: bytes, ca_file: str | None) -> Asked:
    """What the text of a policy says. ca_file: certificates to trust, as for servers."""
    policy = make_policy(text=text)
    found = {
        each.name: Witness.at(each.url, each.key, ca_file=ca_file)
        for each in policy.witnesses
        if each.url
    }
    return Asked(policy, found)


def make_checkpoint(
    log: Log, keys: Sequence[SigningKey], asked: Asked | None
) -> tuple[dict[str, object], bytes]:
    """What is to be told of the checkpoint that was made, and its bytes."""
    if asked is None:
        signed = log.checkpoint(keys)
        return _facts(signed, {}), signed.note
    witnesses = asked.witnesses
    try:
        signed = log.checkpoint(keys, witnesses=list(witnesses.values()), policy=asked.policy)
    except SplitViewError:
        raise
    except ProofError as error:
        missing = _missing(witnesses)
        said = "; ".join([str(error), *(f"{name}: {why}" for name, why in missing.items())])
        raise CommandError(
            said, kind="proof", exit_code=error.exit_code, fields={"not_cosigned_by": missing},
            hint="the checkpoint is kept in the store's folder, and was not published",
        ) from None  # fmt: skip
    facts = _facts(signed, {each.key: each.name for each in asked.policy.witnesses})
    return {**facts, "not_cosigned_by": _missing(witnesses)}, signed.note


def _missing(witnesses: Mapping[str, Witness]) -> dict[str, str]:
    """Why witnesses did not cosign, by their names as they are shown."""
    return {
        escaped(name): str(witness.error)
        for name, witness in witnesses.items()
        if witness.error is not None
    }


def _facts(signed: SignedCheckpoint, names: dict[VerifyingKey, str]) -> dict[str, object]:
    head = signed.checkpoint
    return {
        "origin": head.origin,
        "size": head.size,
        "root": head.root.hex(),
        "signed_by": [f"{each.key.name}+{each.key.key_id.hex()}" for each in signed.logs],
        "cosigned_by": {
            names.get(each.key, each.key.name): f"{second_text(each.at_s)}Z"
            for each in signed.witnesses
        },
    }
