"""From an exception to what the caller of a command sees: exit code, message, hint, JSON.

At a terminal two lines, elsewhere one line of JSON, always on the standard error output.

    0    done                              8    input or output failed
    1    unexpected, or partly failed      9    history that is out of reach
    2    usage                             10   the store has changed meanwhile
    3    not found                         11   another writer went on in the remote
    4    it exists already                 12   the remote does not answer
    5    busy or locked                    13   the stream takes no more records
    6    not allowed                       14   a signature or a proof does not hold
    7    damaged                           15   the records were deleted or trimmed
                                           16   the records must be kept
                                           17   other streams need the records
                                           18   encrypted, and the key is not here
                                           124  the time given ran out
                                           130  interrupted
                                           141  nobody reads the output
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import click
import msgspec

from transit.cli.escapes import printable_lines

INTERNAL: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
PERMISSION: Final = 6
CORRUPT: Final = 7
IO: Final = 8
TIMEOUT: Final = 124
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141

_HINTS: Final = {
    "OffsetError": "`transit show STREAM` says how many records there are",
    "MergeBaseError": "leave --base away: the nearest common ancestor is found",
    "UnsuitableRemoteError": "",
    "NotFoundError": "`transit streams` lists the streams, `transit config` says which store",
    "AlreadyExistsError": "choose another name",
    "NotFastForwardError": "choose another policy: append, interleave, select",
    "ConflictError": "read again what is there, then decide again",
    "StreamFinishedError": "`transit branch STREAM NEW` makes a stream that goes on from there",
    "ErasedError": "`transit show STREAM` says where the stream begins now",
    "RetainedError": "`transit hold STREAM` shows the holds, `transit retain` what is due when",
    "DependentsError": "delete those first, or with --cascade",
    "SealedError": "give --keyring: what is encrypted is read with its key alone",
    "KeyringError": "`transit keyring show` says which store a keyring is for",
    "FencedError": "another writer went on in the remote: keep this folder, and bring its records"
    " along from Python: log.rebase_onto_remote(); `transit takeovers` says whether one took over",
    "LockedError": 'wait for the other process, or let all writers use mode = "shared"',
    "ReadOnlyError": "give a folder of your own as --store",
    "OutcomeUnknownError": "run it again: what has happened already is not done twice",
    "RetentionGapError": "give --remote: the records are there",
    # Its message says what to look at.
    "RemoteSetupError": "`transit config` shows the address and the options in use",
    "RemoteUnavailableError": "try again later; `transit config` shows the address in use",
    "StorageFullError": "make room; nothing of it was acknowledged",
    "StoreMovedError": "find the folder that was here: its records are in it",
    "SyncFailedError": "`transit verify` shows what survived",
    "SplitViewError": "find the copy of the store that signed; nothing was signed here",
    "ProofError": "believe nothing of it; get the proof, and the keys, once more from their owner",
    "CorruptError": "`transit verify` lists all damage; restore a good copy from the remote",
    "UnsupportedVersionError": "use a newer transit",
}


@contextmanager
def hinted(kind: type[Exception], hint: str) -> Iterator[None]:
    """Errors of this kind, raised within, are shown with this hint instead of their class's."""
    try:
        yield
    except kind as error:
        error.add_note(hint)
        raise


class CommandError(Exception):
    """A failure that is the command's own; `fields` are added to its JSON."""

    def __init__(
        self,
        message: str,
        *,
        kind: str = "usage",
        exit_code: int = USAGE,
        hint: str = "",
        fields: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.exit_code = exit_code
        self.hint = hint
        self.fields = dict(fields or {})


class Failure(msgspec.Struct, frozen=True):
    """A failure as it is shown."""

    kind: str
    type: str
    message: str
    hint: str
    exit_code: int
    fields: Mapping[str, object]

    def as_json(self) -> bytes:
        """One line: {"error": {…}}."""
        shown: dict[str, object] = {
            "kind": self.kind,
            "type": self.type,
            "message": _unicode(self.message),
            "hint": _unicode(self.hint),
            "exit_code": self.exit_code,
        }
        for key, value in self.fields.items():
            shown.setdefault(key, _plain(value))
        return msgspec.json.encode({"error": shown}) + b"\n"

    def as_text(self, color: bool) -> str:
        """`error: …` and, where there is one, `hint: …`, each with its line end.

        A message may hold what a file holds, or what it is called: it cannot steer a terminal.
        """
        lines = [("error", "red", self.message), ("hint", "cyan", self.hint)]
        shown = []
        for label, tone, text in lines:
            if text:
                word = click.style(f"{label}:", fg=tone, bold=True) if color else f"{label}:"
                shown.append(f"{word} {printable_lines(_unicode(text))}\n")
        return "".join(shown)


def describe(error: BaseException) -> Failure:
    """What to tell about `error`."""
    # Imported here: `--help` needs no error of the engine's.
    from transit import TransitError

    name = type(error).__name__
    if isinstance(error, CommandError):
        return Failure(error.kind, name, str(error), error.hint, error.exit_code, error.fields)
    if isinstance(error, click.ClickException):
        return _usage(error)
    if isinstance(error, TransitError):
        fields = {key: value for key, value in vars(error).items() if not key.startswith("_")}
        message = str(error) or name
        return Failure(_kind(name), name, message, _hint(error), error.exit_code, fields)
    if isinstance(error, OSError):
        return _of_system(error)
    hint = "run it again with --debug to see where it came from"
    return Failure("internal", name, f"{name}: {error}", hint, INTERNAL, {})


def _usage(error: click.ClickException) -> Failure:
    ctx = getattr(error, "ctx", None)
    if isinstance(error, click.FileError):
        return Failure("io", type(error).__name__, error.format_message(), "", IO, {})
    path = ctx.command_path if isinstance(ctx, click.Context) else "transit"
    hint = f"`{path} --help` shows what there is"
    message = error.format_message()
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        message = f"{path}: a verb is wanted"
    return Failure("usage", type(error).__name__, message, hint, USAGE, {})


def _of_system(error: OSError) -> Failure:
    name = type(error).__name__
    if isinstance(error, FileNotFoundError):
        kind, exit_code = "not_found", NOT_FOUND
    elif isinstance(error, PermissionError):
        kind, exit_code = "permission", PERMISSION
    else:
        kind, exit_code = "io", IO
    text = error.strerror or str(error) or name
    message = text if error.filename is None else f"{_shown_path(error.filename)}: {text}"
    return Failure(kind, name, message, "", exit_code, {})


def _shown_path(path: object) -> str:
    return path.decode("utf-8", "backslashreplace") if isinstance(path, bytes) else str(path)


def _hint(error: BaseException) -> str:
    """What was noted where it was raised; else the hint of the nearest class that has one."""
    notes: list[str] = getattr(error, "__notes__", [])
    if notes:
        return notes[0]
    for kind in type(error).__mro__:
        if kind.__name__ in _HINTS:
            return _HINTS[kind.__name__]
    return ""


def _kind(name: str) -> str:
    """ "NotFoundError" as "not_found"."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name.removesuffix("Error")).lower()


def _unicode(text: str) -> str:
    # What came from the command line or a file name may not be Unicode text.
    return text.encode("utf-8", "backslashreplace").decode()


def _plain(value: object) -> object:
    if isinstance(value, str):
        return _unicode(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {_unicode(str(key)): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return _unicode(str(value))
