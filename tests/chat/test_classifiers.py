from __future__ import annotations

import random
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from scripts.train_threads import DATA, read_logs
from transit.chat.classifiers import REMEMBERED, judged, linear, rule, source
from transit.chat.classifiers.features import BETWEEN, Watch, bits_of
from transit.chat.classifiers.history import CANDIDATES, KEPT
from transit.chat.classifiers.linear import SUMS_MAX
from transit.chat.classifying import Candidate, Classifier, Ranking, Said
from transit.errors import InvalidInputError

MINUTE = 60_000_000_000
OWN: list[Classifier] = [rule(), linear()]
needs_data = pytest.mark.skipif(not DATA.exists(), reason="../shared/data/irc is not there")


def talk(*lines: str, step: int = 1) -> list[Said]:
    """Messages "ada: text", a minute apart; offsets are not consecutive; "=" is the platform's."""
    found = []
    for place, line in enumerate(lines):
        author, _, text = line.partition(": ")
        system = author == "="
        who = "" if system else author
        found.append(Said(3 * place + 7, who, who, text, place * step * MINUTE, system=system))
    return found


def decisions(classifier: Classifier, said: Sequence[Said]) -> list[Ranking]:
    decider = classifier.decider()
    found = []
    for each in said:
        found.append(decider.decide(each))
        decider.see(each)
    return found


def made_up(choose: random.Random, count: int) -> list[Said]:
    """Talk of a few people, with names, questions and pauses."""
    names = ["ada", "bob", "eve", "mallory", "zoë_", "bot"]
    words = ["why", "does", "the", "wheel", "build", "kernel", "?", "thanks", "hello", "no", "!man"]
    found = []
    time = 0
    for place in range(count):
        time += choose.choice([0, 1, 1, 5, 20]) * MINUTE
        text = " ".join(choose.choice(words) for _ in range(choose.randint(0, 9)))
        if choose.random() < 0.4:
            text = f"{choose.choice(names)}{choose.choice([':', ',', ''])} {text}"
        who = choose.choice(names)
        found.append(Said(place * 2, who, who, text, time, system=choose.random() < 0.1))
    return found


@pytest.mark.parametrize("classifier", OWN, ids=lambda each: each.name)
def test_an_answer_is_found_by_its_name(classifier: Classifier) -> None:
    said = talk(
        "ada: why does the wheel not build?",
        "bob: lunch?",
        "eve: ada: which python do you have?",
        "ada: eve: 3.14",
    )
    best = [ranking[0].parent for ranking in decisions(classifier, said)]
    assert best == [None, None, said[0].offset, said[2].offset]


@pytest.mark.parametrize("classifier", OWN, ids=lambda each: each.name)
def test_lines_of_the_platform_stand_alone_and_are_never_answered(classifier: Classifier) -> None:
    said = talk("= ada has joined", "ada: hello", "=: bob is now called rob", "ada: is it on?")
    said = [msgspec.structs.replace(each, system=each.author != "ada") for each in said]
    found = decisions(classifier, said)
    assert [found[0][0].parent, found[2][0].parent] == [None, None]
    assert len(found[0]) == len(found[2]) == 1
    system = {each.offset for each in said if each.system}
    assert not system & {each.parent for ranking in found for each in ranking}


@pytest.mark.parametrize("classifier", OWN, ids=lambda each: each.name)
def test_rankings_are_rankings(classifier: Classifier) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    said = made_up(random.Random(seed), 400)
    offsets: set[int | None] = {None}
    for each, ranking in zip(said, decisions(classifier, said), strict=True):
        scores = [found.score for found in ranking]
        parents = [found.parent for found in ranking]
        assert ranking
        assert scores == sorted(scores, reverse=True)
        assert all(0.0 <= score <= 1.0 for score in scores)
        assert sum(scores) <= 1.0 + 1e-9
        assert len(parents) == len(set(parents))
        assert set(parents) <= offsets
        offsets.add(each.offset)


@pytest.mark.parametrize("classifier", OWN, ids=lambda each: each.name)
def test_a_new_decider_decides_the_same(classifier: Classifier) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    said = made_up(random.Random(seed), 300)
    assert decisions(classifier, said) == decisions(classifier, said)


@pytest.mark.parametrize("classifier", OWN, ids=lambda each: each.name)
def test_seeing_alone_prepares_for_a_decision_like_deciding_all(classifier: Classifier) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    said = made_up(random.Random(seed), 200)
    decider = classifier.decider()
    for each in said[:-1]:
        decider.see(each)
    assert decider.decide(said[-1]) == decisions(classifier, said)[-1]


