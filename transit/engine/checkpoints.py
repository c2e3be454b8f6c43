"""Signed checkpoints of an open store: made, published, witnessed, and handed out again.

Owns the order in which that happens. A checkpoint covers what is sealed; of a store with a remote,
what is published, so that nobody holds a signature over commits that only one machine has.

    order                                    a stop right after
    seal, or publish                         nothing was signed
    SIGNED names the tree, durably           the same tree is signed the next time, or a larger one
    sign, ask witnesses                      the same
    checkpoints/<size> in the folder         it is handed out again, and published
    tiles, checkpoints/<size>, checkpoint    the same

Only writing to the folder keeps sealing waiting: not a key that is far away, and not a witness.
What was signed before, here or by the newest checkpoint in the remote that one of the same keys
signed, must be the beginning of what is signed now: `SplitViewError`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Final

from transit.errors import (
    FencedError,
    InvalidInputError,
    NotFoundError,
    ProofError,
    RemoteUnavailableError,
    SplitViewError,
    TransitError,
)
from transit.evidence.commits import CommitTree
from transit.evidence.published import PublishedTree
from transit.format.digest import digest
from transit.handle.handle import Handle
from transit.log.signed import Signed, SignedNotes, check_extends
from transit.proof.checkpoint import (
    Checkpoint,
    SignedCheckpoint,
    add_signatures,
    open_checkpoint,
    sign,
)
from transit.proof.files import ConsistencyFile
from transit.proof.keys import SigningKey, VerifyingKey
from transit.proof.notes import Note, parse_note
from transit.proof.paths import consistency_path
from transit.proof.policy import Policy
from transit.proof.witness import read_answer
from transit.store.addresses import is_url
from transit.tier.checkpoints import RemoteCheckpoints

Ask = Callable[[bytes], tuple[int, str, bytes]]
"""Sends the body of an `add-checkpoint` request; status, content type, body of the answer."""

# How often a witness may say that it knows another size, before it is left out.
_TRIES: Final = 3
_SPARE: Final = 4


class Witness:
    """A witness: what reaches it, and the keys that its cosignatures are checked with.

    ask: sends the body of a request and returns status, content type and body of the answer; what
    it raises as `TransitError` or `OSError` leaves this witness out. Not safe for threads.
    """

    def __init__(self, ask: Ask, keys: VerifyingKey | Iterable[VerifyingKey]) -> None:
        self.keys = (keys,) if isinstance(keys, VerifyingKey) else tuple(keys)
        self._ask = ask
        # The size that it knows of the log, as far as it said.
        self._old = 0
        self.error: Exception | None = None
        """Why it did not cosign the last checkpoint that it was asked for; None when it did."""

    @classmethod
    def at(
        cls,
        url: str,
        keys: VerifyingKey | Iterable[VerifyingKey],
        *,
        timeout_s: float = 10.0,
        ca_file: str | None = None,
    ) -> Witness:
        """The witness at an address, by HTTP (C2SP tlog-witness); needs transit[client].

        url: what `add-checkpoint` is below. timeout_s: for each request. ca_file: certificates to
        trust instead of the system's, PEM. `InvalidInputError` for what is no address.
        """
        try:
            room = import_module("transit.client.witnesses")
        except ModuleNotFoundError as error:
            if error.name != "urllib3":
                raise
            raise InvalidInputError(
                "a witness needs urllib3: pip install 'transit[client]'"
            ) from None
        return cls(room.asker(url, timeout_s, ca_file), keys)

    @classmethod
    def of_policy(
        cls, policy: Policy, *, timeout_s: float = 10.0, ca_file: str | None = None
    ) -> list[Witness]:
        """The witnesses of a policy that says where they are; as `at`."""
        return [
            cls.at(each.url, each.key, timeout_s=timeout_s, ca_file=ca_file)
            for each in policy.witnesses
            if each.url
        ]

    def cosign(self, note: Note, tree: CommitTree, now: float) -> Note:
        """The note with its lines; without them where it does not cosign, and `error` says why.

        `FencedError` where it knows a larger tree: somebody else signs with this key.
        """
        self.error = None
        size = Checkpoint.parse(note.text).size
        data = note.encode()
        try:
            for _ in range(_TRIES):
                old = min(self._old, size)
                path = tuple(consistency_path(old, size, tree.hash_at))
                answer = self._ask(ConsistencyFile(old, path, data).encode())
                said = read_answer(*answer, note=data, old=old, witness_keys=self.keys, now=now)
                if said.behind is None:
                    self._old = size
                    return add_signatures(note, said.signatures)
                self._old = said.behind
            raise ProofError("witness: it names another size each time")
        except FencedError:
            raise
        except (TransitError, OSError) as error:
            self.error = error
        return note


class Checkpoints:
    """The checkpoints of one open store. Safe for threads where its `Handle` is."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._notes = SignedNotes(handle.root, handle.catalog.check_place)
        # The newest note that the remote is known to have.
        self._published: bytes | None = None
        # By address of a replica: the newest note that it is known to have.
        self._in_replicas: dict[str, bytes] = {}
        # Whether the remote's newest note was looked at.
        self._compared = False
        # Trees of a store without a folder that nobody works with at the moment.
        self._spare: list[tuple[Checkpoint, PublishedTree]] = []

    def make(
        self,
        signer: SigningKey | Sequence[SigningKey],
        witnesses: Sequence[Witness],
        policy: Policy | None,
    ) -> SignedCheckpoint:
        """See `Log.checkpoint`."""
        handle = self._handle
        keys = _keys_of(signer, handle.catalog.store_id)
        remote = self._cover()
        found = self._sign(keys, witnesses, remote)
        try:
            if policy is not None:
                policy.check(found.note, now=time.time()).require_quorum()
        except ProofError as error:
            error.add_note("it is kept in the store's folder, and was not published")
            raise
        if remote is not None and self._published != found.note:
            self._publish(remote, found, [key.verifying for key in keys])
        for replica in map(RemoteCheckpoints, handle.remotes[1:]):
            if self._in_replicas.get(replica.url) != found.note:
                self._bring(replica, found)
        return found

    def _bring(self, replica: RemoteCheckpoints, found: SignedCheckpoint) -> None:
        """Bring a checkpoint, which the first remote has, to one that follows it."""
        tree = self.tree_at(found.checkpoint)
        try:
            old = _known_size(replica, tree, found.checkpoint.size)
            replica.put(old, found.note, tree.hash_at, lambda n: tree.commit(n)[0])
        except RemoteUnavailableError:
            # It has the next one with all that it needs.
            return
        finally:
            self.give_back(found.checkpoint, tree)
        self._in_replicas[replica.url] = found.note

    def _publish(
        self, remote: RemoteCheckpoints, found: SignedCheckpoint, keys: Sequence[VerifyingKey]
    ) -> None:
        """Bring a checkpoint to the remote, if it is not known to be there."""
        size, url = found.checkpoint.size, remote.url
        last = self._notes.last()
        there = last.published if last is not None else None
        if there != (url, size, digest(found.note).hex()):
            tree = self.tree()
            # An older copy of a folder may hold a note that never came there.
            self._compare(remote, found.checkpoint, tree, keys)
            old = min(there[1], size) if there is not None and there[0] == url else 0
            note = remote.put(old, found.note, tree.hash_at, lambda n: tree.commit(n)[0])
            kept = partial(self._keep_published, found.checkpoint, url, note)
            self._handle.while_sealing_pauses(kept)
        self._published = found.note

    def _keep_published(self, head: Checkpoint, url: str, note: bytes) -> None:
        self._keep(head, parse_note(note))
        self._notes.published(url, head.size, note)

    def _cover(self) -> RemoteCheckpoints | None:
        """Seal, and publish where there is a remote."""
        handle = self._handle
        handle.writer.rotate()
        handle.sealer.seal_ended()
        if handle.remote is None:
            return None
        handle.tiering.publish(None)
        return RemoteCheckpoints(handle.remote)

    def newest(self) -> bytes | None:
        """The newest note here, or else in the remote; nothing of it is verified. None for none."""
        sizes = self._notes.sizes()
        if sizes:
            return self._notes.read(sizes[-1])
        remote = self._handle.remote
        return None if remote is None else RemoteCheckpoints(remote).newest()

    def sizes(self) -> list[int]:
        """How many commits each note covers that `note` gives, ascending.

        Of a remote's only the newest is told where the folder has none.
        """
        sizes = self._notes.sizes()
        if sizes:
            return sizes
        note = self.newest()
        return [] if note is None else [Checkpoint.parse(parse_note(note).text).size]

    def note(self, size: int) -> bytes | None:
        """The note over so many commits, here, or else in the remote; nothing of it is verified."""
        found, remote = self._notes.read(size), self._handle.remote
        return RemoteCheckpoints(remote).read(size) if found is None and remote else found

    def tree(self) -> CommitTree:
        """The commits that a checkpoint made now would cover."""
        handle = self._handle
        size = handle.catalog.commits.count
        return self._tree(size if handle.remote is None else handle.tiering.publisher.published)

    def tree_at(self, head: Checkpoint) -> CommitTree:
        """The commits that a checkpoint covers.

        `NotFoundError` when there are fewer, `SplitViewError` when they are others.
        """
        count = self._handle.catalog.commits.count
        if head.size > count:
            raise NotFoundError(f"the checkpoint covers {head.size} commits, and {count} are here")
        known = self._spare_tree(head)
        if known is not None:
            return known
        tree = self._tree(head.size)
        if not head.size or tree.root(head.size) != head.root:
            raise SplitViewError(
                f"the checkpoint covers {head.size} commits of another history than this one"
            )
        return self._published_tree(head, tree)

    def _tree(self, size: int) -> CommitTree:
        chain = self._handle.catalog.commits
        tree = CommitTree(chain.tree, self._read)
        return tree if size == tree.size else CommitTree(tree.range(size), self._read)

    def _published_tree(self, head: Checkpoint, tree: CommitTree) -> CommitTree:
        """The same tree for a store without a folder: its hashes are in tiles, in few requests."""
        handle = self._handle
        if handle.remote is None or not is_url(handle.root):
            return tree
        return PublishedTree(tree.range(head.size), self._read, handle.remote, head)

    def _spare_tree(self, head: Checkpoint) -> PublishedTree | None:
        """One whose tiles are at hand; it is the caller's alone until it is given back."""
        with suppress(IndexError):
            while True:
                known, tree = self._spare.pop()
                if known == head:
                    return tree
        return None

    def give_back(self, head: Checkpoint, tree: CommitTree) -> None:
        """Keep what `tree_at` gave for the next call; the caller is done with it."""
        if isinstance(tree, PublishedTree) and len(self._spare) < _SPARE:
            self._spare.append((head, tree))

    def _read(self, number: int) -> bytes | None:
        """A commit from the folder, or else from the remote."""
        data = self._handle.catalog.commits.read(number)
        if data is None and self._handle.remote is not None:
            found = self._handle.remote.checked_commit(number)
            return None if found is None else found[0]
        return data

    def _sign(
        self,
        keys: Sequence[SigningKey],
        witnesses: Sequence[Witness],
        remote: RemoteCheckpoints | None,
    ) -> SignedCheckpoint:
        tree = self.tree()
        verifying = [key.verifying for key in keys]
        cosigners = [key for witness in witnesses for key in witness.keys]
        head = Checkpoint(keys[0].verifying.name, tree.size, tree.root(tree.size))
        note = self._known(head)
        found = None if note is None else _opened(note, verifying, cosigners)
        unsigned = [key for key in keys if not _has(found, key.verifying)]
        asked = [each for each in witnesses if not all(_has(found, key) for key in each.keys)]
        if found is not None and not unsigned and not asked:
            return found
        signed = Signed(origin=head.origin, size=head.size, root=head.root.hex())
        if remote is not None:
            self._compare(remote, head, tree, verifying)
        pausing = self._handle.while_sealing_pauses
        pausing(lambda: self._notes.remember(signed, tree.root))
        # A key service and witnesses may take long: sealing goes on meanwhile.
        now = time.time()
        if unsigned:
            more = sign(head, unsigned, at_s=int(now))
            note = more if note is None else add_signatures(note, more.signatures)
        assert note is not None
        for witness in asked:
            note = witness.cosign(note, tree, now)
        made = note
        note = pausing(lambda: self._keep(head, made))
        return open_checkpoint(note.encode(), verifying, witness_keys=cosigners)

    def _keep(self, head: Checkpoint, note: Note) -> Note:
        """Keep a note, with the signatures that another call added meanwhile."""
        there = self._known(head)
        both = note if there is None else add_signatures(there, note.signatures)
        self._notes.keep(head.size, both.encode())
        return both

    def _known(self, head: Checkpoint) -> Note | None:
        """The note over that tree in the folder; `SplitViewError` for one over another."""
        data = self._notes.read(head.size)
        if data is None:
            return None
        note = parse_note(data)
        found = Checkpoint.parse(note.text)
        if found != head:
            before = Signed(origin=found.origin, size=found.size, root=found.root.hex())
            signed = Signed(origin=head.origin, size=head.size, root=head.root.hex())
            check_extends(before, signed, lambda size: head.root, "this store's folder has")
        return note

    def _compare(
        self,
        remote: RemoteCheckpoints,
        head: Checkpoint,
        tree: CommitTree,
        keys: Sequence[VerifyingKey],
    ) -> None:
        """`SplitViewError` unless the tree extends the newest checkpoint in the remote.

        Asked once: what comes after it there is this handle's own.
        """
        if self._compared:
            return
        note = remote.newest()
        self._compared = True
        if note is None:
            return
        try:
            there = open_checkpoint(note, keys).checkpoint
        except ProofError:
            # Not signed by these keys: whoever may write there may put anything.
            return
        before = Signed(origin=there.origin, size=there.size, root=there.root.hex())
        signed = Signed(origin=head.origin, size=head.size, root=head.root.hex())
        check_extends(before, signed, tree.root, "the remote has")
        self._published = note


