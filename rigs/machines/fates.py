"""Rules for what becomes of streams: finished, hidden, shown, names bound again; and of layers."""

from __future__ import annotations

from functools import partial

from hypothesis import strategies as st

import transit
from rigs.machines.compare import compare_all, compare_stream, outcome
from rigs.machines.machine import World, step
from rigs.machines.values import durabilities, payloads, spots
from transit.testing.model import (
    Append,
    Create,
    Finish,
    Hide,
    ModelLog,
    Operation,
    shown,
)

# So many streams stay that every other rule has something to do.
OPEN_MIN = 4


class Fates(World):
    """Streams that end, that go out of sight, and that come back."""

    def spare(self, spot: int) -> str | None:
        """A stream that may go; None while there are few."""
        names = [name for name, stream in self.model.streams.items() if not stream.finished]
        return names[spot % len(names)] if len(names) > OPEN_MIN else None

    def found_hidden(self, key: str) -> transit.Stream:
        """The handle of a hidden stream, by its key in the model."""
        return list(self.log.hidden())[list(self.model.hidden).index(key)]

    @step(spot=spots, body=payloads, ahead=st.sampled_from([0, 0, 1]), durability=durabilities)
    def finish(self, spot: int, body: bytes, ahead: int, durability: str | None) -> None:
        """A stream takes no more records, by any call, and its branches do."""
        name = self.spare(spot)
        if name is None:
            return
        stream = self.stream(name)
        expect = len(self.model.stream(name).records) + ahead
        self.same(
            lambda: self.model.finish(name, expect),
            lambda: stream.finish(expect=expect, durability=durability),
        )
        assert stream.finished == self.model.stream(name).finished == (not ahead)
        if ahead:
            return
        for call in (
            lambda: stream.append(body),
            lambda: stream.append(body, durability="memory"),
            lambda: stream.append_many([body, body]),
            lambda: stream.submit(body, durability="local"),
        ):
            assert outcome(call) is transit.StreamFinishedError
        # Out of the way of the rules that append.
        self.hide_it(name)

    @step(spot=spots)
    def hide(self, spot: int) -> None:
        """A stream goes out of sight, and its name is given again at once or later."""
        name = self.spare(spot)
        if name is not None:
            self.hide_it(name)

    def hide_it(self, name: str) -> None:
        """One stream out of sight."""
        stream = self.stream(name)
        self.log.hide(stream, reason=name[:100])
        key = self.model.hide(name)
        self.held.clear()  # Kept by name, which is another's from here on.
        assert stream.hidden
        assert name not in self.log
        assert outcome(lambda: self.log.stream(name)) is transit.NotFoundError
        self.compare_hidden()
        assert self.found_hidden(key) == stream

    @step(spot=spots, durability=durabilities)
    def create_over_a_hidden(self, spot: int, durability: str | None) -> None:
        """A new stream with the name of one that is hidden."""
        keys = [key for key in self.model.hidden if shown(key) not in self.model.streams]
        if keys:
            name = shown(keys[spot % len(keys)])
            self.model.create(name)
            self.log.create(name, durability=durability)
            compare_all(self.log, self.model)

    @step(spot=spots)
    def show(self, spot: int) -> None:
        """A hidden stream comes back, if its name is free and it would not be in the way."""
        for show in (self.log.show, self.show_in_a_batch):
            hidden = self.model.hidden
            # Most are finished, and stay hidden here: others come first.
            keys = [key for key in hidden if not hidden[key].finished]
            if not keys and (name := self.spare(spot)) is not None:
                self.hide_it(name)
                keys = [key for key in hidden if not hidden[key].finished]
            if not keys:
                for key in hidden:
                    compare_stream(self.log, self.renamed(key), self.found_hidden(key))
                return
            key = keys[spot % len(keys)]
            stream = self.found_hidden(key)
            self.same(partial(self.model.show, key), partial(show, stream))
            compare_all(self.log, self.model)
            self.compare_hidden()

    def show_in_a_batch(self, stream: transit.Stream) -> None:
        """`Log.show`, as a frame with others does it."""
        with self.log.batch() as batch:
            batch.show(stream)

    def renamed(self, key: str) -> ModelLog:
        """The model with one hidden stream in sight, to compare it."""
        copy = self.model.copy()
        if shown(key) in copy.streams:
            copy.hide(shown(key))
        copy.show(key)
        return copy

    def compare_hidden(self) -> None:
        """The list of what is hidden."""
        found = [(stream.name, stream.finished) for stream in self.log.hidden()]
        hidden = self.model.hidden.items()
        assert found == [(shown(key), stream.finished) for key, stream in hidden]

    @step(spot=spots, body=payloads, ahead=st.sampled_from([0, 0, 1]))
    def replace_in_one_frame(self, spot: int, body: bytes, ahead: int) -> None:
        """A stream gets its last record, is finished and hidden, and its name is another's."""
        name = self.spare(spot)
        if name is None:
            return
        count = len(self.model.stream(name).records)
        old = self.stream(name)
        planned: list[Operation] = [
            Append(name, body, 7),
            Finish(name, count + 1 + ahead),
            Hide(name),
            Create(name),
            Append(name, body, 8),
        ]

        def write() -> None:
            with self.log.batch() as batch:
                batch.append(old, body, timestamp=7)
                batch.finish(old, expect=count + 1 + ahead)
                batch.hide(old)
                made = batch.create(name)
                batch.append(made, body, timestamp=8)

        self.same(lambda: self.model.batch(planned) and None, write)
        self.held.clear()
        compare_all(self.log, self.model)
        self.compare_hidden()

    @step(spot=spots, name=st.sampled_from(["a", "b"]), body=payloads)
    def keep_in_a_layer(self, spot: int, name: str, body: bytes) -> None:
        """A layer's stream in one frame with a user's; in no list of the user's."""
        layer = self.log.layer("rig")
        user = self.stream(self.pick(spot))
        offset = self.model.append(user.name, body, 9)
        held = len(layer.stream(name)) if name in layer else 0
        with self.log.batch() as batch:
            kept = layer.stream(name) if held else batch.create(name, layer="rig")
            batch.append(kept, body)
            batch.append(user, body, timestamp=9)
        assert [receipt.offset for receipt in batch.receipts] == [held, offset]
        assert layer.stream(name)[-1].payload == body
        assert layer.stream(name).name in [stream.name for stream in self.log.streams("$rig/")]
        compare_all(self.log, self.model)
