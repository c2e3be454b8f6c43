"""Every error transit raises on purpose.

Owns the error tree and the exit code each class has on a command line. A class exists only where
a caller would act differently. Errors of the operating system are translated in `transit.disk`.
Every error survives pickle and copy with all its fields and notes; its cause and its traceback stay
behind, as with all exceptions of Python.

    TransitError
    ├── InvalidInputError            what the caller gave cannot be used (ValueError)
    │   ├── OffsetError              an offset outside the stream (IndexError)
    │   ├── MergeBaseError           the given base is not an ancestor of every head
    │   ├── UnpicklableError         what belongs to an open store stays in its process (TypeError)
    │   └── UnsuitableRemoteError    the remote cannot do what publishing needs
    ├── NotFoundError                no such stream, store or merge policy (LookupError)
    ├── AlreadyExistsError           the name is taken
    ├── ConflictError                the store has changed meanwhile: read again, decide again
    │   └── NotFastForwardError      no head contains all the others
    ├── StreamFinishedError          the stream takes no more records: append to another
    ├── ErasedError                  the records were deleted or trimmed: go on from `first_offset`
    ├── RetainedError                the records must be kept: a hold, or not long enough yet
    ├── DependentsError              branches or merges need the records: delete those first
    ├── SealedError                  the records are encrypted, and their key is not here
    ├── KeyringError                 a keyring cannot be unlocked, or is another store's
    ├── FencedError                  another writer published at our commit's number
    ├── LockedError                  another process holds the store
    ├── ClosedError                  this handle can no longer be used
    │   ├── ForkedError              it belongs to the parent process
    │   ├── StoreMovedError          the store's folder is not where it was opened
    │   └── PoisonedError            an earlier write or sync failed: open the store again
    ├── ReadOnlyError                a write on a store opened in mode "read"
    ├── ReentrantCallError           made in the middle of another call of the same thread
    ├── OutcomeUnknownError          whether named appends, or a commit, were taken is not known
    ├── StoreUnavailableError        the storage answered with an error
    │   ├── RemoteUnavailableError   the remote did not answer, or not for now
    │   │   └── RemoteSetupError     it will not answer until something is set up differently
    │   ├── RetentionGapError        what was asked for is only in a remote, and none is attached
    │   ├── StorageFullError         no space, quota or file size left
    │   ├── StorePermissionError     the operating system refused access
    │   └── SyncFailedError          what was written may not survive: open the store again
    ├── UnsupportedPlatformError     not Linux or macOS
    ├── ProofError                   a signature, a checkpoint or a proof does not hold
    │   └── SplitViewError           what is here does not extend what was signed
    └── FormatError                  bytes that are not what they should be
        ├── CorruptError             damage, with place, expected and found
        └── UnsupportedVersionError  written by a newer transit
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "AlreadyExistsError",
    "ClosedError",
    "ConflictError",
    "CorruptError",
    "DependentsError",
    "ErasedError",
    "FencedError",
    "ForkedError",
    "FormatError",
    "InvalidInputError",
    "KeyringError",
    "LockedError",
    "MergeBaseError",
    "NotFastForwardError",
    "NotFoundError",
    "OffsetError",
    "OutcomeUnknownError",
    "PoisonedError",
    "ProofError",
    "ReadOnlyError",
    "ReentrantCallError",
    "RemoteSetupError",
    "RemoteUnavailableError",
    "RetainedError",
    "RetentionGapError",
    "SealedError",
    "SplitViewError",
    "StorageFullError",
    "StoreMovedError",
    "StorePermissionError",
    "StoreUnavailableError",
    "StreamFinishedError",
    "SyncFailedError",
    "TransitError",
    "UnpicklableError",
    "UnsuitableRemoteError",
    "UnsupportedPlatformError",
    "UnsupportedVersionError",
]


class TransitError(Exception):
    """Root of all errors raised by transit; `exit_code` is the class's code on a command line."""

    exit_code = 1

    def __reduce__(self) -> tuple[object, ...]:
        # Made again without __init__: the text in `args` is not what the classes below take.
        return _make_again, (type(self), *self.args), self.__dict__ or None


def _make_again(kind: type[TransitError], *args: object) -> TransitError:
    return kind.__new__(kind, *args)


class InvalidInputError(TransitError, ValueError):
    """An argument has the wrong type, shape, size or spelling; nothing was written."""

    exit_code = 2


class OffsetError(InvalidInputError, IndexError):
    """An offset lies outside the stream."""


class MergeBaseError(InvalidInputError):
    """The base given to a merge is not a common ancestor of every head."""