def _opened(
    note: Note, keys: Sequence[VerifyingKey], cosigners: Sequence[VerifyingKey]
) -> SignedCheckpoint | None:
    """The note with those of the keys that signed it; None where no log's key did."""
    try:
        return open_checkpoint(note.encode(), keys, witness_keys=cosigners)
    except ProofError:
        return None


def _known_size(replica: RemoteCheckpoints, tree: CommitTree, size: int) -> int:
    """How many commits of a tree of `size` the newest checkpoint there covers, 0 without one."""
    newest = replica.newest()
    if newest is None:
        return 0
    try:
        there = Checkpoint.parse(parse_note(newest).text)
    except ProofError:
        # Damaged: it is made again.
        return 0
    if 0 < there.size <= size and tree.root(there.size) != there.root:
        raise SplitViewError(
            f"{replica.url}: has a checkpoint of another history, of {there.size} commits with "
            f"root {there.root.hex()}"
        )
    return min(there.size, size)


def _has(found: SignedCheckpoint | None, key: VerifyingKey) -> bool:
    return found is not None and any(each.key == key for each in (*found.logs, *found.witnesses))


def _keys_of(signer: SigningKey | Sequence[SigningKey], store_id: bytes) -> list[SigningKey]:
    keys = [signer] if isinstance(signer, SigningKey) else list(signer)
    if not keys or not all(isinstance(key, SigningKey) for key in keys):
        raise InvalidInputError("a checkpoint is signed by a SigningKey, or by several")
    names = {key.verifying.name for key in keys}
    if len(names) > 1:
        raise InvalidInputError("the keys that sign one checkpoint have one name, its origin")
    (name,) = names
    if not name.endswith(f"/{store_id.hex()}") or name == f"/{store_id.hex()}":
        raise InvalidInputError(
            f"the key's name {name!a} must be NAME/{store_id.hex()}: the origin of a "
            "checkpoint ends in the id of its store"
        )
    return keys
