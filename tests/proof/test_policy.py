"""Trust policies: the standard's text, what is refused when it is read, and quorums."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transit.errors import InvalidInputError, ProofError
from transit.proof.policy import POLICY_BYTES_MAX, Policy, name_and_id, parse_retired

from .logs import LOG, LOG_PQ, NOW, ORIGIN, OTHER_LOG, STRANGER, W1, W2, W_PQ, key, note, policy

X = [key(f"x{n}.example", 4) for n in range(3)]
Y = [key(f"y{n}.example", 4) for n in range(3)]
VKEY = LOG.verifying.to_text()
W1_VKEY, W2_VKEY = W1.verifying.to_text(), W2.verifying.to_text()
# The example of the standard, with keys.
EXAMPLE = "\n".join(
    [
        f"log {VKEY}", "",
        *(f"witness X{n} {each.verifying.to_text()}" for n, each in enumerate(X, 1)),
        "group X-witnesses 2 X1 X2 X3", "",
        *(f"witness Y{n} {each.verifying.to_text()}" for n, each in enumerate(Y, 1)),
        "group Y-witnesses any Y1 Y2 Y3", "",
        "group X-and-Y all X-witnesses Y-witnesses", "quorum X-and-Y", "",
    ]
)  # fmt: skip


def test_the_example_of_the_standard_is_met_by_two_of_x_and_one_of_y() -> None:
    found = Policy.parse(EXAMPLE)
    for count in range(7):
        for by in combinations([*X, *Y], count):
            verdict = found.check(note(5, witnesses=by), now=NOW)
            enough = len(set(by) & set(X)) >= 2 and bool(set(by) & set(Y))
            assert verdict.quorum_met is enough
            assert len(verdict.witnesses) == count
            assert verdict.log == LOG.verifying


def test_a_verdict_names_who_counts_and_raises_where_they_are_not_enough() -> None:
    verdict = policy(W1, W2, W_PQ, least=2).check(note(5, witnesses=[W_PQ, W1]), now=NOW)
    assert (verdict.witnesses, verdict.quorum) == ({"w1": NOW, "w3": NOW}, "witnesses")
    assert verdict.require_quorum() is verdict
    assert verdict.checkpoint.size == 5
    verdict = policy(W1, W2, W_PQ, least=2).check(note(5, witnesses=[W_PQ]), now=NOW)
    assert not verdict.quorum_met
    with pytest.raises(ProofError) as refused:
        verdict.require_quorum()
    assert str(refused.value) == (
        f"checkpoint of {ORIGIN!r}: cosigned by 'w3', which is not the quorum 'witnesses'"
    )


def test_any_of_several_logs_is_believed_each_under_its_own_name() -> None:
    found = policy(logs=[LOG, OTHER_LOG, LOG_PQ])
    for keys in ([LOG], [LOG_PQ], [OTHER_LOG], [LOG, LOG_PQ]):
        verdict = found.check(note(5, keys), now=NOW)
        assert verdict.log == keys[0].verifying
    with pytest.raises(ProofError, match="not signed by a known key of its log"):
        found.check(note(5, [STRANGER]), now=NOW)
    with pytest.raises(ProofError, match="origin 'example"):
        found.check(note(5, [OTHER_LOG]), now=NOW, origin=ORIGIN)


def test_text_is_split_at_spaces_and_tabs_only() -> None:
    found = Policy.parse(
        f"\t # comment\n#another\n \t\n  log\t{VKEY}  https://log.example/a \n"
        f"witness caf\u00e9\u00a0w {W1_VKEY} https://w.example/submit\nquorum caf\u00e9\u00a0w"
    )
    assert [(each.key, each.url) for each in found.logs] == [
        (LOG.verifying, "https://log.example/a")
    ]
    (witness,) = found.witnesses
    assert (witness.name, witness.url) == ("caf\u00e9\u00a0w", "https://w.example/submit")
    assert found.quorum == witness.name
    # Octets that are no UTF-8 are opaque.
    raw = (
        f"witness W {W1_VKEY}\nquorum W\n".encode()
        .replace(b" W", b" \xff\xfe")
        .replace(b"\xff\xfe1", b"W1")
    )
    assert Policy.parse(raw).quorum == "\udcff\udcfe"


def test_numbers_of_logs_witnesses_and_groups_that_the_standard_asks_for() -> None:
    keys = [key(f"w{n}.example", 4) for n in range(64)]
    lines = [f"log {key(f'l{n}.example', 1).verifying.to_text()}" for n in range(64)]
    lines += [f"witness w{n} {each.verifying.to_text()}" for n, each in enumerate(keys)]
    lines.append("group g0 any w0")
    # Each group holds the one before: a thousand deep.
    lines += [f"group g{n} all g{n - 1}" for n in range(1, 1000)]
    found = Policy.parse("\n".join([*lines, "quorum g999", ""]))
    signer = key("l7.example", 1)
    assert found.check(note(5, [signer], [keys[0]]), now=NOW).quorum_met
    assert not found.check(note(5, [signer], [keys[1]]), now=NOW).quorum_met


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "no quorum line"),
        (["log " + VKEY], "no quorum line"),
        (["quorum none", "quorum none"], "line 2: a second quorum line"),
        (["quorum w"], "line 1: 'w' is not defined above"),
        (["group g any none", "quorum g"], "line 1: 'none' is not defined above"),
        (["group g any w", f"witness w {W1_VKEY}"], "line 1: 'w' is not defined above"),
        (["group g any g", "quorum g"], "line 1: 'g' is not defined above"),
        ([f"witness none {W1_VKEY}"], "line 1: the name 'none' is taken"),
        ([f"witness w {W1_VKEY}", f"witness w {W2_VKEY}"], "line 2: the name 'w' is taken"),
        ([f"witness w {W1_VKEY}", "group w any w"], "line 2: the name 'w' is taken"),
        ([f"witness w {W1_VKEY}", "group g all w w"], "line 2: 'w' is a member of a group already"),
        (
            [f"witness w {W1_VKEY}", "group g all w", "group h all w"],
            "line 3: 'w' is a member of a group already",
        ),
        *(
            ([f"witness w {W1_VKEY}", f"group g {least} w"], f"line 2: a group of {least!r} of 1")
            for least in ("0", "2", "01", "-1", "+1", "most", "9" * 30)
        ),
        ([f"log {VKEY}", f"log {VKEY}"], "line 2: the public key of"),
        ([f"witness a {W1_VKEY}", f"witness b {W1_VKEY}"], "line 2: the public key of"),
        ([f"log {W1_VKEY}"], "line 1: a key of type 0x04 cannot be that of a log"),
        ([f"witness w {VKEY}"], "line 1: a key of type 0x01 cannot be that of a witness"),
        (["log nothing"], "line 1: vkey: expected NAME"),
        (["group g any"], "line 1: expected log, witness, group or quorum: 'group g any'"),
        ([f"witness w {W1_VKEY} a b"], "line 1: expected log, witness, group or quorum"),
        ([f"log {VKEY} a b"], "line 1: expected log"),
        (["log"], "line 1: expected log"),
        (["QUORUM none"], "line 1: expected log"),
        (["retired a 5"], "line 1: expected log"),
        (["quorum none\r"], r"a control character, '\r'"),
        (["quorum\x7f none"], r"a control character, '\x7f'"),
        (["\ufeffquorum none"], "line 1: expected log"),
    ],
)
def test_what_is_wrong_with_a_policy_is_told_with_its_line(lines: list[str], says: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^policy") as refused:
        Policy.parse("\n".join(lines) + "\n")
    assert str(refused.value).removeprefix("policy: ").removeprefix("policy, ").startswith(says)


def test_a_policy_is_bounded() -> None:
    assert Policy.parse("quorum none\n#".ljust(POLICY_BYTES_MAX, "#")).logs == ()
    with pytest.raises(InvalidInputError, match="policy: more than 1048576 bytes"):
        Policy.parse("#" * (POLICY_BYTES_MAX + 1))
    with pytest.raises(InvalidInputError, match="a quorum of 2 of 1 witnesses"):
        policy(W1, least=2)


def test_a_retired_key_is_good_up_to_its_size_and_no_other_key_is_bound_by_that() -> None:
    old, new = LOG, STRANGER
    retired = parse_retired(f'{{"{name_and_id(old.verifying)}": 150}}')
    found = Policy.of([old.verifying, new.verifying], retired=retired)
    for size, keys in ((100, [old]), (150, [old]), (150, [old, new]), (151, [new]), (300, [new])):
        assert found.check(note(size, keys), now=NOW).log == keys[0].verifying
    for keys in ([old], [old, new]):
        with pytest.raises(ProofError, match="is good up to size 150"):
            found.check(note(151, keys), now=NOW)
    assert found.retired == retired
    assert Policy.parse(f"log {VKEY}\nquorum none\n", retired=retired).retired == retired


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"a": "5"}', '{"a": 1.5}', '{"a": true}', '{"a": null}', "null", '"a"'],
)
def test_retired_keys_are_a_json_object_of_sizes(text: str) -> None:
    for form in (text, text.encode()):
        with pytest.raises(InvalidInputError, match="retired keys: expected JSON"):
            parse_retired(form)


def test_a_retired_key_is_one_of_a_log_and_its_size_is_one() -> None:
    assert parse_retired("{}") == {}
    assert parse_retired("{}" + " " * (POLICY_BYTES_MAX - 2)) == {}
    for size in (0, (1 << 63) - 1):
        assert policy().with_retired({name_and_id(LOG.verifying): size}).retired
    for retired, says in (
        ({"example.com/runs+00000000": 5}, "no log of the policy has it"),
        ({name_and_id(W1.verifying): 5}, "no log of the policy has it"),
        ({name_and_id(LOG.verifying): -1}, "no tree has size -1"),
        ({name_and_id(LOG.verifying): 1 << 63}, "no tree has size"),
    ):
        with pytest.raises(InvalidInputError, match=says):
            policy(W1).with_retired(retired)
    with pytest.raises(InvalidInputError, match="more than"):
        parse_retired(b" " * (POLICY_BYTES_MAX + 1))


@given(st.text(max_size=80) | st.binary(max_size=80))
def test_any_text_is_a_policy_or_refused_with_an_error_of_ours(text: str | bytes) -> None:
    try:
        found = Policy.parse(text)
    except InvalidInputError:
        return
    assert found.quorum == "none"
