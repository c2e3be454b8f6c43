"""The signed checkpoints in a store's folder, and what was signed last.

    checkpoints/<20 digits>   a signed note over so many commits; its text never changes,
                              signatures may be added
    checkpoints/SIGNED        canonical JSON: origin; size; root, 64 hex digits; published: address
                              of a remote, the size of the newest checkpoint put there, and the
                              BLAKE3 of that note; or null

Owns the memory of the signer. SIGNED is written, synced, before anything is signed, so after a
crash at any point the store knows the largest tree for which a signature may exist:

    crash after            on disk                       what follows
    SIGNED                 SIGNED names the tree         it, or one that extends it, is signed
    signing                the same                      the same: nobody has the signature
    the note's file        the note                      it is handed out again

A store's checkpoints have one origin for ever, and two signed trees of one store never contradict
each other: what does not extend the tree in SIGNED is refused, whatever the reason is: a folder
restored from an old copy, or a history that a rebase replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from transit.disk import list_folder, make_folder, put, read_file
from transit.errors import CorruptError, NotFoundError, SplitViewError
from transit.format.commit import Count, Hex64
from transit.format.digest import digest
from transit.format.names import SIGNED_FILE, Places, checkpoint_name, parse_checkpoint_name
from transit.locks import in_place

NOTE_BYTES_MAX: Final = 1024 * 1024
_SIGNED_BYTES_MAX: Final = 4096


class Signed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The largest tree that was signed, or may have been."""

    origin: Annotated[str, Meta(min_length=1, max_length=255)]
    size: Count
    root: Hex64
    published: tuple[str, Count, Hex64] | None = None


_encoder: Final = msgspec.json.Encoder(order="sorted")
_decoder: Final = msgspec.json.Decoder(Signed)


class SignedNotes:
    """The checkpoints of one store's folder. check_place: raises when the folder moved."""

    def __init__(self, root: str, check_place: Callable[[], None]) -> None:
        self._folder = Places(root).checkpoints
        self._check_place = check_place

    def sizes(self) -> list[int]:
        """How many commits each checkpoint covers, ascending."""
        try:
            names = list_folder(self._folder)
        except NotFoundError:
            return []
        return sorted(size for size in map(parse_checkpoint_name, names) if size is not None)

    def read(self, size: int) -> bytes | None:
        """The note over so many commits; None when there is none."""
        return read_file(f"{self._folder}/{checkpoint_name(size)}", NOTE_BYTES_MAX)

    def last(self) -> Signed | None:
        """What was signed last; None when nothing was. `CorruptError` for a damaged memory."""
        place = f"{self._folder}/{SIGNED_FILE}"
        data = read_file(place, _SIGNED_BYTES_MAX)
        return None if data is None else decode_signed(data, place)

    def remember(self, signed: Signed, root_at: Callable[[int], bytes]) -> None:
        """Write down that `signed` is about to be signed; durable once this returns.

        root_at: the root of the store's tree over its first n commits. `SplitViewError` when the
        tree does not extend what was signed before.
        """
        last = self.last()
        if last is not None:
            check_extends(last, signed, root_at, "this store signed before")
            signed = msgspec.structs.replace(signed, published=last.published)
        if last != signed:
            self._write(signed)

    def published(self, url: str, size: int, note: bytes) -> None:
        """Write down that the remote at `url` has this note over so many commits."""
        last, there = self.last(), (url, size, digest(note).hex())
        if last is not None and last.published != there:
            self._write(msgspec.structs.replace(last, published=there))

    def _write(self, signed: Signed) -> None:
        make_folder(self._folder)
        write = partial(put, self._folder, SIGNED_FILE, encode_signed(signed))
        in_place(self._check_place, write)

    def keep(self, size: int, note: bytes) -> None:
        """Keep a note, in place of one with the same text and fewer signatures."""
        make_folder(self._folder)
        in_place(self._check_place, partial(put, self._folder, checkpoint_name(size), note))


def encode_signed(signed: Signed) -> bytes:
    """The canonical bytes of SIGNED."""
    return _encoder.encode(signed)


def decode_signed(data: bytes, place: str) -> Signed:
    """What SIGNED says; `CorruptError` for anything else than its canonical bytes."""
    try:
        signed = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptError(place, expected="what was signed", found=str(error)) from None
    if _encoder.encode(signed) != data:
        raise CorruptError(place, expected="canonical JSON", found="another spelling")
    return signed


def check_extends(
    before: Signed, signed: Signed, root_at: Callable[[int], bytes], who: str
) -> None:
    """`SplitViewError` unless the tree to sign extends one signed before. who: says of that one."""
    if before.origin != signed.origin:
        raise SplitViewError(
            f"the checkpoint that {who} has origin {before.origin!a}, not "
            f"{signed.origin!a}: the checkpoints of a store have one origin"
        )
    if before.size > signed.size:
        raise SplitViewError(
            f"the checkpoint that {who} covers {before.size} commits, and this history has "
            f"{signed.size}: an older copy of the store must not sign"
        )
    if root_at(before.size).hex() != before.root:
        raise SplitViewError(
            f"the checkpoint that {who} covers {before.size} commits of another history than this "
            f"one of {signed.size}: signing it too would show two histories to two readers"
        )
