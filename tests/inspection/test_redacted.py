"""`inspect_file` of what is left of a segment."""

from __future__ import annotations

from pathlib import Path

import transit


def test_what_is_left_is_told_and_checked(tmp_path: Path) -> None:
    with transit.open(tmp_path / "s") as log:
        log.create("kept").append_many([b"kept %d" % n for n in range(5)])
        log.create("gone").append_many([b"gone %d" % n for n in range(7)])
        log.seal()
        log.delete("gone", reason="r")
        log.erase()
    file = next(
        path
        for path in (tmp_path / "s" / "redacted").iterdir()
        if transit.inspect_file(path).fields["records_erased"]
    )
    report = transit.inspect_file(file)
    assert report.kind == "segment"
    assert (report.fields["chunks_erased"], report.fields["records_erased"]) == (1, 7)
    names = [part.kind for part in report.parts]
    assert [name for name in names if name in ("header", "index", "table", "footer", "tail")] == [
        "header", "index", "table", "footer", "tail",
    ]  # fmt: skip
    assert list(report.findings) == []
    data = file.read_bytes()
    for at in (40, len(data) // 2, len(data) - 100):
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert list(transit.inspect_file(file).findings) or at == len(data) // 2
