"""A witness's decision, and what a log makes of its answer."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transit.errors import FencedError, InvalidInputError, ProofError
from transit.proof.checkpoint import add_signatures, cosign, open_checkpoint
from transit.proof.files import ConsistencyFile
from transit.proof.notes import SIGNATURES_MAX, NoteSignature, parse_note, parse_signatures
from transit.proof.paths import LeafHashes
from transit.proof.witness import (
    ANSWER_BYTES_MAX,
    ANSWER_LINES_MAX,
    Answer,
    Latest,
    WitnessSaid,
    decide,
    monitor_path,
    read_answer,
)

from .logs import (
    FORK,
    LEAVES,
    LOG,
    LOG_PQ,
    NOW,
    ORIGIN,
    OTHER_LOG,
    STRANGER,
    W1,
    W2,
    W_PQ,
    consistency,
    head,
    note,
)

LOGS = {ORIGIN: [LOG.verifying, LOG_PQ.verifying]}
KNOWN = {ORIGIN: Latest(100, LEAVES.root(100), note(100))}


def answer(body: ConsistencyFile | bytes, latest: dict[str, Latest] | None = None) -> Answer:
    data = body if isinstance(body, bytes) else body.encode()
    return decide(data, KNOWN if latest is None else latest, logs=LOGS, keys=[W1, W_PQ], now=NOW)


def said(
    body: bytes, status: int = 200, content_type: str = "text/plain", old: int = 100
) -> WitnessSaid:
    return read_answer(
        status, content_type, body,
        note=note(300), old=old, witness_keys=[W1.verifying, W_PQ.verifying], now=NOW,
    )  # fmt: skip


def test_a_growth_is_cosigned_by_all_keys_and_is_the_latest_from_then_on() -> None:
    file = consistency(100, 300)
    found = answer(file)
    assert (found.status, found.content_type, found.origin) == (
        200, "text/plain; charset=utf-8", ORIGIN,
    )  # fmt: skip
    assert found.new_state == Latest(300, LEAVES.root(300), file.checkpoint)
    assert found.evidence == b""
    lines = said(found.body).signatures
    assert [each.name for each in lines] == [W1.verifying.name, W_PQ.verifying.name]
    whole = add_signatures(parse_note(file.checkpoint), lines).encode()
    opened = open_checkpoint(
        whole, LOGS[ORIGIN], witness_keys=[W1.verifying, W_PQ.verifying], now=NOW, skew_s=0
    )
    assert [each.at_s for each in opened.witnesses] == [NOW, NOW]


def test_a_log_that_was_never_cosigned_begins_at_nothing() -> None:
    assert answer(consistency(0, 300), {}).status == 200
    assert answer(consistency(0, 0), {}).new_state == Latest(0, LEAVES.root(0), note(0))
    late = answer(consistency(100, 300), {})
    assert (late.status, late.content_type, late.body) == (409, "text/x.tlog.size", b"0\n")


def test_the_same_checkpoint_is_cosigned_once_more() -> None:
    found = answer(consistency(100, 100))
    assert found.status == 200
    assert found.new_state is not None
    assert found.new_state.size == 100


def test_what_strangers_wrote_under_a_checkpoint_is_not_remembered() -> None:
    """As many lines as a note may have would leave no room for the cosignatures."""
    stranger = NoteSignature("stranger.example", bytes(4), b"s").encode()
    whole = note(300, [LOG, LOG_PQ])
    (line, _) = parse_note(whole).signatures
    crowded = whole + line.encode() + stranger * (SIGNATURES_MAX - 3)
    found = answer(consistency(100, 300, crowded))
    assert found.status == 200
    assert found.new_state is not None
    kept = parse_note(found.new_state.note)
    assert kept.text == parse_note(whole).text
    assert {each.name for each in kept.signatures} == {ORIGIN}
    assert len(kept.signatures) == 2
    lines = parse_signatures(found.body.decode(), "answer")
    open_checkpoint(add_signatures(kept, lines).encode(), LOGS[ORIGIN])


def test_evidence_differs_only_where_the_log_signed_something_else() -> None:
    stranger = NoteSignature("stranger.example", bytes(4), b"s").encode()
    whole = note(300, tree=FORK)
    latest = {ORIGIN: Latest(200, LEAVES.root(200))}
    requests = [
        consistency(200, 300, tree=FORK),
        ConsistencyFile(200, (), whole),
        ConsistencyFile(200, (bytes(32),), whole + stranger),
        ConsistencyFile(200, (bytes(32),) * 63, whole + stranger * 9),
    ]
    found = [answer(each, latest) for each in requests]
    assert [each.status for each in found] == [422] * len(requests)
    assert {each.evidence for each in found} == {whole}


def test_two_roots_of_one_size_are_evidence_wherever_the_path_begins() -> None:
    latest = {ORIGIN: Latest(300, LEAVES.root(300), note(300))}
    for old in (0, 200):
        found = answer(consistency(old, 300, tree=FORK), latest)
        assert (found.status, found.body, found.new_state) == (409, b"300\n", None)
        assert found.evidence == note(300, tree=FORK)
        # What is old, or ahead, contradicts nothing by itself.
        assert answer(consistency(old, 300), latest).evidence == b""
        assert answer(consistency(old, 301, tree=FORK), latest).evidence == b""
        assert answer(consistency(0, 299, tree=FORK), latest).evidence == b""


@pytest.mark.parametrize(
    ("file", "latest", "status", "says"),
    [
        (b"", KNOWN, 400, "consistency: no empty line in its first 100000 bytes"),
        (b"old 1\n\nno note", KNOWN, 400, "note: no newline at its end"),
        (b"old x\n\n" + note(300), KNOWN, 400, "consistency: old: expected a decimal number"),
        (consistency(100, 300, note(300)).encode() + b"x", KNOWN, 400, "note: no newline"),
        (
            consistency(100, 300, note(300, [OTHER_LOG])), KNOWN, 404,
            "the log 'example.com/other' is not known here",
        ),
        (
            consistency(100, 300, note(300, [STRANGER])), KNOWN, 403,
            "checkpoint of 'example.com/runs': not signed by a known key of its log",
        ),
        (
            consistency(100, 300, note(300).replace(b"\n300\n", b"\n299\n")), KNOWN, 403,
            "signature of example.com/runs+",
        ),
        (ConsistencyFile(301, (), note(300)), KNOWN, 400, "old 301 is larger than 300"),
        (consistency(100, 300), {ORIGIN: Latest(200, LEAVES.root(200))}, 409, "200"),
        (consistency(300, 300), KNOWN, 409, "100"),
        (
            ConsistencyFile(100, (), note(100, tree=FORK)),
            {ORIGIN: Latest(100, LEAVES.root(99))}, 422,
            "consistency: SPLIT VIEW, two roots for size 100",
        ),
        (
            consistency(200, 300, tree=FORK), {ORIGIN: Latest(200, LEAVES.root(200))}, 422,
            "consistency: the path does not begin at the old root",
        ),
        (
            ConsistencyFile(100, (), note(300)), KNOWN, 422,
            "consistency: the path is too short",
        ),
        (
            ConsistencyFile(0, (bytes(32),), note(300)), {}, 422,
            "consistency: the path must be empty",
        ),
    ],
)  # fmt: skip
def test_a_request_that_is_not_cosigned_has_its_status_and_changes_nothing(
    file: ConsistencyFile | bytes, latest: dict[str, Latest], status: int, says: str
) -> None:
    found = answer(file, latest)
    assert (found.status, found.new_state) == (status, None)
    assert found.body.decode().startswith(says)
    assert found.body.endswith(b"\n")
    assert b"\xe2\x80\x94" not in found.body
    # What the log's key signed and does not extend the latest one is worth keeping.
    checkpoint = b"" if isinstance(file, bytes) else file.checkpoint
    assert found.evidence == (checkpoint if status == 422 else b"")
    assert found.content_type == (
        "text/x.tlog.size" if status == 409 else "text/plain; charset=utf-8"
    )


def test_what_the_witness_itself_lacks_is_not_the_requests_fault() -> None:
    body = consistency(100, 300).encode()
    with pytest.raises(InvalidInputError, match="at least one key"):
        decide(body, KNOWN, logs=LOGS, keys=[], now=NOW)
    with pytest.raises(InvalidInputError, match="is not the key of a witness"):
        decide(body, KNOWN, logs=LOGS, keys=[LOG], now=NOW)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12), st.booleans()), max_size=12))
def test_a_witness_never_cosigns_two_histories(requests: list[tuple[int, int, bool]]) -> None:
    """Whatever is asked in whatever order: all it cosigned is one growing history."""
    ours = LeafHashes(LEAVES.hash_at(0, index) for index in range(12))
    other = LeafHashes([*(LEAVES.hash_at(0, index) for index in range(4)), *[bytes(32)] * 8])
    latest: dict[str, Latest] = {}
    cosigned: list[Latest] = []
    for old, new, forked in requests:
        if old > new:
            continue
        tree = other if forked else ours
        found = answer(consistency(old, new, tree=tree), latest)
        assert found.status in (200, 409, 422)
        if found.new_state is not None:
            latest = {ORIGIN: found.new_state}
            cosigned.append(found.new_state)
    sizes = [state.size for state in cosigned]
    assert sizes == sorted(sizes)
    for tree in (ours, other):
        if cosigned and cosigned[-1].root == tree.root(cosigned[-1].size):
            assert all(state.root == tree.root(state.size) for state in cosigned)
            break
    else:
        assert not cosigned


def test_lines_of_strangers_in_an_answer_are_ignored() -> None:
    lines = [cosign(head(300), each, NOW) for each in (W2, W1)]
    found = said(b"".join(each.encode() for each in lines))
    assert found == WitnessSaid((lines[1],))


def test_the_largest_answer_is_read() -> None:
    line = cosign(head(300), W1, NOW).encode()
    empty = len(NoteSignature("s", bytes(4), bytes(2)).encode())
    room = (ANSWER_BYTES_MAX - len(line) - empty) // 4 * 3
    lines = NoteSignature("s", bytes(4), bytes(2 + room)).encode() + line
    while len(lines) < ANSWER_BYTES_MAX:
        lines = lines.replace(b" s ", f" s{'s' * (ANSWER_BYTES_MAX - len(lines))} ".encode())
    assert len(lines) == ANSWER_BYTES_MAX
    assert len(said(lines).signatures) == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (cosign(head(299), W1, NOW), "it does not verify"),
        (cosign(head(300), W1, NOW + 301), "is in the future"),
    ],
)
def test_a_cosignature_that_does_not_hold_is_not_taken(line: object, says: str) -> None:
    with pytest.raises(ProofError, match=says):
        said(line.encode())  # type: ignore[attr-defined]


@pytest.mark.parametrize("content_type", ["text/x.tlog.size", "Text/X.Tlog.Size; charset=utf-8"])
def test_a_witness_that_is_behind_says_where_the_path_begins(content_type: str) -> None:
    assert said(b"200\n", 409, content_type) == WitnessSaid(behind=200)
    assert said(b"300\n", 409, content_type) == WitnessSaid(behind=300)
    assert said(b"0\n", 409, content_type) == WitnessSaid(behind=0)


@pytest.mark.parametrize(
    ("body", "status", "content_type", "says"),
    [
        (b"200", 409, "text/x.tlog.size", "expected a size and a newline, found '200'"),
        (b"0200\n", 409, "text/x.tlog.size", "expected a size and a newline"),
        (b"2 00\n", 409, "text/x.tlog.size", "expected a size and a newline"),
        (b"\xff\n", 409, "text/x.tlog.size", "expected a size and a newline"),
        (b"9" * 100_000 + b"\n", 409, "text/x.tlog.size", "expected a size and a newline"),
        (b"100\n", 409, "text/x.tlog.size", "it refused 100 as the old size and names the same"),
        (b"200\n", 409, "text/plain", "it answered 409, '200\\\\n'"),
        (b"", 200, "text/plain", "no signature"),
        (b"\xff", 200, "text/plain", "an answer that is not UTF-8"),
        (b"x\n" * (ANSWER_LINES_MAX + 1), 200, "text/plain", "an answer of more than 32 lines"),
        (b"gone", 404, "text/plain", "it answered 404, 'gone'"),
        (b"", 204, "text/plain", "it answered 204, ''"),
        (cosign(head(300), W1, NOW).encode(), 201, "text/plain", "it answered 201"),
    ],
)
def test_any_other_answer_is_no_cosignature(
    body: bytes, status: int, content_type: str, says: str
) -> None:
    with pytest.raises(ProofError, match=says):
        said(body, status, content_type)


def test_a_witness_that_knows_more_than_we_signed_stops_us() -> None:
    with pytest.raises(FencedError) as fenced:
        said(b"301\n", 409, "text/x.tlog.size")
    assert (fenced.value.store, fenced.value.number) == (ORIGIN, 300)


def test_a_witness_shows_a_log_under_the_digest_of_its_origin() -> None:
    assert monitor_path(ORIGIN) == sha256(ORIGIN.encode()).hexdigest() + "/checkpoint"