@pytest.mark.parametrize("classifier", OWN, ids=lambda each: each.name)
def test_a_decider_that_saw_the_last_messages_decides_like_one_that_saw_all(
    classifier: Classifier,
) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    said = made_up(random.Random(seed), REMEMBERED + KEPT + 20)
    early, late = classifier.decider(), classifier.decider()
    for each in said[:KEPT]:
        early.see(each)
    for each in said[KEPT:-20]:
        early.see(each)
        late.see(each)
    for each in said[-20:]:
        assert early.decide(each) == late.decide(each)
        early.see(each)
        late.see(each)


@needs_data
@pytest.mark.parametrize("classifier", OWN, ids=lambda each: each.name)
def test_decisions_do_not_depend_on_later_messages(classifier: Classifier) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    choose = random.Random(seed)
    for log, said in read_logs().items():
        cut = choose.randrange(len(said) - 300, len(said) - 1)
        whole = classifier.decider()
        for each in said[: cut - 5]:
            whole.see(each)
        expected = []
        for each in said[cut - 5 : cut + 50]:
            expected.append(whole.decide(each))
            whole.see(each)
        part = classifier.decider()
        for each in said[: cut - 5]:
            part.see(each)
        found = []
        for each in said[cut - 5 : cut]:
            found.append(part.decide(each))
            part.see(each)
        assert found == expected[:5], f"{log} cut at {cut}"


HOSTILE = [
    "",
    " ",
    ":",
    ": : :",
    "@",
    "a" * 1_000_000,
    "ada: " * 200_000,
    "\x00\x01\x1b[2J\r\n\x07",
    "👩‍👩‍👧‍👦🎉" * 50,
    "שלום: مرحبا \u202e abc \u202d",
    "(.*)+$[ ?",
    "\ud800 lone",
    "İſß " * 100,
]


@pytest.mark.parametrize("classifier", OWN, ids=lambda each: each.name)
def test_no_text_and_no_name_is_too_much(classifier: Classifier) -> None:
    people = ["(.*", "[a", "\\", "", "a" * 100_000, "👩‍👧", "שלום", "x+|y*", ":", "ada"]
    said = []
    for place, text in enumerate(HOSTILE * 3):
        who = people[place % len(people)]
        named = f"{people[place % 7]}: {text}" if place > len(HOSTILE) else text
        said.append(Said(place, who, who, named, -place * MINUTE if place % 5 else 2**62))
    for ranking in decisions(classifier, said):
        assert sum(each.score for each in ranking) <= 1.0 + 1e-9


@pytest.mark.parametrize("classifier", OWN, ids=lambda each: each.name)
def test_a_name_nobody_has_is_no_reason_to_fail(classifier: Classifier) -> None:
    said = talk("ada: nobody99: are you there?", "bob: qqqqqq: try again", "eve: zz: ok")
    for ranking in decisions(classifier, said):
        assert ranking


@pytest.mark.slow
def test_state_is_bounded_whatever_is_said() -> None:
    watch = Watch()
    history = watch.history
    largest: dict[str, int] = {}
    for place in range(100_000):
        who = f"user{place}"
        text = f"user{place - 1}: word{place} token{place} thing{place}?"
        watch.see(Said(place, who, who, text, place * MINUTE))
        if place % 5_000 == 0 or place == 99_999:
            for name, value in vars(history).items():
                if hasattr(value, "__len__"):
                    largest[name] = max(largest.get(name, 0), len(value))
    assert len(largest) > 7
    bound = KEPT * 6
    assert all(size <= bound for size in largest.values()), largest
    assert largest["candidates"] == CANDIDATES


def test_remembered_sums_are_bounded() -> None:
    decider: Any = linear().decider()
    sums = decider._relations[0].between
    for bits in range(3 * SUMS_MAX):
        sums.of(bits)
    assert len(sums._known) <= SUMS_MAX
    assert sums.of(5) == decider._relations[0].between.of(5)


def test_distance_counts_messages_and_not_offsets() -> None:
    near = talk("ada: how do I mount it?", "bob: with mount", "ada: thanks")
    far = [msgspec.structs.replace(each, offset=each.offset * 1_000) for each in near]
    found = [[each.score for each in ranking] for ranking in decisions(linear(), near)]
    assert found == [[each.score for each in ranking] for ranking in decisions(linear(), far)]


