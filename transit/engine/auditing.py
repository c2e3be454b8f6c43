"""`audit`: a store in a remote checked from its bytes alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from transit.auditor import Audit, check_seed, parse_level
from transit.config import Settings
from transit.engine.plans import rerunning
from transit.engine.trusted import Kept, Keys, policy_of, remembered_of
from transit.errors import InvalidInputError
from transit.handle.attaching import RemoteAddress, attach, check_settings
from transit.handle.encrypting import reading_keys
from transit.keyring import Keyring
from transit.keyring.envelopes import StoreKeys
from transit.proof.policy import Policy
from transit.tier.progress import Progress
from transit.tier.remote import Remote
from transit.verify import Report

_ROOT: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


def audit(  # noqa: PLR0913 - as many things are said of what is trusted, and how
    remote: RemoteAddress,
    level: str = "bodies",
    *,
    trusted_root: str | None = None,
    checkpoint: Kept | None = None,
    keys: Keys | None = None,
    policy: Policy | None = None,
    seed: int | None = None,
    storage_options: Mapping[str, object] | None = None,
    settings: Settings | None = None,
    keyring: Keyring | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Check the store in `remote`, trusting nothing that is there; writes nothing anywhere.

    remote: as for `open`; also a local store's folder, whose sealed part is checked.
    level: "roots": commits, and sizes of what they name; "bodies": and every byte; "sample:p": and
    the bytes of a random share p of the segments. trusted_root: a root (64 hex digits) that was
    written down earlier, `Report.head` of an earlier audit: a history without it is a finding.
    checkpoint: one that was kept, or the bytes of its note: a history that does not extend it is a
    finding, with both sizes. keys: of the log, as `VerifyingKey` or their texts, or policy: those
    that sign what the remote has as checkpoints; a note of nobody else is a finding. Without them
    no signature is judged. Each checkpoint must have the chain's root at its size, and the newest
    must have its tiles and bundles.
    seed: of the sample; None: a random one, in `counts["sample_seed"]`.
    settings: a store that was written with larger limits than these needs an audit with those.
    keyring: that of an encrypted store. Without it digests, roots, commits and checkpoints are
    checked, and what envelopes hold is not: `counts["sealed_chunks"]`, `["lineage_not_checked"]`.
    What is wrong is in the report. Raises `NotFoundError` when there is no store, `ProofError` when
    `checkpoint` itself does not hold, `RemoteUnavailableError`, `StorePermissionError`,
    `InvalidInputError`.
    """
    chosen_level = parse_level(level)
    chosen_seed = check_seed(seed)
    if trusted_root is not None and not (
        isinstance(trusted_root, str) and _ROOT.fullmatch(trusted_root)
    ):
        raise InvalidInputError(f"trusted_root must be 64 hex digits, not {trusted_root!r:.100}")
    trusted = policy_of(keys, policy)
    remembered = remembered_of(checkpoint, trusted)
    chosen = check_settings(settings)
    store, release = attach(remote, storage_options, chosen)
    try:
        source = Remote(store, chosen)
        opener = None if keyring is None else reading_keys(keyring)
        check = Audit(source, chosen_level, trusted_root, chosen_seed, remembered, trusted, opener)
        return check.run(rerunning(), progress)
    finally:
        release()


def audit_bodies(remote: Remote, trusted: Policy | None, keys: StoreKeys | None) -> Report:
    """Check every byte of the store in a remote that is attached already."""
    level = parse_level("bodies")
    return Audit(remote, level, None, check_seed(None), None, trusted, keys).run(rerunning(), None)
