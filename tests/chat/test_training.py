from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from scripts import train_threads as training
from transit.chat.classifiers import linear, rule
from transit.chat.scoring import Link, read_annotations, score

needs_data = pytest.mark.skipif(
    not training.DATA.exists(), reason="../shared/data/irc is not there"
)


def links(found: training.Decided) -> Iterator[tuple[str, Link]]:
    return ((log, link) for log, each in found.links.items() for link in each)


@pytest.mark.slow
@needs_data
def test_training_again_gives_weights_that_decide_the_same() -> None:
    logs, gold = training.read_logs(), read_annotations(training.DATA)
    again = linear(msgspec.to_builtins(training.trained(logs, gold)))
    assert set(links(training.decided(again, logs, gold))) == set(
        links(training.decided(linear(), logs, gold))
    )


def test_a_log_is_read_over_midnight_with_actions_and_lines_of_the_platform(tmp_path: Path) -> None:
    path = tmp_path / "x.ascii.txt"
    path.write_text(
        "[23:58] <ada> hello\n"
        "=== bob [~b@example.org]  has joined #dev\n"
        "[00:03]  * eve waves\n"
        "[00:02] <ada> late\n"
        "=== eve waves again\n"
        "=== eve is now known as eva\n"
        "[00:04] <b|ob[]>\n"
    )
    found = training.read_log(path)
    assert [each.offset for each in found] == list(range(7))
    assert [each.author for each in found] == ["ada", "", "eve", "ada", "eve", "", "b|ob[]"]
    assert [each.system for each in found] == [not each.author for each in found]
    assert [each.text for each in found[2:5]] == ["waves", "late", "waves again"]
    minutes = [each.time // 60_000_000_000 for each in found]
    assert [each - minutes[0] for each in minutes] == [0, 0, 5, 5, 5, 5, 6]


@needs_data
def test_examples_have_their_gold_parents_among_their_choices() -> None:
    logs, gold = training.read_logs(), read_annotations(training.DATA)
    log = min(logs)
    pieces = training.Pieces()
    found = list(training.examples(logs[log], gold[log], pieces))
    assert len(found) > 200
    for each in found:
        assert each.gold
        assert set(each.gold) <= set(each.thread) <= set(range(len(each.choices)))
    used = {place for features in pieces.features for place in features}
    assert used <= set(range(training.SIZE))


def test_folds_part_the_logs_and_depend_on_the_seed_alone() -> None:
    names = [f"log{number}" for number in range(10)]
    parted = training.folds(names, 5)
    assert sorted(name for fold in parted for name in fold) == sorted(names)
    assert {len(fold) for fold in parted} == {2}
    assert training.folds(names[::-1], 5) == parted


# How much the pairing of threads changes when the logs are parted otherwise.
NOISE = 0.005


@pytest.mark.slow
@needs_data
def test_the_linear_model_is_no_worse_than_the_rule_on_logs_it_has_not_seen() -> None:
    print("seed", training.SEED)
    logs, gold = training.read_logs(), read_annotations(training.DATA)
    found = training.cross_validated(logs, gold)
    own, by_rule = (
        score(gold, each.links) for each in (found, training.decided(rule(), logs, gold))
    )
    assert own.link.f1 > by_rule.link.f1
    assert own.exact.f1 > by_rule.exact.f1
    assert own.vi > by_rule.vi
    assert own.one_to_one > by_rule.one_to_one - NOISE
    assert found.calibration_error <= 0.06
