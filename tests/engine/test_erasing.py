"""Erasing: bytes that are gone from the folder, and all else as it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import transit
from transit.disk import list_folder
from transit.format.commit import SegmentRef
from transit.format.digest import digest
from transit.format.redacted import GONE, Table, decode_table, encode_table
from transit.format.segment import HEADER, TAIL, decode_block, encode_block
from transit.log.redactions import MemoryBytes, Parts, read_parts

from .canary import CANARY, has, places_with

SMALL = transit.Settings(block_bytes=4096)


def filled(log: transit.Log, name: str, count: int = 20, word: bytes = b"plain") -> transit.Stream:
    stream = log.create(name)
    stream.append_many([b"%s %s %d" % (word, name.encode(), n) for n in range(count)])
    return stream


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def log(path: Path) -> Iterator[transit.Log]:
    with transit.open(path, settings=SMALL) as opened:
        yield opened


def payloads(stream: transit.Stream) -> list[bytes]:
    return [record.payload for record in stream]


def test_the_bytes_of_one_stream_go_and_the_others_stay(log: transit.Log, path: Path) -> None:
    streams = [filled(log, f"s{number}") for number in range(30)]
    secret = filled(log, "secret", word=CANARY)
    more = filled(log, "more")
    before = {stream.name: payloads(stream) for stream in (*streams, more)}
    log.seal()
    secret.append(CANARY)
    assert places_with(path)
    log.delete(secret, reason="asked", basis="gdpr-17")
    assert places_with(path)
    done = log.erase()
    assert (done.streams, done.records, done.kept) == (("secret",), 21, 0)
    assert done.segments == 2
    assert places_with(path) == []
    assert {stream.name: payloads(stream) for stream in (*streams, more)} == before
    with pytest.raises(transit.ErasedError) as caught:
        secret[0]
    assert (caught.value.state, caught.value.basis) == ("erased", "gdpr-17")
    assert list_folder(str(path / "redacted")) != []
    # Twice does nothing more.
    assert log.erase() == transit.Erased()
    log.close()
    for mode in ("exclusive", "read"):
        with transit.open(path, settings=SMALL, mode=mode) as again:
            found = {s.name: payloads(s) for s in again.streams()}
            assert found == before


def test_erasing_again_takes_more_out_of_the_same_segment(log: transit.Log, path: Path) -> None:
    streams = [filled(log, f"s{number}", word=b"word%d" % number) for number in range(5)]
    log.seal()
    for number in (1, 3, 0):
        log.delete(streams[number], reason="r")
        done = log.erase()
        assert (done.segments, done.records) == (1, 20)
        assert places_with(path, b"word%d" % number) == []
        assert payloads(streams[2])[0] == b"word2 s2 0"
        assert payloads(streams[4])[19] == b"word4 s4 19"


def test_what_is_in_what_is_left_of_a_segment_is_counted(log: transit.Log) -> None:
    streams = [filled(log, f"s{number}") for number in range(3)]
    log.seal()
    told = log.delete(streams[2], reason="r", dry_run=True)
    assert told.bytes_here > 20 * len(b"plain s2 0")
    log.delete(streams[0], reason="r")
    log.erase()
    assert log.delete(streams[2], reason="r", dry_run=True) == told
    log.delete(streams[2], reason="r")
    assert log.erase().bytes == told.bytes_here


def test_trimming_frees_whole_chunks(log: transit.Log, path: Path) -> None:
    stream = log.create("s")
    for part in range(4):
        stream.append_many([b"part%d %d" % (part, n) for n in range(10)])
        log.seal()
    stream.trim(before=25)
    done = log.erase()
    assert (done.records, done.segments) == (20, 2)
    assert places_with(path, b"part1") == []
    assert places_with(path, b"part2")
    assert stream[25].payload == b"part2 5"
    assert next(iter(stream)).offset == 25
    stream.trim(before=30)
    log.erase()
    assert places_with(path, b"part2") == []
    assert payloads(stream)[0] == b"part3 0"
    assert [batch.payloads for _, batch in next(iter(log.segments())).batches()] == []


def test_copies_in_the_folder_go(log: transit.Log, path: Path) -> None:
    secret = filled(log, "secret", word=CANARY)
    log.seal()
    log.cache("room").put("derived.bin", CANARY)
    (path / "diverged" / "rebased-1").mkdir(parents=True)
    (path / "diverged" / "rebased-1" / "00000000000000000000.wal").write_bytes(CANARY)
    (path / "segments" / f"{'0' * 64}.seg").write_bytes(CANARY)
    log.delete(secret, reason="r")
    done = log.erase()
    assert places_with(path) == []
    assert done.copies == 3


def test_pieces_and_segments_are_read_from_what_is_left(log: transit.Log) -> None:
    pytest.importorskip("pyarrow")
    keep, secret = filled(log, "keep"), filled(log, "secret", word=CANARY)
    log.seal()
    made, gone = list(keep.pieces()), list(secret.pieces())
    log.delete(secret, reason="r")
    log.erase()
    for pieces in (made, list(keep.pieces()), list(log.pieces())):
        table = [transit.read_piece(piece) for piece in pieces]
        assert [t.column("payload").to_pylist() for t in table] == [payloads(keep)]
    with pytest.raises(transit.ErasedError):
        transit.read_piece(gone[0])
    found = [(stream, batch.payloads) for s in log.segments() for stream, batch in s.batches()]
    assert found == [(keep.id, payloads(keep))]


def test_a_damaged_segment_is_not_redacted(path: Path) -> None:
    with transit.open(path, settings=SMALL) as log:
        filled(log, "keep")
        filled(log, "secret", word=CANARY)
        log.seal()
        log.delete("secret", reason="r")
    file = next(each for each in (path / "segments").glob("*.seg") if has(each.read_bytes()))
    right = file.read_bytes()
    file.write_bytes(right[:40] + bytes([right[40] ^ 1]) + right[41:])
    with transit.open(path, settings=SMALL) as log, pytest.raises(transit.CorruptError):
        log.erase()
    assert file.exists()
    file.write_bytes(right)
    with transit.open(path, settings=SMALL) as log:
        log.erase()
        assert places_with(path) == []
        assert len(payloads(log.stream("keep"))) == 20


def test_what_cannot_erase_is_refused(path: Path) -> None:
    with (
        transit.open(path, mode="shared") as log,
        pytest.raises(transit.InvalidInputError, match="exclusive"),
    ):
        log.erase()
    with transit.open(path, mode="read") as log, pytest.raises(transit.TransitError):
        log.erase()


def test_verify_and_audit_say_erased(log: transit.Log, path: Path) -> None:
    streams = [filled(log, f"s{number}") for number in range(4)]
    parents = [streams[0], streams[1]]
    merged = log.merge("m", parents, policy="interleave", base=None)
    merged.trim(before=40)
    log.seal()
    log.delete(streams[0], reason="asked", basis="gdpr-17", writer="ada")
    streams[2].trim(before=20, reason="old", basis="retention")
    log.seal()
    assert log.verify().ok
    assert log.verify().counts.get("erased_records", 0) == 0
    log.erase()
    log.seal()
    for report in (log.verify(), transit.audit(path)):
        assert report.findings == ()
        assert report.counts["erased_records"] == 40
        assert report.counts["redacted_segments"] == 1
        assert report.counts["merges_not_rerun"] == report.counts["merges_of_erased"] == 1
        one, two = report.erased
        assert (one.stream, one.first, one.last, one.by) == ("s0", 0, 19, "ada")
        assert (one.basis, one.reason) == ("gdpr-17", "asked")
        assert (two.stream, two.first, two.last, two.by) == ("s2", 0, 19, "")
        assert (two.basis, two.reason) == ("retention", "old")
        assert 0 < one.when <= two.when
        assert one.commit == two.commit == 1
    roots = transit.audit(path, level="roots")
    assert roots.ok
    assert roots.counts["redacted_segments"] == 1
    assert transit.audit(path, level="sample:1").counts["erased_records"] == 40


def test_bytes_that_are_there_although_erased_are_found(log: transit.Log, path: Path) -> None:
    filled(log, "keep")
    filled(log, "secret", word=CANARY)
    log.seal()
    (file,) = (path / "segments").glob("*.seg")
    right = file.read_bytes()
    log.delete("secret", reason="r")
    log.erase()
    log.seal()
    assert log.verify().ok
    file.write_bytes(right)
    assert [finding.found for finding in log.verify().findings] == ["erased, but present"]


def test_erased_bytes_without_a_record_are_damage(log: transit.Log, path: Path) -> None:
    filled(log, "keep")
    filled(log, "secret", word=CANARY)
    log.seal()
    log.close()
    # Somebody with the folder makes the file that an erasure would have made, and no record.
    other = path.parent / "other"
    shutil.copytree(path, other)
    with transit.open(other, settings=SMALL) as there:
        there.delete("secret", reason="r")
        there.erase()
    (file,) = (path / "segments").glob("*.seg")
    file.unlink()
    shutil.copytree(other / "redacted", path / "redacted")
    with transit.open(path, settings=SMALL) as again:
        for report in (again.verify(), transit.audit(path)):
            (finding,) = report.findings
            assert finding.found == "erased bytes, and no record of $names that says so"
            assert finding.expected.startswith("offsets 0 to 19 of stream")
        assert len(payloads(again.stream("keep"))) == 20
        with pytest.raises(transit.CorruptError, match="no record of"):
            payloads(again.stream("secret"))


def test_what_is_left_cannot_be_changed_unseen(log: transit.Log, path: Path) -> None:
    keep = filled(log, "keep")
    filled(log, "secret", word=CANARY)
    log.seal()
    log.delete("secret", reason="r")
    log.erase()
    log.seal()
    log.close()
    (file,) = (path / "redacted").glob("*.seg")
    right = file.read_bytes()
    for byte in range(len(right)):
        file.write_bytes(right[:byte] + bytes([right[byte] ^ 0x40]) + right[byte + 1 :])
        assert not transit.audit(path).ok, byte
        if byte % 5:
            continue
        with transit.open(path, settings=SMALL, mode="read") as changed:
            with suppress(transit.FormatError):
                assert payloads(changed.stream("keep")) == SAID, byte
            assert not changed.verify().ok, byte
    for size in range(0, len(right), 7):
        file.write_bytes(right[:size])
        assert not transit.audit(path).ok, size
    assert keep.name == "keep"


SAID = [b"plain keep %d" % n for n in range(20)]


def remade(data: bytes, ref: SegmentRef, change: Callable[[list[bytes], Table], Table]) -> bytes:
    """A redacted file changed by somebody who makes every checksum and digest in it right."""
    source = MemoryBytes("file", data)
    parts = read_parts(source, ref, None)
    table = decode_table(parts.table, parts.table_digest, parts.blocks_end, "file")
    raws = [decode_block(block, source.stored(block), "file") for block in table.blocks]
    table = change(raws, table)
    made, blocks = data[: HEADER.size], []
    for raw in raws:
        block, stored = encode_block(raw, len(made), 3)
        blocks.append(block)
        made += stored
    whole = Table(tuple(blocks), table.places, table.positions, table.digests)
    return made + parts.stored_index + encode_table(whole) + data[-tail_of(parts) :]


def tail_of(parts: Parts) -> int:
    return len(parts.footer) + TAIL.size


def other_bytes(raws: list[bytes], table: Table) -> Table:
    raws[:] = [raw.replace(b"plain keep 7", b"plain keep 8") for raw in raws]
    return table


def other_leaf(raws: list[bytes], table: Table) -> Table:
    digests = table.digests[:-1] + bytes([table.digests[-1] ^ 1])
    return Table(table.blocks, table.places, table.positions, digests)


def both(raws: list[bytes], table: Table) -> Table:
    """A chunk and its digest changed together."""
    chunk = next(raw for raw in raws if b"plain keep 7" in raw)
    start = chunk.index(b"plain keep 0")
    at = next(p for p in sorted(table.positions, reverse=True) if p <= start and p != GONE)
    was = chunk[at:]
    now = was.replace(b"plain keep 7", b"plain keep 8")
    raws[:] = [raw.replace(was, now) for raw in raws]
    digests = table.digests.replace(digest(was), digest(now))
    assert digests != table.digests
    return Table(table.blocks, table.places, table.positions, digests)


@pytest.mark.parametrize(
    ("change", "place"), [(other_bytes, "block"), (other_leaf, "chunks"), (both, "chunks")]
)
def test_a_chunk_or_a_leaf_changed_with_every_checksum_right_is_found(
    log: transit.Log,
    path: Path,
    change: Callable[[list[bytes], Table], Table],
    place: str,
) -> None:
    filled(log, "secret", word=CANARY)
    filled(log, "keep")
    log.seal()
    log.delete("secret", reason="r")
    log.erase()
    log.seal()
    ref = log._handle.catalog.view.segments[0].ref
    log.close()
    file = path / "redacted" / f"{ref.digest}.seg"
    right = file.read_bytes()
    assert remade(right, ref, lambda raws, table: table)[-200:] == right[-200:]
    file.write_bytes(remade(right, ref, change))
    assert any(place in finding.place for finding in transit.audit(path).findings)
    with transit.open(path, settings=SMALL, mode="read") as changed:
        with pytest.raises(transit.CorruptError):
            payloads(changed.stream("keep"))
        assert any(place in finding.place for finding in changed.verify().findings)
