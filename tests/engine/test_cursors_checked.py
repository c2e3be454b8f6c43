"""A cursor that is moved past records which come later in its frame."""

from __future__ import annotations

from pathlib import Path

import transit


def test_a_cursor_may_pass_what_comes_later_in_its_frame(path: Path) -> None:
    with transit.open(path) as log:
        stream = log.create("s")
        cursor = stream.cursor("c")
        with log.batch() as batch:
            batch.advance(cursor, 0, state=b"begins")
            batch.append(stream, b"x")
            batch.advance(cursor, 1)
        assert log.verify().ok
        log.seal()
        assert log.verify().ok
