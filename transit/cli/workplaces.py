"""A new folder, and a new prefix of a remote, that are there for one command and then removed.

Owns that neither is inside a store, and that what could not be removed is named, however the
command ends.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from types import TracebackType
from typing import Final

import transit
from transit import ObjectStore, TransitError
from transit.cli.failures import IO, NOT_FOUND, CommandError, describe
from transit.cli.opening import FORMAT_FILE, Session

FORMAT_BYTES_MAX: Final = 4096


@contextmanager
def new_folder(above: str, prefix: str) -> Iterator[str]:
    """The path of a new folder below `above`, which is neither a store nor inside one."""
    _check_folder(above)
    folder = tempfile.mkdtemp(prefix=prefix, dir=os.path.abspath(above))
    with _Removed(folder, f"rm -r {folder}", lambda: shutil.rmtree(folder)):
        yield folder


@contextmanager
def new_prefix(
    context: Session, address: str, prefix: str
) -> Iterator[Callable[[str], ObjectStore]]:
    """What opens the store at a name below a new prefix of `address`, which is no store."""
    above = transit.address_folder(address)
    if above is not None:
        with new_folder(above, prefix) as folder:
            yield lambda name: transit.open_store(os.path.join(folder, name))
        return

    def opened(place: str) -> ObjectStore:
        timeout_s = context.configuration.settings.remote_timeout_s
        return transit.open_store(place, context.storage_options(address), timeout_s)

    with closing(opened(address)) as store:
        if store.get(FORMAT_FILE, FORMAT_BYTES_MAX) is not None:
            raise _is_store(address)
    below = f"{address.rstrip('/')}/{prefix}{os.urandom(8).hex()}"

    def remove() -> None:
        with closing(opened(below)) as store:
            for key, _ in list(store.list("")):
                store.delete(key)

    with _Removed(below, f"delete every object below {below}/", remove):
        yield lambda name: opened(f"{below}/{name}")


class _Removed:
    """Removes `place` at the end of a `with` block; `how` tells a person to, where that fails."""

    def __init__(self, place: str, how: str, remove: Callable[[], None]) -> None:
        self._place, self._how, self._remove = place, how, remove

    def __enter__(self) -> None:
        return

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._remove()
        except KeyboardInterrupt:
            _tell(self._left("interrupted"))
            raise
        except (OSError, TransitError) as reason:
            left = self._left(str(reason))
            if error is None:
                raise left from None
            # The command ends with its own error; this one is told before it.
            _tell(left)

    def _left(self, reason: str) -> CommandError:
        message = f"{self._place}: is not wholly removed: {reason}"
        return CommandError(message, kind="io", exit_code=IO, hint=self._how)


def _tell(left: CommandError) -> None:
    failure = describe(left)
    told = failure.as_text(color=False) if sys.stderr.isatty() else failure.as_json().decode()
    sys.stderr.write(told)


def _check_folder(path: str) -> None:
    """`CommandError` unless `path` is a folder that is not in a store."""
    if not os.path.isdir(path):
        raise CommandError(
            f"{path}: there is no such folder",
            kind="not_found",
            exit_code=NOT_FOUND,
            hint=f"mkdir -p {path}",
        )
    above = os.path.realpath(path)
    while not os.path.exists(os.path.join(above, FORMAT_FILE)):
        if above == os.path.dirname(above):
            return
        above = os.path.dirname(above)
    raise _is_store(above)


def _is_store(place: str) -> CommandError:
    return CommandError(
        f"{place}: is a store; nothing but its own files belongs there",
        hint="give another place",
    )
