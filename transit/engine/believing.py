"""What somebody without a store checks of checkpoints, by the keys or the policy that they trust.

Owns no rule of its own: signatures, quorums and paths are the business of `transit.proof`. Proofs
of records are checked by `check_proof` of `transit.engine.evidence`, by the same trust.
"""

from __future__ import annotations

import time

from transit.engine.trusted import Keys, policy_of
from transit.errors import InvalidInputError
from transit.evidence.checking import Checked
from transit.evidence.how import how_text
from transit.evidence.statement import PAYLOAD_FILE
from transit.proof.files import ConsistencyFile
from transit.proof.files import check_pair as check_both
from transit.proof.policy import Policy, Verdict, parse_retired


def make_policy(
    keys: Keys | None = None,
    *,
    text: str | bytes | None = None,
    retired: str | bytes | None = None,
) -> Policy:
    """Whom to believe: keys of a log alone, or the text of a policy with witnesses (C2SP).

    retired: JSON that says up to which size a key that was replaced is good, {"NAME+ID": size}.
    `InvalidInputError` says what is wrong with one of them.
    """
    policy = required_policy(keys, None if text is None else Policy.parse(text))
    return policy if retired is None else policy.with_retired(parse_retired(retired))


def required_policy(keys: Keys | None, policy: Policy | None) -> Policy:
    """The policy, or one that these keys of a log are enough for; `InvalidInputError` for none."""
    found = policy_of(keys, policy)
    if found is None or not found.logs:
        raise InvalidInputError("say whom to trust: keys of the log, or a policy")
    return found


def check_checkpoint(
    note: bytes,
    keys: Keys | None = None,
    *,
    policy: Policy | None = None,
    now: float | None = None,
) -> Verdict:
    """What a signed checkpoint says, and who signed it; returned, it is to be believed.

    keys, policy, now: as of `check_proof`. `ProofError` says what does not hold.
    """
    return required_policy(keys, policy).check(note, now=seconds(now)).require_quorum()


def check_growth(
    growth: bytes,
    old: bytes,
    keys: Keys | None = None,
    *,
    policy: Policy | None = None,
    now: float | None = None,
) -> Verdict:
    """Check that the log of checkpoint `old` is the beginning of that of the one in `growth`.

    growth: what `Log.prove_growth` made. keys, policy, now: as of `check_proof`; both checkpoints
    are judged by them. The verdict is that of the newer one. `ProofError` says what does not hold.
    """
    chosen = required_policy(keys, policy)
    return ConsistencyFile.parse(growth).check(old, chosen, now=seconds(now))


def check_pair(
    first: bytes,
    second: bytes,
    keys: Keys | None = None,
    *,
    policy: Policy | None = None,
    now: float | None = None,
) -> tuple[Verdict, Verdict]:
    """Compare two checkpoints of one log that two people were given.

    `ProofError` that says SPLIT VIEW where they are over as many commits but not the same ones:
    both, kept, are the evidence. Where the sizes differ nothing follows without `check_growth`.
    """
    return check_both(first, second, required_policy(keys, policy), now=seconds(now))


def how_to_check(proof: Checked) -> bytes:
    """How standard tools check a proof: the script that is `HOW.txt` beside its files."""
    record = next(proof.records()) if PAYLOAD_FILE in proof.files else None
    return how_text(proof.statement, proof.files, record)


def seconds(now: float | None) -> float:
    """Seconds since 1970, of the clock where nothing was given."""
    return time.time() if now is None else now
