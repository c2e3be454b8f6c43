"""How well and at what cost `transit.chat` threads messages: ten annotated logs of a help channel.

Measures are those of `transit.chat.scoring`, over all logs together, higher is better but for the
calibration error. "each alone" and "previous" need no classifier and are there for scale. The
linear model is scored on logs that it was not trained on, by five-fold cross-validation, and with
the weights that come with the package on the logs that those were trained on. CPU time is that of
deciding a message and seeing it, beside the same for "previous" in the same turn.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import process_time_ns
from typing import Final

import msgspec

from benchmarks.commandline import working_folder
from benchmarks.report import Machine, aligned, number, to_json
from scripts import train_threads as training
from transit.chat.classifiers import judged, linear, rule
from transit.chat.classifying import Candidate, Classifier, Ranking, Said
from transit.chat.scoring import Link, Score, read_annotations, score

TURNS: Final = 5
Logs = Mapping[str, Sequence[Said]]
SCORES_HEAD: Final = (
    "what", "link P", "R", "F1", "VI", "1-1", "exact P", "R", "F1", "calibration error",
    "threads/gold",
)  # fmt: skip
COSTS_HEAD: Final = ("what", "decide and see, µs", "× previous", "see alone, µs")


class Scored(msgspec.Struct, frozen=True):
    """What one way of threading scored; calibration_error: None where it gives no probabilities."""

    name: str
    score: Score
    calibration_error: float | None


class Cost(msgspec.Struct, frozen=True):
    """CPU time of a message, microseconds, medians of turns; ratio: to that of "previous"."""

    name: str
    decide_us: float
    see_us: float
    ratio: float


class Threads(msgspec.Struct, frozen=True):
    """Everything that is written as JSON."""

    machine: Machine
    turns: int
    seed: int
    scores: list[Scored]
    costs: list[Cost]


def _alone(said: Said, before: Sequence[Said]) -> Ranking:
    return [Candidate(None, 1.0)]


def _previous(said: Said, before: Sequence[Said]) -> Ranking:
    return [Candidate(before[-1].offset if before else None, 1.0)]


ALONE: Final = judged("each alone", "1", _alone, look_back=1)
PREVIOUS: Final = judged("previous", "1", _previous, look_back=1)


def scored(logs: dict[str, list[Said]], gold: dict[str, set[Link]], seed: int) -> list[Scored]:
    """All ways of threading; the linear model twice."""

    def of(name: str, found: training.Decided, probable: bool = True) -> Scored:
        error = found.calibration_error if probable else None
        return Scored(name, score(gold, found.links), error)

    def decided(classifier: Classifier) -> training.Decided:
        return training.decided(classifier, logs, gold)

    return [
        of(ALONE.name, decided(ALONE), probable=False),
        of(PREVIOUS.name, decided(PREVIOUS), probable=False),
        of("rule", decided(rule())),
        of("linear, cross-validated", training.cross_validated(logs, gold, seed)),
        of("linear, in-sample", decided(linear())),
    ]


def measured(logs: Logs, turns: int) -> list[Cost]:
    """What each classifier costs, in turns; the first turn warms up."""
    classifiers: list[Classifier] = [PREVIOUS, rule(), linear()]
    found: list[dict[str, tuple[float, float]]] = []
    for _ in range(turns + 1):
        found.append({each.name: (_decide(each, logs), _see(each, logs)) for each in classifiers})
    return [_cost(each.name, found[1:]) for each in classifiers]


def _cost(name: str, turns: Sequence[Mapping[str, tuple[float, float]]]) -> Cost:
    return Cost(
        name,
        statistics.median(turn[name][0] for turn in turns),
        statistics.median(turn[name][1] for turn in turns),
        statistics.median(turn[name][0] / turn[PREVIOUS.name][0] for turn in turns),
    )


def _decide(classifier: Classifier, logs: Logs) -> float:
    def run(said: Sequence[Said]) -> None:
        decider = classifier.decider()
        for each in said:
            decider.decide(each)
            decider.see(each)

    return _each_us(run, logs)


def _see(classifier: Classifier, logs: Logs) -> float:
    def run(said: Sequence[Said]) -> None:
        decider = classifier.decider()
        for each in said:
            decider.see(each)

    return _each_us(run, logs)


def _each_us(run: Callable[[Sequence[Said]], None], logs: Logs) -> float:
    gc.collect()
    begun = process_time_ns()
    for said in logs.values():
        run(said)
    return (process_time_ns() - begun) / 1e3 / sum(map(len, logs.values()))


def main() -> int:
    made = argparse.ArgumentParser(prog="python -m benchmarks.threads")
    made.add_argument("--runs", type=int, default=TURNS, help=f"turns of each ({TURNS})")
    made.add_argument("--seed", type=int, default=training.SEED, help="of the cross-validation")
    made.add_argument(
        "--data", type=Path, default=training.DATA, metavar="FOLDER", help="annotated logs"
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    made.add_argument("--path", default=".", metavar="FOLDER", help="work below it (.)")
    arguments = made.parse_args()
    logs, gold = training.read_logs(arguments.data), read_annotations(arguments.data)
    if not logs or logs.keys() != gold.keys():
        print(f"no logs with annotations in {arguments.data}", file=sys.stderr)
        return 1
    with working_folder(arguments.path) as (_, here):
        scores, costs = scored(logs, gold, arguments.seed), measured(logs, arguments.runs)
    if arguments.json is not None:
        found = Threads(here, arguments.runs, arguments.seed, scores, costs)
        arguments.json.write_bytes(to_json(found))
    print(f"{len(logs)} logs, {scores[0].score.messages} messages, seed {arguments.seed}\n")
    print(aligned([SCORES_HEAD, *map(_score_row, scores)]))
    print()
    print(aligned([COSTS_HEAD, *map(_cost_row, costs)]))
    return 0


def _score_row(row: Scored) -> tuple[str, ...]:
    link, exact = row.score.link, row.score.exact
    measures = (
        link.precision, link.recall, link.f1, row.score.vi, row.score.one_to_one,
        exact.precision, exact.recall, exact.f1,
    )  # fmt: skip
    return (
        row.name,
        *(f"{100 * each:.1f}" for each in measures),
        "-" if row.calibration_error is None else f"{row.calibration_error:.3f}",
        f"{row.score.threads_found}/{row.score.threads_gold}",
    )


def _cost_row(row: Cost) -> tuple[str, ...]:
    return (row.name, number(row.decide_us), number(row.ratio), number(row.see_us))


if __name__ == "__main__":
    sys.exit(main())
