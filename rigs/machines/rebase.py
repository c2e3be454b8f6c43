"""What a rebase makes, worked out on models: the other writer's history, and ours as branches.

A stream that both know becomes a branch at the offset where the two part. Streams made only here
are made again, under another name where theirs has taken it. Records keep their offsets; where one
was appended is now the stream that has it. A cursor that moved goes along.
"""

from __future__ import annotations

from dataclasses import replace

from transit.testing.model import ModelLog, ModelPosition, ModelRecord, ModelStream


def rebased(
    ours: ModelLog, theirs: ModelLog, common: ModelLog, tag: str
) -> tuple[ModelLog, dict[str, str]]:
    """The store after the rebase, and for each stream with records only we had its new name.

    common: what both had where they parted. tag: what new names end in.
    """
    rebase = _Rebase(ours, theirs, common, tag)
    known = [s for s in ours.streams.values() if s.name in common.streams]
    for stream in known:
        if rebase.parted(stream.name) < len(stream.records):
            rebase.bring(stream)
    for stream in ours.streams.values():
        if stream.name not in common.streams:
            rebase.make(stream)
    rebase.move_cursors()
    rebase.keep_merges()
    return rebase.made, rebase.names


class _Rebase:
    """The store in the making; `names` says where the streams went."""

    def __init__(self, ours: ModelLog, theirs: ModelLog, common: ModelLog, tag: str) -> None:
        self._ours, self._theirs, self._common = ours, theirs, common
        self._tag = tag
        self.made = theirs.copy()
        self.made.policies = dict(ours.policies)
        self.names: dict[str, str] = {}

    def parted(self, name: str) -> int:
        """The offset of the first record of a known stream that only we have, if there is one."""
        return len(self._common.streams[name].records)

    def _free(self, name: str) -> str:
        if name not in self.made.streams:
            return name
        tagged = name if name.endswith(self._tag) else f"{name}@{self._tag}"
        numbered = [tagged, *(f"{tagged}-{number}" for number in range(2, 1000))]
        return next(each for each in numbered if each not in self.made.streams)

    def _moved(self, position: ModelPosition) -> ModelPosition:
        """Where the record at a position of ours is now."""
        name, offset = position
        if name not in self._common.streams:
            return ModelPosition(self.names[name], offset)
        if name in self.names and offset >= self.parted(name):
            return ModelPosition(self.names[name], offset)
        return position

    def _records(self, stream: ModelStream) -> list[ModelRecord]:
        return [replace(r, origin=self._moved(r.origin)) for r in stream.records]

    def bring(self, stream: ModelStream) -> None:
        """A branch of a stream that both know, for the records that only we have."""
        name = self.names[stream.name] = self._free(f"{stream.name}@{self._tag}")
        start = self.parted(stream.name)
        made = ModelStream(name, 0, "branch", {"rebased": True})
        made.parents = (ModelPosition(stream.name, start - 1),)
        made.fork, made.start = start - 1, start
        made.codec, made.records = stream.codec, self._records(stream)
        self.made.add(made)

    def make(self, stream: ModelStream) -> None:
        """A stream that only we have, made again."""
        self.names[stream.name] = self._free(stream.name)
        made = replace(stream, name=self.names[stream.name], records=self._records(stream))
        made.parents = tuple(self._moved(parent) for parent in stream.parents)
        self.made.add(made)

    def move_cursors(self) -> None:
        """Each cursor that moved here is where its stream is, unless it is further there."""
        for (owner, cursor), stands in self._ours.cursors.items():
            before = self._common.cursors.get((owner, cursor))
            if before == stands:
                continue
            name = self.names.get(owner, owner)
            now = self.made.cursors.get((name, cursor))
            # As far there: what was kept with it there stays, unless only we moved it.
            ours = now is None or (name == owner and now == before)
            further = now is None or now.position < stands.position
            if further or (ours and now is not None and now.position == stands.position):
                self.made.cursors[name, cursor] = stands

    def keep_merges(self) -> None:
        """Merge ids that were given stay; those that are digests of old names do not matter."""
        for merge_id, name in self._ours.merges.items():
            if merge_id not in self._theirs.merges and name in self.names:
                self.made.merges[merge_id] = self.names[name]
