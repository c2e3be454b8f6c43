"""The objects of one store in a remote: FORMAT, commits, the HEAD hint.

    FORMAT                       what is there, and the store's id
    HEAD                         a hint where the last commit is; never believed
    commits/<20 digits>.json     created with put-if-absent, never replaced
    segments/<BLAKE3>.seg        named by their own bytes
    index/<BLAKE3>.idx           snapshots of the index, the same
    redacted/<BLAKE3>.seg        what is left of the segment of that name; replaced by less of it

Owns their keys and finding the head: commits are asked for by number until one is absent. A listing
decides nothing, and HEAD only where the search starts.
"""

from __future__ import annotations

import os
from typing import Final

from transit.config import Settings
from transit.errors import (
    CorruptError,
    InvalidInputError,
    NotFoundError,
    StorePermissionError,
    TransitError,
)
from transit.format.commit import (
    COMMIT_BYTES_MAX,
    FORMAT_BYTES_MAX,
    Commit,
    decode_commit,
    decode_format,
    encode_format,
)
from transit.format.digest import digest
from transit.format.head import HEAD_BYTES_MAX, Head, decode_head, encode_head
from transit.format.names import (
    COMMIT_DIR,
    FORMAT_FILE,
    HEAD_FILE,
    INDEX_DIR,
    REDACTED_DIR,
    SEGMENT_DIR,
    commit_name,
    index_name,
    segment_name,
)
from transit.store import ObjectStore
from transit.tier.conditional import put_if_absent, read_twice
from transit.tier.probe import probe_exclusion
from transit.tier.timed import TimedStore

# What was damaged on its way is whole the next time; damage in the remote stays what it is.
TRIES: Final = 3


def commit_key(number: int) -> str:
    """The key of commit `number`."""
    return f"{COMMIT_DIR}/{commit_name(number)}"


def segment_key(name: str) -> str:
    """The key of the segment whose digest is `name`, 64 hex digits."""
    return f"{SEGMENT_DIR}/{segment_name(bytes.fromhex(name))}"


def redacted_key(name: str) -> str:
    """The key of what is left of the segment whose digest is `name`, 64 hex digits."""
    return f"{REDACTED_DIR}/{segment_name(bytes.fromhex(name))}"


def index_key(name: str) -> str:
    """The key of the index snapshot whose digest is `name`, 64 hex digits."""
    return f"{INDEX_DIR}/{index_name(bytes.fromhex(name))}"


