"""LogEvidence: what an open store says of itself to others: signed checkpoints and proofs.

Owns the part of `Log` that makes them. Whoever has no store checks them with `check_proof`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property

from transit.engine.auditing import audit_bodies
from transit.engine.believing import required_policy, seconds
from transit.engine.caching import Cache
from transit.engine.checkpoints import Checkpoints, Witness
from transit.engine.checks import as_index
from transit.engine.enveloping import CheckedEnvelope, EnvelopeProof, check_files
from transit.engine.finding import state_of
from transit.engine.plans import rerunning
from transit.engine.proving import Proof, Proving
from transit.engine.stream import Stream
from transit.engine.trusted import Keys, policy_of
from transit.errors import InvalidInputError, NotFoundError, ProofError
from transit.evidence.checking import Checked
from transit.evidence.envelope import (
    FINALITY,
    FORK_CHOICE,
    Envelope,
    check_block,
    check_kind,
    derive,
)
from transit.evidence.folder import ProofFolder
from transit.format.lineage import heads_of
from transit.handle.handle import Handle
from transit.opened import Opened
from transit.proof.checkpoint import Checkpoint, SignedCheckpoint
from transit.proof.keys import SigningKey
from transit.proof.policy import Policy, Verdict
from transit.store.addresses import is_url
from transit.verify import Report, verify_store
from transit.verify.stages import stage_of

_ROOM = "proofs"


class LogEvidence(Opened):
    """The part of `Log` that makes checkpoints and proofs, and checks itself."""

    _handle: Handle

    @abstractmethod
    def cache(self, room: str) -> Cache:
        """See `Log.cache`."""

    @cached_property
    def _evidence(self) -> tuple[Checkpoints, Proving]:
        self._handle.check()
        checkpoints = Checkpoints(self._handle)
        return checkpoints, Proving(self._handle, checkpoints, self.cache(_ROOM))

    def verify(self, *, keys: Keys | None = None, policy: Policy | None = None) -> Report:
        """Check every byte of the store, read afresh from disk; the report lists what is wrong.

        keys: of the log, as `VerifyingKey` or their texts, or policy: whose signatures the folder's
        checkpoints must have. Without them these must only be of this history.
        A store that is only in a remote is audited there, every byte: as `audit`.
        """
        trusted = policy_of(keys, policy)
        handle = self._handle
        handle.refresh()
        if handle.remote is not None and is_url(handle.root):
            return audit_bodies(handle.remote, trusted, handle.catalog.keys)
        reached = max((wal.next_lsn for wal in handle.catalog.view.wals), default=0)

        def work() -> Report:
            handle.catalog.check_place()
            report = verify_store(handle.catalog, handle.settings, rerunning(), reached, trusted)
            # What was read by its path meanwhile was this store's.
            handle.catalog.check_place()
            return report

        return handle.while_sealing_pauses(work)

    def checkpoint(
        self,
        signer: SigningKey | Sequence[SigningKey],
        *,
        witnesses: Sequence[Witness] = (),
        policy: Policy | None = None,
    ) -> SignedCheckpoint:
        """Sign what is here now, as a note that anybody can check (C2SP tlog-checkpoint 1.0.0).

        Seals first; with a remote it publishes first, and the checkpoint is published too, with the
        tiles that stand behind it. Where nothing is new it is the same note as before.
        signer: one key or several of one name, `NAME/<store id>`, the checkpoint's origin.
        witnesses: each is asked to cosign; one that does not is left out, `Witness.error` says why.
        policy: one that the checkpoint must satisfy before it is published.

        What was signed before, here or in the remote, must be the beginning of what is signed now:
        `SplitViewError`. `ProofError` when the policy is not met, `FencedError` when a witness has
        seen more than is here; `ReadOnlyError` in mode "read"; and as `publish`.
        """
        return self._evidence[0].make(signer, witnesses, policy)

    def checkpoints(self) -> tuple[int, ...]:
        """How many commits each checkpoint of the store covers, ascending.

        Of a store that is only in a remote the newest alone is told; `checkpoint_note` has others.
        """
        return tuple(self._evidence[0].sizes())

    def checkpoint_note(self, size: int | None = None) -> bytes:
        """The signed note over the first `size` commits, or the newest; nothing of it is verified.

        What is given to others: `check_checkpoint` verifies it. `NotFoundError` for none.
        """
        if size is None:
            note = self._evidence[0].newest()
        else:
            wanted = as_index(size, "size")
            if not 0 <= wanted < 2**63:
                raise InvalidInputError(f"a checkpoint covers a count of commits, not {wanted}")
            note = self._evidence[0].note(wanted)
        if note is None:
            which = "no checkpoint" if size is None else f"no checkpoint of {size} commits"
            raise NotFoundError(f"the store has {which}")
        return note

    def prove(
        self,
        stream: Stream | str,
        offset: int | None = None,
        *,
        records: tuple[int, int | None] | None = None,
        end: bool = False,
        checkpoint: SignedCheckpoint | bytes | None = None,
    ) -> Proof:
        """What is in a stream, as files that anybody can check without the store.

        offset: one record, with its payload in a file of its own. records: those from the first
        offset to before the second, None for all that the checkpoint covers. Neither: only where
        the stream comes from. end: and that no more records were there at the checkpoint.
        checkpoint: the one to stand on; None: the newest of this store.

        A proof shows records of the streams that were named or that they inherit from, and nothing
        else but ids, counts and digests of the chunks beside them.
        `OffsetError` for records that the checkpoint does not cover, `InvalidInputError` where
        there is no checkpoint, `SplitViewError` for one of another history, `NotFoundError` for one
        of commits that are not here.
        """
        state = state_of(self._handle, stream)
        return self._evidence[1].prove(
            state, offset, records=records, end=end, checkpoint=checkpoint
        )

    def prove_growth(
        self,
        old: SignedCheckpoint | bytes,
        new: SignedCheckpoint | bytes | None = None,
    ) -> bytes:
        """That the history of checkpoint `old` is the beginning of that of `new`, as a file.

        new: None for the newest of this store. The file is the body of an `add-checkpoint` request
        (C2SP tlog-witness 1.0.0): the hashes of RFC 9162, section 2.1.4, and the newer note.
        Errors as of `prove`.
        """
        return self._evidence[1].growth(old, new)

    def prove_finality(
        self,
        stream: Stream | str,
        *,
        checkpoint_kind: str = "finality",
        application_block: str | None = None,
        checkpoint: SignedCheckpoint | bytes | None = None,
    ) -> EnvelopeProof:
        """That a stream ended at its head at a checkpoint, as a document beside its proof.

        The document is a `transit.finality.v1` (`transit.evidence.envelope`); `check_envelope`
        wants a checkpoint that a witness cosigned. checkpoint_kind: "finality" or
        "published-result". application_block: a text of yours, which nothing shows.
        Errors as of `prove`.
        """
        check_kind(FINALITY, checkpoint_kind)
        return self._envelope(FINALITY, stream, checkpoint_kind, application_block, checkpoint)

    def prove_fork_choice(
        self,
        merge: Stream | str,
        *,
        checkpoint_kind: str = "fork-choice",
        application_block: str | None = None,
        checkpoint: SignedCheckpoint | bytes | None = None,
    ) -> EnvelopeProof:
        """That a merge by policy "select" chose one head of several, as a document beside proofs.

        The document is a `transit.fork-choice.v1`; the proofs show the merge, and of each of its
        parents that it ended there: `InvalidInputError` where one went on.
        checkpoint_kind: "fork-choice" or "reorg-selection". Otherwise as `prove_finality`.
        """
        check_kind(FORK_CHOICE, checkpoint_kind)
        return self._envelope(FORK_CHOICE, merge, checkpoint_kind, application_block, checkpoint)

    def _envelope(
        self,
        proof_kind: str,
        stream: Stream | str,
        checkpoint_kind: str,
        application_block: str | None,
        checkpoint: SignedCheckpoint | bytes | None,
    ) -> EnvelopeProof:
        check_block(application_block)
        state = state_of(self._handle, stream)
        proving = self._evidence[1]
        note = proving.note_of(checkpoint)
        proof = proving.prove(state, None, records=None, end=True, checkpoint=note)
        is_choice = proof_kind == FORK_CHOICE
        heads = [
            proving.prove(self._handle.catalog.state(parent), None, records=None,
                          end=is_choice, checkpoint=note)
            for parent, _ in heads_of(state.record)
        ]  # fmt: skip
        found = _derived(
            proof_kind, proof.checked, [head.checked for head in heads], checkpoint_kind,
            application_block,
        )  # fmt: skip
        return EnvelopeProof(found, proof, heads)


def _derived(
    proof_kind: str, proof: Checked, heads: list[Checked], kind: str, block: str | None
) -> Envelope:
    try:
        return derive(proof_kind, proof, heads, kind, block)
    except ProofError as error:
        # To whoever makes it this is no lie, but something that cannot be said.
        raise InvalidInputError(str(error)) from None


class CheckedProof(Checked):
    """A proof that holds, and what the policy says of its checkpoint; made by `check_proof`."""

    verdict: Verdict

    @property
    def stage(self) -> str:
        """What it is bound by, a word of `transit.verify.stages`: a checkpoint, or cosignatures."""
        return stage_of(self.verdict)


def check_proof(
    proof: str | Mapping[str, bytes],
    keys: Keys | None = None,
    *,
    policy: Policy | None = None,
    now: float | None = None,
) -> CheckedProof:
    """Check a proof, without its store and without a network; returned, it holds.

    proof: its folder, or its files by name. keys: of the log, each as a `VerifyingKey` or its text;
    or a policy, with witnesses. now: seconds since 1970, to judge the times of witnesses by; None:
    the clock's.
    `ProofError` says what does not hold; `NotFoundError` when there is no folder.
    """
    chosen = required_policy(keys, policy)
    verdicts: list[Verdict] = []

    def judge(note: bytes) -> Checkpoint:
        verdicts.append(chosen.check(note, now=seconds(now)).require_quorum())
        return verdicts[-1].checkpoint

    checked = CheckedProof(ProofFolder(proof) if isinstance(proof, str) else proof, judge)
    checked.verdict = verdicts[-1]
    return checked


def check_envelope(
    envelope: str | Mapping[str, bytes],
    keys: Keys | None = None,
    *,
    policy: Policy | None = None,
    now: float | None = None,
) -> CheckedEnvelope:
    """Check an envelope and the proofs beside it; returned, they bear it out.

    envelope: its folder, or its files by name. A finality needs a policy that names a witness which
    cosigned. Otherwise as `check_proof`.
    """
    chosen = required_policy(keys, policy)

    def judge(note: bytes) -> Verdict:
        return chosen.check(note, now=seconds(now)).require_quorum()

    return check_files(envelope, judge)
