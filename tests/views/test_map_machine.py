"""Maps under anything that may be done to them, beside dictionaries."""

from __future__ import annotations

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule

from rigs.views import models
from rigs.views.models import MemoryNodes, Model, applied
from transit.views.maps.map import Map, Shelf

Version = tuple[Map, Model]

keys = st.one_of(
    st.integers(0, 300).map(lambda n: b"%d" % n),
    st.binary(max_size=3),
    st.integers(0, 9).map(lambda n: b"%d" % n * 1024),
)
sizes = st.one_of(st.integers(0, 200), st.sampled_from([2000, 17_000, 65_536]))
edits = st.dictionaries(
    keys, st.none() | sizes.map(lambda size: (b"%d" % size * size)[:size]), max_size=60
)


class Maps(RuleBasedStateMachine):
    """Versions of one map: each may be edited, many at a time, merged and compared."""

    versions: Bundle[Version] = Bundle("versions")

    @initialize(target=versions, kept=st.sampled_from([0, 5000, 10**6]))
    def begin(self, kept: int) -> Version:
        self.nodes = MemoryNodes()
        return Map(Shelf(self.nodes, kept_bytes=kept)), {}

    @rule(target=versions, version=versions, changes=edits)
    def edit(self, version: Version, changes: dict[bytes, bytes | None]) -> Version:
        return self._edited(version, changes)

    @rule(target=versions, version=versions, start=keys, count=st.integers(1, 400), size=sizes)
    def add_many(self, version: Version, start: bytes, count: int, size: int) -> Version:
        size = min(size, 300)
        changes = {start[:1000] + b"%03d" % n: b"v" * size for n in range(count)}
        return self._edited(version, {**changes})

    @rule(target=versions, version=versions, start=keys, stop=keys)
    def delete_range(self, version: Version, start: bytes, stop: bytes) -> Version:
        return self._edited(version, {key: None for key in version[1] if start <= key < stop})

    @rule(target=versions, version=versions, left=st.integers(0, 2))
    def delete_most(self, version: Version, left: int) -> Version:
        return self._edited(version, dict.fromkeys(sorted(version[1])[left:]))

    def _edited(self, version: Version, changes: dict[bytes, bytes | None]) -> Version:
        self.nodes.made.clear()
        after = version[0].edit(changes), applied(version[1], changes)
        models.check_edit(version, after, self.nodes, [*self.nodes.made])
        models.check_shape(self.nodes, after[0].root)
        return after

    @rule(version=versions, seed=st.integers(0, 99))
    def read(self, version: Version, seed: int) -> None:
        models.check_content(self.nodes, *version, random.Random(seed))

    @rule(one=versions, other=versions)
    def compare(self, one: Version, other: Version) -> None:
        assert (one[0].root == other[0].root) == (one[1] == other[1])
        assert list(one[0].diff(other[0])) == models.expected_diff(one[1], other[1])

    @rule(version=versions, ours=edits, theirs=edits, seed=st.integers(0, 99))
    def merge(
        self,
        version: Version,
        ours: dict[bytes, bytes | None],
        theirs: dict[bytes, bytes | None],
        seed: int,
    ) -> None:
        models.check_merge(version, ours, theirs, random.Random(seed))


TestMaps = Maps.TestCase
TestMaps.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
