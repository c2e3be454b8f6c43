"""Names: of streams, cursors, merges and policies, of the files a store is made of, and where.

A new name is 1 to 512 bytes of UTF-8 without control characters, line and paragraph separators,
surrogates and characters that turn text around, without white space at its ends, and without a
leading `$`, which is kept for the store's own streams and for layers.

Which characters these are is written here, and not asked of the running Python, whose tables differ
from version to version. Everything else may be in a name: joined emoji, joiners, private use, what
Unicode has not assigned yet. Names are compared code point by code point; nothing is normalised.
A name that is in a store is found, whatever rules it was made under.

A name with a leading `$` is the store's own, or a layer's: the stream `name` of layer `room` is
`$room/name`, where `room` is 1 to 32 of a-z, 0-9 and `-`, a letter first, and not one of the
store's own, and `name` is as a user may give it. Both together are 1 to 512 bytes.

File names come only from digests and numbers, never from user text:

    wal/<first LSN, 20 digits>.wal
    segments/<BLAKE3, 64 hex digits>.seg
    commits/<number, 20 digits>.json
    index/<BLAKE3, 64 hex digits>.idx
    redacted/<BLAKE3 of the original, 64 hex digits>.seg
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Final

import msgspec

from transit.errors import InvalidInputError
from transit.format.checksum import checksum

NAME_BYTES_MAX: Final = 512
WAL_DIR: Final = "wal"
SEGMENT_DIR: Final = "segments"
COMMIT_DIR: Final = "commits"
INDEX_DIR: Final = "index"
REDACTED_DIR: Final = "redacted"
CHECKPOINT_DIR: Final = "checkpoints"
CHECKPOINT_FILE: Final = "checkpoint"
SIGNED_FILE: Final = "SIGNED"
CACHE_DIR: Final = "cache"
ROOMS_DIR: Final = "rooms"
HEAD_FILE: Final = "HEAD"
FORMAT_FILE: Final = "FORMAT"
REMOTE_FILE: Final = "REMOTE"
LOCK_FILE: Final = "LOCK"
APPEND_LOCK_FILE: Final = "LOCK.append"
SEAL_LOCK_FILE: Final = "LOCK.seal"
REBASE_DIR: Final = "rebase"
READY_FILE: Final = "READY"
DIVERGED_DIR: Final = "diverged"

OWN_ROOMS: Final = ("cursors", "lineage", "names")
"""Layers that are the store itself: no room above it has one of these names."""

_LAYER: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
# Category Cc; U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069, which turn text around;
# line and paragraph separator, U+2028 and U+2029; surrogates.
_REFUSED: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
# The property White_Space, without what is refused anywhere.
_WHITE: Final = frozenset(
    " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u202f\u205f\u3000"
)

_WAL_NAME: Final = re.compile(r"([0-9]{20})\.wal")
_COMMIT_NAME: Final = re.compile(r"([0-9]{20})\.json")
_SEGMENT_NAME: Final = re.compile(r"([0-9a-f]{64})\.seg")
_CHECKPOINT_NAME: Final = re.compile(r"[0-9]{20}")
_INDEX_NAME: Final = re.compile(r"([0-9a-f]{64})\.idx")


def check_name(name: object, what: str = "stream name") -> str:
    """`name` as plain text when it may name something new; or `InvalidInputError`."""
    text = _text(name, what)
    found = _REFUSED.search(text, 0, NAME_BYTES_MAX + 1)
    if found is not None:
        raise InvalidInputError(f"{what} {text[:64]!r} contains {found[0]!r}")
    if len(text) > NAME_BYTES_MAX or len(text.encode()) > NAME_BYTES_MAX:
        raise InvalidInputError(f"{what} is longer than {NAME_BYTES_MAX} bytes of UTF-8")
    if text[0] in _WHITE or text[-1] in _WHITE:
        raise InvalidInputError(f"{what} {text!r} begins or ends with white space")
    return text


def stored_name(name: object, what: str = "stream name") -> str:
    """`name` as plain text when a store may hold it, whatever rules it was made under."""
    text = _text(name, what)
    found = _SURROGATE.search(text)
    if found is not None:
        raise InvalidInputError(f"{what} {text[:64]!r} contains {found[0]!r}")
    return text


def known_name(name: object, what: str, is_known: Callable[[str], bool]) -> str:
    """`name` as plain text when it may name something new, or names something that is there."""
    try:
        return check_name(name, what)
    except InvalidInputError:
        if is_known(text := stored_name(name, what)):
            return text
        raise


def _text(name: object, what: str) -> str:
    if not isinstance(name, str):
        raise InvalidInputError(f"{what} must be str, not {type(name).__name__}")
    if not name:
        raise InvalidInputError(f"{what} is empty")
    if name[0] == "$":
        raise InvalidInputError(f"{what} {name[:64]!r}: a leading '$' is kept for the store itself")
    # The encoder takes no text of a class of its own.
    return str.__str__(name)


def check_layer(name: object) -> str:
    """`name` as plain text when a layer may have it; or `InvalidInputError`."""
    if not isinstance(name, str) or not _LAYER.fullmatch(name) or name in OWN_ROOMS:
        raise InvalidInputError(
            f"a layer's name is 1 to 32 of a-z, 0-9 and '-', a letter first, and none of "
            f"{', '.join(OWN_ROOMS)}; not {name!r}"
        )
    return str.__str__(name)


def layer_stream_name(layer: str, name: object) -> str:
    """The name in the store of stream `name` of a layer; or `InvalidInputError`."""
    whole = f"${layer}/{check_name(name)}"
    if len(whole.encode()) > NAME_BYTES_MAX:
        raise InvalidInputError(f"{whole[:64]!r}… is longer than {NAME_BYTES_MAX} bytes of UTF-8")
    return whole


def findable(name: object) -> str:
    """`name` as plain text when a user's stream or a layer's may have it in some store."""
    layer, rest = _parts(name)
    return layer + stored_name(rest)


def found_name(name: object, is_known: Callable[[str], bool]) -> str:
    """As `known_name`, of a user's stream or, as `$room/name`, of a layer's."""
    layer, rest = _parts(name)
    return layer + known_name(rest, "stream name", lambda text: is_known(layer + text))


def _parts(name: object) -> tuple[str, object]:
    """A name as ("$room/", rest); ("", name) for a user's."""
    if not isinstance(name, str) or not name.startswith("$"):
        return "", name
    layer, slash, rest = name[1:].partition("/")
    if not slash or not _LAYER.fullmatch(layer) or layer in OWN_ROOMS:
        raise InvalidInputError(
            f"stream name {name[:64]!r}: a leading '$' is kept for the store and its layers"
        )
    return f"${layer}/", rest