def test_a_feature_has_a_bit_of_its_own() -> None:
    bits = bits_of(BETWEEN)
    assert len(bits) == len(BETWEEN) == len(set(bits.values()))


# ---- weights -------------------------------------------------------------------------------------


def test_the_weights_are_small_and_say_where_they_come_from() -> None:
    path = Path(linear.__code__.co_filename).with_name("weights.json")
    data = path.read_bytes()
    assert len(data) <= 8_192
    assert "CC-BY-4.0, Kummerfeld et al., ACL 2019" in msgspec.json.decode(data)["attribution"]
    assert linear(path) == linear() == linear(msgspec.json.decode(data))


def test_other_weights_have_another_digest() -> None:
    weights = msgspec.to_builtins(linear().weights)
    weights["starts"][""] += 1.0
    other = linear(weights)
    assert other.digest != linear().digest
    assert len(other.digest) == 64
    assert set(other.digest) <= set(string.hexdigits.lower())


@pytest.mark.parametrize(
    "change",
    [
        {"columns": ["one"]},
        {"any": [0.0]},
        {"relations": {}},
        {"starts": {"wears a hat": 1.0}},
        {"starts": {"": 1e9}},
        {"version": 5},
        {"more": 1},
    ],
)
def test_weights_for_other_features_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        linear(msgspec.to_builtins(linear().weights) | change)


def test_a_file_without_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.json"
    with pytest.raises(InvalidInputError, match="no weights"):
        linear(path)
    path.write_bytes(b'{"version": "\xff"}')
    with pytest.raises(InvalidInputError, match="no weights"):
        linear(path)


# ---- the platform's word, and judges -------------------------------------------------------------


def test_the_platform_is_taken_at_its_word() -> None:
    said = talk("ada: one", "bob: two", "eve: three", "=: four")
    said[1] = msgspec.structs.replace(said[1], answers=said[0].offset)
    said[2] = msgspec.structs.replace(said[2], starts=True)
    assert decisions(source("source:slack"), said) == [
        [],
        [Candidate(said[0].offset, 1.0)],
        [Candidate(None, 1.0)],
        [Candidate(None, 1.0)],
    ]
    assert source("source:slack").name == "source:slack"


def test_a_judge_is_given_what_people_said_before_the_oldest_first() -> None:
    given = []

    def judge(said: Said, before: Sequence[Said]) -> Ranking:
        given.append((said, list(before)))
        return [Candidate(None, 0.5)]

    said = talk("ada: one", "=: joined", "bob: two", "eve: three", "eve: four")
    found = decisions(judged("mine", "3", judge, digest="d", look_back=2), said)
    assert [before for _, before in given] == [[], [said[0]], [said[0], said[2]], said[2:4]]
    assert found[1] == [Candidate(None, 1.0)]
    assert found[0] == [Candidate(None, 0.5)]


WRONG: list[Any] = [
    [(None, 1.5)],
    [(None, -0.1)],
    [(None, float("nan"))],
    [(None, 0.6), (7, 0.5)],
    [(None, 0.2), (7, 0.5)],
    [(8, 0.5)],
    [(True, 0.5)],
    [(7.0, 0.5)],
    [([], 0.5)],
    [(7, 0.3), (7, 0.3)],
    [(None, "much")],
    [7],
    None,
]


@pytest.mark.parametrize("ranking", WRONG, ids=str)
def test_a_judge_that_gives_no_ranking_is_refused(ranking: Any) -> None:
    said = talk("ada: one", "bob: two")
    decider = judged("mine", "1", lambda said, before: ranking).decider()
    decider.see(said[0])
    with pytest.raises(InvalidInputError, match="mine"):
        decider.decide(said[1])


def test_a_judge_may_say_nothing_and_scores_may_sum_to_one_but_for_rounding() -> None:
    said = talk("ada: one", "bob: two")
    for ranking in ([], [(7, 0.5 + 5e-10), (None, 0.5)]):
        decider = judged("mine", "1", lambda said, before, ranking=ranking: ranking).decider()
        decider.see(said[0])
        assert decider.decide(said[1]) == ranking


@pytest.mark.parametrize(
    ("name", "version", "look_back"), [("", "1", 5), ("a", "", 5), ("a", "1", 0)]
)
def test_a_judge_has_a_name_a_version_and_something_to_look_at(
    name: str, version: str, look_back: int
) -> None:
    with pytest.raises(InvalidInputError):
        judged(name, version, lambda said, before: [], look_back=look_back)