class UnpicklableError(InvalidInputError, TypeError):
    """What belongs to an open store cannot be pickled or copied; the message says what to send."""


class UnsuitableRemoteError(InvalidInputError):
    """The given remote cannot do what publishing to it needs; the message says what is missing."""


class NotFoundError(TransitError, LookupError):
    """The named stream, store or merge policy does not exist."""

    exit_code = 3


class AlreadyExistsError(TransitError):
    """The name is taken by another stream, or the merge id by another merge."""

    exit_code = 4


class ConflictError(TransitError):
    """A condition no longer holds (`expect=`); nothing was written.

    `stream`, `expected` and `found` are the stream's name and both next offsets.
    """

    exit_code = 10

    def __init__(
        self, message: str, *, stream: str = "", expected: int = -1, found: int = -1
    ) -> None:
        super().__init__(message)
        self.stream = stream
        self.expected = expected
        self.found = found


class NotFastForwardError(ConflictError):
    """A fast-forward merge was asked for, and no head contains all the others."""


class StreamFinishedError(TransitError):
    """The stream was finished and takes no more records, ever; nothing was written.

    `stream` is its name, `next_offset` the count of its records. It can be read, branched and
    merged: to go on, append to a branch of it.
    """

    exit_code = 13

    def __init__(self, message: str, *, stream: str = "", next_offset: int = -1) -> None:
        super().__init__(message)
        self.stream = stream
        self.next_offset = next_offset


class ErasedError(TransitError):
    """Records that were there were deleted or trimmed; their bytes may be gone by now.

    `stream` is its name, `first_offset` the first that it still has, None of a deleted stream.
    `state` is "trimmed", "deleted" or "erased" (the bytes are gone too). `when` is in UTC
    nanoseconds by the engine's clock, `by` the writer's name ("": a process that had the store
    open), `basis` one of "owner", "gdpr-17", "retention" and "court", `reason` what was given.
    """

    exit_code = 15

    def __init__(
        self,
        message: str,
        *,
        stream: str = "",
        first_offset: int | None = None,
        state: str = "deleted",
        when: int = 0,
        by: str = "",
        basis: str = "owner",
        reason: str = "",
    ) -> None:
        super().__init__(message)
        self.stream = stream
        self.first_offset = first_offset
        self.state = state
        self.when = when
        self.by = by
        self.basis = basis
        self.reason = reason


class RetainedError(TransitError):
    """Records must be kept: nothing was deleted.

    `streams` names those that must stay. `holds` are the reasons of holds, () without one. `until`
    is when the last of the records may go, UTC nanoseconds, None where only holds are in the way.
    """

    exit_code = 16

    def __init__(
        self,
        message: str,
        *,
        streams: Sequence[str] = (),
        holds: Sequence[str] = (),
        until: int | None = None,
    ) -> None:
        super().__init__(message)
        self.streams = tuple(streams)
        self.holds = tuple(holds)
        self.until = until


class DependentsError(TransitError):
    """Branches or merges need records that were to be deleted: nothing was.

    `stream` is whose records they are, `dependents` (name, first offset, last offset) triples:
    which streams need which of them. Hidden streams count; delete them first, or with `cascade`.
    """

    exit_code = 17

    def __init__(
        self,
        message: str,
        *,
        stream: str = "",
        dependents: Sequence[tuple[str, int, int]] = (),
    ) -> None:
        super().__init__(message)
        self.stream = stream
        self.dependents = tuple(dependents)


class SealedError(TransitError):
    """Records are encrypted, and no key that opens them is here; their bytes are whole.

    `stream` is their stream's name ("" where only the key would tell it), `key` the id of the key
    that is needed, 16 hex digits.
    """

    exit_code = 18

    def __init__(self, message: str, *, stream: str = "", key: str = "") -> None:
        super().__init__(message)
        self.stream = stream
        self.key = key


class KeyringError(TransitError):
    """A keyring cannot be unlocked with what was given, or belongs to another store."""

    exit_code = 6


class FencedError(TransitError):
    """Another writer published a commit at the number of ours; nothing was overwritten.

    `store` is the remote's address, `number` the first commit that differs, `epoch` the winner's.
    What was appended here stays here; `Log.rebase_onto_remote` brings it along as branches.
    """

    exit_code = 11

    def __init__(self, message: str, *, store: str = "", number: int = -1, epoch: int = -1) -> None:
        super().__init__(message)
        self.store = store
        self.number = number
        self.epoch = epoch


class LockedError(TransitError):
    """Another process holds the store; `pid` is the process, or None where it is not known."""

    exit_code = 5

    def __init__(self, message: str, *, pid: int | None = None) -> None:
        super().__init__(message)
        self.pid = pid


