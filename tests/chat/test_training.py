from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from scripts import train_threads as training
from transit.chat.classifiers import linear, rule
from transit.chat.scoring import Link, read_annotations, score

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not training.DATA.exists(), reason="../shared/data/irc is not there"),
]


def links(found: training.Decided) -> Iterator[tuple[str, Link]]:
    return ((log, link) for log, each in found.links.items() for link in each)


def test_training_again_gives_weights_that_decide_the_same() -> None:
    logs, gold = training.read_logs(), read_annotations(training.DATA)
    again = linear(msgspec.to_builtins(training.trained(logs, gold)))
    assert set(links(training.decided(again, logs, gold))) == set(
        links(training.decided(linear(), logs, gold))
    )


# How much the pairing of threads changes when the logs are parted otherwise.
NOISE = 0.005


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