def layer_of(name: str) -> str | None:
    """The layer whose stream has this name in the store; None for all other streams."""
    layer, slash, _ = name.removeprefix("$").partition("/")
    return layer if slash and name.startswith("$") and layer not in OWN_ROOMS else None


def cursor_stream_name(stream_id: int, cursor: str) -> str:
    """The reserved stream that holds the positions of `cursor` on one stream."""
    return f"$cursors/{stream_id}/{cursor}"


def name_key(name: str) -> int:
    """The 64-bit key under which a segment's index lists a stream name."""
    return checksum(name.encode())


def merge_key(merge_id: str) -> int:
    """The 64-bit key under which a segment's index lists a merge id, apart from every name."""
    return checksum(b"$merge/" + merge_id.encode())


def wal_name(first_lsn: int) -> str:
    """File name of the WAL whose first record has log sequence number `first_lsn`."""
    return f"{first_lsn:020d}.wal"


def parse_wal_name(name: str) -> int | None:
    """The first log sequence number a WAL file name states; None for any other name."""
    match = _WAL_NAME.fullmatch(name)
    return int(match[1]) if match else None


def commit_name(number: int) -> str:
    """File name of commit `number`."""
    return f"{number:020d}.json"


def parse_commit_name(name: str) -> int | None:
    """The number a commit file name states; None for any other name."""
    match = _COMMIT_NAME.fullmatch(name)
    return int(match[1]) if match else None


def segment_name(digest: bytes) -> str:
    """File name of the segment whose bytes have this BLAKE3 digest."""
    return f"{digest.hex()}.seg"


def parse_segment_name(name: str) -> bytes | None:
    """The digest, 32 bytes, a segment's file name states; None for any other name."""
    match = _SEGMENT_NAME.fullmatch(name)
    return bytes.fromhex(match[1]) if match else None


def index_name(digest: bytes) -> str:
    """File name of the index snapshot whose bytes have this BLAKE3 digest."""
    return f"{digest.hex()}.idx"