class Remote:
    """One store in a remote. Safe for threads."""

    def __init__(self, store: ObjectStore, settings: Settings) -> None:
        self.store = TimedStore(store)
        self.settings = settings
        # What it keeps of what is deleted, as `kept_by` says; asked for by who writes to it.
        self.keeps = ""

    @property
    def url(self) -> str:
        """The remote's address, without credentials."""
        return self.store.url

    def place(self, key: str) -> str:
        """What names an object in errors and findings."""
        return f"{self.store.url}/{key}"

    def store_id(self, expected: bytes = b"") -> bytes | None:
        """The id of the store that is there; None when there is none.

        Read twice unless it is `expected`: nothing in FORMAT tells an id from a damaged one.
        """
        ours = encode_format(expected) if expected else b""
        data = read_twice(self.store, FORMAT_FILE, FORMAT_BYTES_MAX, ours)
        return None if data is None else decode_format(data, self.place(FORMAT_FILE))

    def existing_store_id(self, expected: bytes = b"") -> bytes:
        """As `store_id`; `NotFoundError` when there is none."""
        found = self.store_id(expected)
        if found is None:
            raise NotFoundError(f"{self.url}: there is no store here")
        return found

    def claim(self, store_id: bytes | None) -> bytes:
        """Make sure that the remote may be written and is this store's, and mark it so; its id.

        store_id: None for whatever store is there, or a new one.
        Raises `UnsuitableRemoteError` for a store that does not exclude a second writer,
        `InvalidInputError` when another store is there.
        """
        timeout_s = self.settings.remote_timeout_s
        try:
            found = self.store_id(store_id or b"")
            probe_exclusion(self.store, timeout_s)
        except StorePermissionError:
            # A client that may not list is told "not allowed" of absent objects until it can read.
            probe_exclusion(self.store, timeout_s)
            found = self.store_id(store_id or b"")
        if found is None:
            ours = store_id or os.urandom(16)
            data = encode_format(ours)
            other = put_if_absent(self.store, FORMAT_FILE, data, FORMAT_BYTES_MAX, timeout_s)
            found = ours if other is None else decode_format(other, self.place(FORMAT_FILE))
        if store_id not in (None, found):
            raise InvalidInputError(f"{self.url}: holds store {found.hex()}, not {store_id.hex()}")
        return found

    def has_commit(self, number: int, ours: bytes | None) -> bool:
        """Whether commit `number` is there with just these bytes."""
        found = read_twice(self.store, commit_key(number), COMMIT_BYTES_MAX, ours or b"")
        return found is not None and found == ours

    def checked_commit(self, number: int) -> tuple[bytes, Commit] | None:
        """A commit's bytes, of the right shape and number; None when it is not there.

        What does not fit its own checksum is read again before it is called corrupt: it may have
        been damaged on its way.
        """
        key = commit_key(number)
        data = self.store.get(key, COMMIT_BYTES_MAX)
        if data is None:
            return None
        try:
            commit = decode_commit(data, self.place(key))
        except TransitError:
            data = read_twice(self.store, key, COMMIT_BYTES_MAX, b"")
            if data is None:
                return None
            commit = decode_commit(data, self.place(key))
        if commit.number != number:
            raise CorruptError(
                self.place(key), expected=f"number {number}", found=str(commit.number)
            )
        return data, commit

    def create_commit(self, number: int, data: bytes) -> bytes | None:
        """As `put_if_absent`: None when commit `number` is ours, otherwise the bytes there."""
        return put_if_absent(
            self.store, commit_key(number), data, COMMIT_BYTES_MAX, self.settings.remote_timeout_s
        )

    def head(self, store_id: bytes) -> Head | None:
        """Where the last commit was, once."""
        try:
            data = self.store.get(HEAD_FILE, HEAD_BYTES_MAX)
        except CorruptError:
            # Larger than any hint.
            return None
        return None if data is None else decode_head(data, store_id, self.place(HEAD_FILE))

    def check_no_gap(self, count: int, head: Head | None) -> bool:
        """Whether commit `count`, which was not there a moment ago, is there after all.

        Asked only where `head` names it or a later one. `CorruptError` when it is not there, and
        the one that `head` names is: HEAD alone proves nothing, a commit after a missing one does.
        """
        if head is None or head.number < count:
            return False
        later = None
        if head.number > count:
            later = self.store.get(commit_key(head.number), COMMIT_BYTES_MAX)
        # Last: commits are made in order, so this one was there before the later one.
        there = self.store.get(commit_key(count), COMMIT_BYTES_MAX) is not None
        if later is not None and not there:
            raise CorruptError(
                self.place(commit_key(count)),
                expected=f"a commit, because there is commit {head.number}",
                found="no object",
            )
        return there

    def put_head(self, store_id: bytes, number: int, index: int | None) -> None:
        """Leave a hint where the last commit is."""
        self.store.put(HEAD_FILE, encode_head(store_id, number, index))

    def snapshot(self, name: str, size: int) -> bytes:
        """The index snapshot with this digest and size, checked against it."""
        return self.whole(index_key(name), name, size)

    def whole(self, key: str, name: str, size: int) -> bytes:
        """The object whose BLAKE3 is `name`, `size` bytes; read again when it is not."""
        found = "no object"
        for _ in range(TRIES):
            data = self.store.get(key, size)
            if data is not None:
                found = digest(data).hex()
                if found == name:
                    return data
        raise CorruptError(self.place(key), expected=name, found=found)
