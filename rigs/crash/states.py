"""Every state a crash may leave on disk, worked out from a trace, change by change.

What is assumed of the medium is what `ARCHITECTURE.md` asks of it, and no more. After the death of
a process everything stands, but for the write it was in, which may have been carried out in part.
After a loss of power:

    bytes      a file has what was there at its last sync; of each later write all, nothing, zeros,
               a prefix, or all but one sector may have arrived, in any order
    names      a folder has the names it had at its last sync; of each later change all or nothing;
               a rename between folders may leave both names, and loses the file never

`Disk` takes the changes in order and keeps what is synced apart from what is not, so that a state
costs what is pending and not the whole history. `states()` yields those after the last change.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from rigs.crash.recorded import ROOT, Change, Named, Resized, Synced, Wrote

SECTOR_BYTES: Final = 512
# A long write has many sectors; so many of its cuts and holes are taken, evenly.
_CUTS_MAX: Final = 12
_RANDOM_STATES: Final = 4
# What stands in a lock's file is for people, and tells states apart that are none.
_LOCKS: Final = "LOCK"

Content = tuple[bytes, int]
"""A file's bytes up to the last that is not a reserved zero, and its size."""

Image = dict[str, Content]
"""Path below the root to content, of every file; folders end in "/" and are empty."""

Fate = tuple[str, int]
"""What became of a pending change: ("kept" | "lost" | "zeros" | "cut" | "short" | "hole", where).

"cut": bytes up to there arrived, and the file's new size; "short": the size did not.
"""

KEPT: Final[Fate] = ("kept", 0)
LOST: Final[Fate] = ("lost", 0)
ZEROS: Final[Fate] = ("zeros", 0)


class State(NamedTuple):
    """One state: what it is called, the files, and what the crash was.

    power: a loss of power; otherwise the process died. during: it died within the last change.
    """

    label: str
    image: Image
    power: bool
    during: bool


class _Bytes:
    """A file's content, to be changed."""

    __slots__ = ("data", "size")

    def __init__(self, data: bytes | bytearray = b"", size: int = 0) -> None:
        self.data = bytearray(data)
        self.size = size

    def copy(self) -> _Bytes:
        return _Bytes(self.data, self.size)

    def content(self) -> Content:
        return bytes(self.data), self.size

    def write(self, position: int, data: bytes) -> None:
        if len(self.data) < position:
            self.data.extend(bytes(position - len(self.data)))
        self.data[position : position + len(data)] = data
        self.size = max(self.size, position + len(data))

    def resize(self, size: int) -> None:
        del self.data[size:]
        self.size = size

    def apply(self, change: Wrote | Resized, fate: Fate) -> None:
        """Carry out `change` as far as `fate` lets it."""
        how, where = fate
        if how == "lost":
            return
        if isinstance(change, Resized):
            self.resize(change.size)
            return
        stop = change.position + len(change.data)
        if how in ("zeros", "cut"):
            self.size = max(self.size, stop)
        if how == "kept":
            self.write(change.position, change.data)
        elif how in ("cut", "short"):
            self.write(change.position, change.data[:where])
        elif how == "hole":
            self._write_around(change, where)

    def _write_around(self, change: Wrote, hole: int) -> None:
        """Write all but the sector of the file that starts at position `hole`."""
        start = change.position
        before, after = max(hole - start, 0), hole + SECTOR_BYTES - start
        self.write(start, change.data[:before])
        self.size = max(self.size, start + len(change.data))
        if after < len(change.data):
            self.write(start + after, change.data[after:])