def parse_index_name(name: str) -> bytes | None:
    """The digest, 32 bytes, an index snapshot's file name states; None for any other name."""
    match = _INDEX_NAME.fullmatch(name)
    return bytes.fromhex(match[1]) if match else None


def checkpoint_name(size: int) -> str:
    """File name of the signed checkpoint over the first `size` commits."""
    return f"{size:020d}"


def parse_checkpoint_name(name: str) -> int | None:
    """How many commits the checkpoint of this file name covers; None for any other name."""
    return int(name) if _CHECKPOINT_NAME.fullmatch(name) else None


class Places(msgspec.Struct, frozen=True):
    """Where the parts of the store in folder `root` are.

    Of a store that is only in a remote, `root` is its address, and nothing is there.
    """

    root: str

    @property
    def format(self) -> str:
        """What the folder is; made last."""
        return os.path.join(self.root, FORMAT_FILE)

    @property
    def lock(self) -> str:
        """Held by every writing process."""
        return os.path.join(self.root, LOCK_FILE)

    @property
    def append_lock(self) -> str:
        """Mode "shared": held for each write."""
        return os.path.join(self.root, APPEND_LOCK_FILE)

    @property
    def seal_lock(self) -> str:
        """Mode "shared": held while sealing."""
        return os.path.join(self.root, SEAL_LOCK_FILE)

    @property
    def marker(self) -> str:
        """The address of the remote in which segments may live alone."""
        return os.path.join(self.root, REMOTE_FILE)

    @property
    def wal(self) -> str:
        """The folder of WAL files."""
        return os.path.join(self.root, WAL_DIR)

    @property
    def segments(self) -> str:
        """The folder of segments."""
        return os.path.join(self.root, SEGMENT_DIR)

    @property
    def commits(self) -> str:
        """The folder of commits."""
        return os.path.join(self.root, COMMIT_DIR)

    @property
    def checkpoints(self) -> str:
        """The folder of signed checkpoints; there once one was asked for."""
        return os.path.join(self.root, CHECKPOINT_DIR)

    @property
    def index(self) -> str:
        """The folder of index snapshots; derived."""
        return os.path.join(self.root, INDEX_DIR)

    @property
    def cache(self) -> str:
        """The folder of fetched blocks; derived."""
        return os.path.join(self.root, CACHE_DIR)

    @property
    def rooms(self) -> str:
        """The folder of what rooms above the engine keep beside the log; derived."""
        return os.path.join(self.root, ROOMS_DIR)

    def room(self, name: str) -> str:
        """The folder of one such room."""
        return os.path.join(self.rooms, name)

    @property
    def rebase(self) -> str:
        """The folder of the store that a rebase is making."""
        return os.path.join(self.root, REBASE_DIR)

    @property
    def ready(self) -> str:
        """Of a store that a rebase made: says that it is whole."""
        return os.path.join(self.root, READY_FILE)

    def diverged(self, tag: str) -> str:
        """The folder of what the rebase `tag` replaced."""
        return os.path.join(self.root, DIVERGED_DIR, tag)

    @property
    def needed(self) -> tuple[str, ...]:
        """The folders every store has."""
        return self.wal, self.segments, self.commits

    @property
    def derived(self) -> tuple[str, ...]:
        """The folders that may be removed."""
        return self.index, self.cache

    def wal_file(self, first_lsn: int) -> str:
        """The WAL file whose first record has this log sequence number."""
        return os.path.join(self.wal, wal_name(first_lsn))

    def commit(self, number: int) -> str:
        """The file of commit `number`."""
        return os.path.join(self.commits, commit_name(number))

    def segment(self, digest: str) -> str:
        """The segment with this digest, 64 hex digits."""
        return os.path.join(self.segments, segment_name(bytes.fromhex(digest)))

    @property
    def redacted(self) -> str:
        """The folder of redacted segments, each under the name of its original."""
        return os.path.join(self.root, REDACTED_DIR)

    def redacted_segment(self, digest: str) -> str:
        """What is left of the segment with this digest, 64 hex digits."""
        return os.path.join(self.redacted, segment_name(bytes.fromhex(digest)))

    def snapshot(self, digest: str) -> str:
        """The index snapshot with this digest, 64 hex digits."""
        return os.path.join(self.index, index_name(bytes.fromhex(digest)))