class ClosedError(TransitError):
    """The store handle was closed."""


class ForkedError(ClosedError):
    """The store handle was opened before fork() and used in the child; open the store there."""


class StoreMovedError(ClosedError):
    """The folder this store was opened in was moved, replaced or removed, or its LOCK was.

    Nothing was written to what is at its path now, and what was refused is not acknowledged. What
    was acknowledged before is in the folder that was opened: the message says where that is now.
    """

    exit_code = 8


class PoisonedError(ClosedError):
    """An earlier write or sync failed, so this handle acknowledges nothing more.

    Open the store again: what is on disk decides what happened.
    """

    exit_code = 8


class ReadOnlyError(TransitError):
    """A write was asked of a store opened in mode "read"."""

    exit_code = 6


class ReentrantCallError(TransitError):
    """The call was made in the middle of another call of the same thread that is in its way.

    Signal handlers, `__del__` methods, progress callbacks and object stores make such calls, and
    bodies of reconcilers that ask for their own tick.
    Nothing was changed: call again once the other one has ended, or use `submit` or durability
    "memory", which are taken up at any moment.
    """


class OutcomeUnknownError(TransitError):
    """What was asked may or may not have happened.

    After a failed sync the appends named in `in_doubt` may or may not be on disk. After a
    conditional write to the remote got no answer, its commit may or may not be there: publishing
    again finds out.

    `in_doubt` holds (stream name, first offset, last offset) triples.
    """

    exit_code = 8

    def __init__(self, message: str, *, in_doubt: tuple[tuple[str, int, int], ...] = ()) -> None:
        super().__init__(message)
        self.in_doubt = in_doubt


class StoreUnavailableError(TransitError):
    """The storage under the store, disk or remote, answered with an error."""

    exit_code = 8


class RemoteUnavailableError(StoreUnavailableError):
    """The remote, or a server, did not answer in time, or says that it cannot now: try again."""

    exit_code = 12


class RemoteSetupError(RemoteUnavailableError):
    """The remote cannot be reached as it is set up, and waiting does not help: tried once.

    An unknown host, a certificate that is not trusted, a proxy that is not there, a wrong region, a
    clock that is wrong. The message holds the client's own words and what to look at.
    """


class RetentionGapError(StoreUnavailableError):
    """A segment is not in the store's folder, and no remote is attached to read it from.

    It was let go, or never restored. Open the store with the `remote=` that the message names.
    """

    exit_code = 9


class StorageFullError(StoreUnavailableError):
    """No space, quota or allowed file size is left; nothing was acknowledged."""


class StorePermissionError(StoreUnavailableError, PermissionError):
    """The operating system refused access to the store's files, or a server to the store."""

    exit_code = 6


class SyncFailedError(StoreUnavailableError):
    """A sync failed, so what was written may or may not survive; it is never tried again."""


class UnsupportedPlatformError(TransitError):
    """The platform is neither Linux nor macOS."""


class ProofError(TransitError):
    """A signature, a checkpoint or a proof does not hold, or is malformed; nothing of it is true.

    The message says what was looked at and why.
    """

    exit_code = 14


class SplitViewError(ProofError):
    """Two histories of one store, one of them signed: what is here does not extend what was signed.

    The folder is an older copy than the one that signed, or its history was replaced. Nothing was
    signed. Raised to readers, too, by a remembered checkpoint, and where one log signed two roots
    for one size: both files are the evidence.
    """


class FormatError(TransitError):
    """Bytes of the store are not what the format says."""

    exit_code = 7


class CorruptError(FormatError):
    """Damaged bytes: `place` names file and byte offset, `expected` and `found` what differs."""

    def __init__(self, place: str, *, expected: str, found: str) -> None:
        super().__init__(f"{place}: expected {expected}, found {found}")
        self.place = place
        self.expected = expected
        self.found = found


class UnsupportedVersionError(FormatError):
    """The file was written in a format version this transit does not read.

    needs: what the file says that a reader of its version must know, and this one does not.
    """

    def __init__(
        self, place: str, *, found: int, supported: int, needs: Sequence[str] = ()
    ) -> None:
        what = f"format version {found}"
        if not found:
            what = "written by transit 0.1.0, a preview whose format is not read any more"
        if needs:
            what += f", which needs a transit that knows {', '.join(map(repr, needs))}"
        super().__init__(f"{place}: {what}; this transit reads up to version {supported}")
        self.place = place
        self.found = found
        self.supported = supported
        self.needs = tuple(needs)


def say(error: BaseException) -> str:
    """What `error` says, or what it is when it says nothing."""
    return str(error) or type(error).__name__
