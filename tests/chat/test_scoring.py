from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from transit.chat.scoring import Link, read_annotation, read_annotations, score
from transit.errors import InvalidInputError

SHARED = Path(__file__).resolve().parents[3] / "shared"
SCORER = SHARED / "tools" / "threads" / "score.py"
DATA = SHARED / "data" / "irc"


def chain(*parents: int) -> set[Link]:
    """Message n answers parents[n]."""
    return {Link(child, parent) for child, parent in enumerate(parents)}


def test_the_gold_itself_has_full_marks() -> None:
    gold = {"a": chain(0, 0, 2, 1, 2), "b": chain(0, 0)}
    found = score(gold, gold)
    assert (found.link.f1, found.one_to_one, found.exact.f1) == (1.0, 1.0, 1.0)
    assert found.vi == pytest.approx(1.0)
    assert (found.logs, found.messages, found.missing) == (2, 7, 0)
    assert (found.threads_gold, found.threads_found) == (3, 3)


def test_none_as_parent_says_that_a_thread_starts() -> None:
    gold = {"a": chain(0, 0, 2)}
    found = score(gold, {"a": {Link(0, None), Link(1, 0), Link(2, None)}})
    assert found.link.f1 == 1.0


def test_measures_of_a_small_log_are_those_counted_by_hand() -> None:
    # Gold threads {0, 1, 2} and {3, 4}; found {0, 1} and {2, 3, 4}.
    found = score({"a": chain(0, 0, 1, 3, 3)}, {"a": chain(0, 0, 2, 2, 3)})
    assert found.link.precision == found.link.recall == pytest.approx(3 / 5)
    assert found.one_to_one == pytest.approx(4 / 5)
    assert found.exact.f1 == 0.0


def test_a_message_without_a_prediction_is_alone_and_missing() -> None:
    found = score({"a": chain(0, 0, 0)}, {"a": {Link(1, 0)}})
    assert found.missing == 1
    assert found.threads_found == 2
    assert found.link.precision == 1.0
    assert found.link.recall == pytest.approx(1 / 3)


def test_context_joins_threads_and_is_in_none() -> None:
    gold = {"a": {Link(10, 3), Link(11, 3), Link(12, 12)}}
    found = score(gold, {"a": {Link(10, 4), Link(11, 4), Link(12, 12), Link(4, 4)}})
    assert found.exact.f1 == 1.0
    assert found.messages == 3
    assert found.link.precision == pytest.approx(1 / 3)


def test_threads_may_be_given_that_links_do_not_make() -> None:
    gold = {"a": chain(0, 0, 2, 2)}
    found = score(gold, gold, threads={"a": [[0, 1, 2, 3]]})
    assert found.link.f1 == 1.0
    assert found.one_to_one == pytest.approx(1 / 2)


def test_pairing_is_the_best_of_all_permutations() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    choose = random.Random(seed)
    for _ in range(50):
        gold = {n: choose.randrange(4) for n in range(14)}
        other = {n: choose.randrange(4) for n in range(14)}
        best = max(
            sum(order[gold[n]] == other[n] for n in gold)
            for order in itertools.permutations(range(4))
        )
        links = {Link(n, next(m for m in gold if gold[m] == gold[n])) for n in gold}
        threads = [[n for n in other if other[n] == label] for label in range(4)]
        found = score({"a": links}, {}, threads={"a": [each for each in threads if each]})
        assert found.one_to_one == pytest.approx(best / 14)


def test_nothing_to_compare_with_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no gold link"):
        score({"a": set()}, {"a": chain(0)})


def test_an_annotation_is_read_from_its_first_annotated_line(tmp_path: Path) -> None:
    path = tmp_path / "x.annotation.txt"
    path.write_text("998 999 -\n999 1001 -\n\n1002 1002 -\n1004 1003\n")
    assert read_annotation(path) == {Link(1001, 999), Link(1002, 1002), Link(1004, 1003)}
    assert read_annotations(tmp_path) == {"x": read_annotation(path)}


@pytest.mark.parametrize("line", ["1001 -", "1 2 3 -", "one two -", "-1 1001 -"])
def test_a_line_that_is_no_link_is_refused_with_its_place(tmp_path: Path, line: str) -> None:
    path = tmp_path / "x.annotation.txt"
    path.write_text(f"1000 1000 -\n{line}\n")
    with pytest.raises(InvalidInputError, match=r"x\.annotation\.txt:2"):
        read_annotation(path)


@pytest.mark.skipif(not SCORER.exists(), reason="../shared/tools/threads/score.py is not there")
@pytest.mark.skipif(not DATA.exists(), reason="../shared/data/irc is not there")
def test_results_are_those_of_the_scorer_beside_the_checkout(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    choose = random.Random(seed)
    gold = read_annotations(DATA)
    found: dict[str, set[Link]] = {log: set() for log in gold}
    for log, links in gold.items():
        for child, parent in sorted(links, key=lambda link: (link.child, link.parent or 0)):
            if choose.random() < 0.95:
                other = choose.choice([child - 1, child - 2, child])
                found[log].add(Link(child, parent if choose.random() < 0.7 else other))
    path = tmp_path / "found.txt"
    path.write_text("".join(f"{log}:{p} {c} -\n" for log in found for c, p in found[log]))
    command = [sys.executable, str(SCORER), str(DATA), str(path), "--json"]
    said = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["all"]
    own = score(gold, found)
    assert (own.messages, own.missing) == (said["messages"], said["missing"])
    assert (own.threads_gold, own.threads_found) == (said["threads_gold"], said["threads_pred"])
    for ratio, name in ((own.link, "link"), (own.exact, "exact")):
        assert [ratio.precision, ratio.recall, ratio.f1] == pytest.approx(
            [said[name]["precision"], said[name]["recall"], said[name]["f1"]]
        )
    assert [own.vi, own.one_to_one] == pytest.approx([said["vi"], said["one_to_one"]])