class _File:
    """One file: what is synced, what came since, and both together."""

    def __init__(self) -> None:
        self._now = _Bytes()
        self.synced: Content = (b"", 0)
        self.now: Content = (b"", 0)
        self.pending: list[Wrote | Resized] = []

    def change(self, change: Wrote | Resized) -> None:
        self._now.apply(change, KEPT)
        self.now = self._now.content()
        last = self.pending[-1] if self.pending else None
        if isinstance(last, Wrote) and isinstance(change, Wrote) and last.short:
            # The rest of a write that was taken in parts: what is lost of it is lost by sectors.
            change = Wrote(last.file, last.position, last.data + change.data, change.short)
            self.pending.pop()
        self.pending.append(change)

    def sync(self) -> None:
        self.synced = self.now
        self.pending = []

    def with_fates(self, fates: Sequence[Fate]) -> Content:
        """The content if each pending change has its fate."""
        content = _Bytes(*self.synced)
        for change, fate in zip(self.pending, fates, strict=True):
            content.apply(change, fate)
        return content.content()

    def variants(self) -> Iterator[tuple[str, Content]]:
        """What may be there after a loss of power, one thing wrong at a time."""
        count = len(self.pending)
        if not count:
            return
        yield "none", self.synced
        yield "zeros", self.with_fates([ZEROS] * count)
        for place, change in enumerate(self.pending):
            for fate in _fates(change, all_cuts=place == count - 1):
                fates = [KEPT] * count
                fates[place] = fate
                yield f"{fate[0]}{fate[1]} of {place - count}", self.with_fates(fates)
            if count > 1:
                fates = [LOST] * count
                fates[place] = KEPT
                yield f"only {place - count}", self.with_fates(fates)
                yield f"first {place}", self.with_fates([KEPT] * place + [LOST] * (count - place))

    def any_variant(self, dice: random.Random) -> Content:
        """What may be there after a loss of power, anything."""
        fates = [
            dice.choice([KEPT, KEPT, LOST, dice.choice(_fates(change, all_cuts=False))])
            for change in self.pending
        ]
        return self.with_fates(fates)


def _fates(change: Wrote | Resized, *, all_cuts: bool) -> list[Fate]:
    """What may become of a change but to be kept."""
    if isinstance(change, Resized):
        return [LOST]
    cuts = _cuts(change) if all_cuts else [len(change.data) // 2]
    fates = [LOST, ZEROS, *(("cut", at) for at in cuts), *(("short", at) for at in cuts)]
    holes = _sectors(change)
    if not all_cuts:
        holes = holes[:1]
    return [*fates, *(("hole", at) for at in _evenly(holes, _CUTS_MAX))]


def _cuts(change: Wrote) -> list[int]:
    """Sizes at which a write may have been torn: at sectors, and at odd places."""
    size = len(change.data)
    odd = {1, 7, size // 3, size // 2, size - 8, size - 1}
    sectors = [at - change.position for at in _sectors(change)]
    return sorted(cut for cut in {*odd, *_evenly(sectors, _CUTS_MAX)} if 0 < cut < size)


def _sectors(change: Wrote) -> list[int]:
    """Where the sectors of the file start that a write touches."""
    first = change.position - change.position % SECTOR_BYTES
    return list(range(first, change.position + len(change.data), SECTOR_BYTES))


def _evenly(items: list[int], count: int) -> list[int]:
    if len(items) <= count:
        return items
    return [items[place * (len(items) - 1) // (count - 1)] for place in range(count)]


Entries = dict[tuple[int, str], int]
"""(folder, name) to the file or folder that has it."""


class Disk:
    """The files and names of a recorded file system, and which of them would survive.

    seed: of the states in which several things go wrong at once.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._count = 0
        self._files: dict[int, _File] = {}
        self._folders = {ROOT}
        self._now: Entries = {}
        self._synced: Entries = {}
        self._pending: list[Named] = []
        self._locks: set[int] = set()
        self._last: Change | None = None

    def concerns(self, change: Change) -> bool:
        """Whether `change` is one of the disk, and not only a mark or a name in a lock."""
        if isinstance(change, Wrote | Resized):
            return change.file not in self._locks
        return isinstance(change, Named | Synced)

    def apply(self, change: Change) -> None:
        """Take one change."""
        self._count += 1
        self._last = change
        if isinstance(change, Named):
            self._name(change)
        elif isinstance(change, Synced):
            self._sync(change.node)
        elif isinstance(change, Wrote | Resized):
            self._files[change.file].change(change)

    def _name(self, change: Named) -> None:
        if change.folder:
            self._folders.add(change.made)
        elif change.made:
            self._files[change.made] = _File()
        for folder, name, node in change.changes:
            _rename(self._now, folder, name, node)
            if name.startswith(_LOCKS):
                self._locks.add(node)
        self._pending.append(change)

    def _sync(self, node: int) -> None:
        if node in self._files:
            self._files[node].sync()
            return
        left = []
        for change in self._pending:
            # What was renamed is never lost: the old name goes together with the new, or later.
            whole = change.changes[0][0] == node or len(change.changes) == 1
            mine = [entry for entry in change.changes if entry[0] == node]
            for entry in change.changes if mine and whole else mine:
                _rename(self._synced, *entry)
            rest = tuple(entry for entry in change.changes if entry not in mine)
            if rest and not (mine and whole):
                left.append(Named(change.call, rest))
        self._pending = left

    # What a crash right now may leave

    def states(self) -> Iterator[State]:
        """The states after the last change; some come twice, and some came before."""
        whole = {node: file.now for node, file in self._files.items()}
        yield State("all", self._image(self._now, whole), False, False)
        yield from self._died_within(whole)
        dirty = [node for node, file in self._files.items() if file.pending]
        if not dirty and not self._pending:
            return
        none = {node: file.synced for node, file in self._files.items()}
        zeros = whole | {
            node: self._files[node].with_fates([ZEROS] * len(self._files[node].pending))
            for node in dirty
        }
        yield self._power("nothing", self._synced, none)
        yield self._power("names only", self._now, none)
        yield self._power("names and sizes", self._now, zeros)
        yield self._power("bytes only", self._synced, whole)
        yield from self._bytes_lost(dirty, whole)
        yield from self._names_lost(whole, none)
        yield from self._much_lost(dirty, whole)

    def _power(self, label: str, entries: Entries, contents: dict[int, Content]) -> State:
        return State(label, self._image(entries, contents), True, False)

    def _died_within(self, whole: dict[int, Content]) -> Iterator[State]:
        """The process died within its last write: a prefix of it is there."""
        last = self._last
        if not isinstance(last, Wrote):
            return
        file = self._files[last.file]
        for cut in _cuts(last):
            fates = [*[KEPT] * (len(file.pending) - 1), ("short", cut)]
            content = file.with_fates(fates)
            image = self._image(self._now, whole | {last.file: content})
            yield State(f"died after {cut} bytes", image, False, True)

    def _bytes_lost(self, dirty: list[int], whole: dict[int, Content]) -> Iterator[State]:
        for node in dirty:
            for label, content in self._files[node].variants():
                yield self._power(f"file {node}: {label}", self._now, whole | {node: content})

    def _names_lost(self, whole: dict[int, Content], none: dict[int, Content]) -> Iterator[State]:
        for label, entries in self._names():
            yield self._power(f"names {label}", entries, whole)
            yield self._power(f"names {label}, bytes none", entries, none)

    def _names(self) -> Iterator[tuple[str, Entries]]:
        count = len(self._pending)
        for place in range(count):
            kept = [True] * count
            kept[place] = False
            yield f"without {place - count}", self._entries(kept)
            if len(self._pending[place].changes) > 1:
                yield f"both of {place - count}", self._entries([True] * count, place)
            yield f"first {place}", self._entries([True] * place + [False] * (count - place))
            yield f"only {place - count}", self._entries([at == place for at in range(count)])

    def _much_lost(self, dirty: list[int], whole: dict[int, Content]) -> Iterator[State]:
        if len(dirty) + len(self._pending) < 2:
            return
        dice = random.Random(f"{self._seed} {self._count}")
        for number in range(_RANDOM_STATES):
            contents = whole | {node: self._files[node].any_variant(dice) for node in dirty}
            entries = self._entries([dice.random() < 0.6 for _ in self._pending])
            yield self._power(f"random {number}", entries, contents)

    def _entries(self, kept: Sequence[bool], both: int = -1) -> Entries:
        """The synced names and the kept of the pending changes; of rename `both`, both names."""
        entries = dict(self._synced)
        for place, change in enumerate(self._pending):
            if kept[place]:
                changes = change.changes[1:] if place == both else change.changes
                for folder, name, node in changes:
                    _rename(entries, folder, name, node)
        return entries

    def _image(self, entries: Entries, contents: dict[int, Content]) -> Image:
        children: dict[int, list[tuple[str, int]]] = {}
        for (folder, name), node in entries.items():
            children.setdefault(folder, []).append((name, node))
        image: Image = {}
        todo = [("", ROOT)]
        while todo:
            path, folder = todo.pop()
            for name, node in children.get(folder, ()):
                if node in self._folders:
                    image[f"{path}{name}/"] = (b"", 0)
                    todo.append((f"{path}{name}/", node))
                else:
                    image[path + name] = contents[node]
        return image


def _rename(entries: Entries, folder: int, name: str, node: int) -> None:
    if node:
        entries[folder, name] = node
    else:
        entries.pop((folder, name), None)
