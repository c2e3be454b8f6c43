"""Find the weights of the linear classifier from ten annotated logs, and write them.

    python scripts/train_threads.py [--cross-validate] [--data FOLDER] [--write FILE]

A message's gold parents should have a large share, and so should all messages of its gold thread:
the loss of a message is -(1 - T) log(share of parents) - T log(share of the thread), and half the
sum of squared weights times L is added. L-BFGS goes down from zero, so nothing is random but how
the logs are parted. Features that fewer than `RARE` messages have keep weight 0. Standard library
and the package alone; nothing but these logs has part in the weights.

`--cross-validate` trains on four fifths of the logs and scores the rest, five times, and prints
the measures of the rule on the same logs beside it. Figures depend on how the logs are parted:
`--partings` does it again with other seeds, and adds the mean.
"""

from __future__ import annotations

import argparse
import math
import random
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from transit.chat.classifiers import features as known
from transit.chat.classifiers import linear, rule
from transit.chat.classifiers.linear import Weights
from transit.chat.classifying import Classifier, Said
from transit.chat.scoring import Link, read_annotations, score

ROOT: Final = Path(__file__).resolve().parents[1]
DATA: Final = ROOT.parent / "shared" / "data" / "irc"
WEIGHTS: Final = ROOT / "transit" / "chat" / "classifiers" / "weights.json"
VERSION: Final = "1"
ATTRIBUTION: Final = (
    "Weights derive from jkkummerfeld/irc-disentanglement, CC-BY-4.0, Kummerfeld et al., ACL 2019"
)
SEED: Final = 2019
FOLDS: Final = 5
BINS: Final = 10
PENALTY: Final = 3.0
OF_THREAD: Final = 0.8
RARE: Final = 40
ROUNDS_MAX: Final = 80
DIGITS: Final = 3

_TALK: Final = re.compile(r"\[(\d\d):(\d\d)\] (?:<([^>\s]+)>| ?\* (\S+)) ?(.*)", re.DOTALL)
_PLATFORM: Final = re.compile(
    r"=== \S+ +(\[.*\] +)?"
    r"(has (joined|left|quit)|is now known as|sets mode|was kicked|changes topic)"
)

Vector = list[float]


# ---- logs ----------------------------------------------------------------------------------------


def read_log(path: Path) -> list[Said]:
    """The lines of a log as messages; their offsets are the numbers of the lines."""
    found: list[Said] = []
    days = minutes = 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        talk = _TALK.match(line)
        author = text = ""
        if talk:
            now = 60 * int(talk[1]) + int(talk[2]) + days
            # The clock goes back by a day at midnight, and by a little where lines are late.
            if now < minutes - 720:
                days += 1440
                now += 1440
            minutes = max(minutes, now)
            author, text = talk[3] or talk[4], talk[5]
        elif line.startswith("=== ") and not _PLATFORM.match(line):
            author, _, text = line[4:].partition(" ")
        system = not author
        time = minutes * 60_000_000_000
        found.append(Said(number, author, author, text or line, time, system=system))
    return found


def read_logs(folder: Path = DATA) -> dict[str, list[Said]]:
    """All logs of a folder by name."""
    paths = sorted(folder.glob("*.ascii.txt"))
    return {path.name.split(".")[0]: read_log(path) for path in paths}


# ---- examples ------------------------------------------------------------------------------------

# Where each weight is in the vector: starts, then columns of any relation, then those of each.
_ANY: Final = len(known.STARTS)
_RELATED: Final = _ANY + len(known.COLUMNS)
SIZE: Final = _RELATED + len(known.RELATION) * len(known.RELATED)


@dataclass
class Example:
    """A message: its choices as numbers of pieces, which of them are gold, and which in its thread.

    The first choice is that it starts a thread.
    """

    choices: list[tuple[int, ...]]
    gold: list[int]
    thread: list[int]


@dataclass
class Pieces:
    """Sets of features that choices are made of: each is summed once a round."""

    numbers: dict[tuple[object, ...], int] = field(default_factory=dict)
    features: list[list[int]] = field(default_factory=list)

    def number(self, key: tuple[object, ...], features: Iterator[int]) -> int:
        """The number of a piece."""
        if key not in self.numbers:
            self.numbers[key] = len(self.features)
            self.features.append(list(features))
        return self.numbers[key]

    def start(self, message: int) -> tuple[int, ...]:
        """The piece of the choice that a message starts a thread."""
        bits = known.bits_of(known.MESSAGE)
        there = {name for name, bit in bits.items() if message & bit} | {""}
        features = (place for place, names in enumerate(known.STARTS) if there.issuperset(names))
        return (self.number(("start", message), features),)

    def candidate(self, message: int, sight: known.Sight) -> tuple[int, ...]:
        """The pieces of the choice that a message answers a candidate."""
        related = _RELATED + sight.relation * len(known.RELATED)
        bits = known.bits_of(known.MESSAGE)
        weighing = related + 1 + len(known.COLUMNS)
        own = [related] + [
            weighing + place for place, name in enumerate(known.WEIGHING) if message & bits[name]
        ]
        first = 0
        keys: list[tuple[tuple[object, ...], list[int]]] = [
            (("message", sight.relation, message), own)
        ]
        for kind, columns, there in (
            ("candidate", len(known.CANDIDATE), _ones(sight.candidate)),
            ("between", len(known.BETWEEN), _ones(sight.between)),
            ("steps", len(known.STEPS), list(range(sight.steps))),
            ("minutes", len(known.MINUTES), list(range(sight.minutes))),
        ):
            both = [place for n in there for place in (_ANY + first + n, related + 1 + first + n)]
            keys.append(((kind, sight.relation, tuple(there)), both))
            first += columns
        return tuple(self.number(key, iter(features)) for key, features in keys)


def _ones(bits: int) -> list[int]:
    return [place for place in range(bits.bit_length()) if bits >> place & 1]


def examples(said: Sequence[Said], links: set[Link], pieces: Pieces) -> Iterator[Example]:
    """The messages of a log that people annotated, but for those whose parent is out of reach."""
    watch = known.Watch()
    gold: dict[int, set[int | None]] = {}
    for child, parent in links:
        gold.setdefault(child, set()).add(parent)
    threads = _threads(links)
    for each in said:
        if each.offset in gold and not each.system:
            line = watch.read(each)
            message = watch.message(line)
            sights = list(watch.sights(line))
            offsets = [each.offset, *(sight.offset for sight in sights)]
            own = threads[each.offset]
            right = [n for n, offset in enumerate(offsets) if offset in gold[each.offset]]
            beside = [n for n, offset in enumerate(offsets) if n and threads.get(offset) == own]
            choices = [pieces.start(message), *(pieces.candidate(message, s) for s in sights)]
            if right:
                yield Example(choices, right, sorted({*right, *beside}))
        watch.see(each)


def _threads(links: set[Link]) -> dict[int, int]:
    """The thread of each message as a number: that of the earliest message, in order of links."""
    found: dict[int, int] = {}
    for child, parent in sorted((child, parent or 0) for child, parent in links):
        thread = found.setdefault(parent, parent)
        old = found.get(child, thread)
        for number, other in list(found.items()):
            if other == old:
                found[number] = thread
        found[child] = thread
    return found


# ---- training ------------------------------------------------------------------------------------


def loss(
    weights: Vector, examples: Sequence[Example], pieces: Pieces, kept: Sequence[bool]
) -> tuple[float, Vector]:
    """The loss and its gradient."""
    sums = [sum([weights[place] for place in features]) for features in pieces.features]
    slopes = [0.0] * len(sums)
    total = 0.0
    for each in examples:
        scores = [sum([sums[piece] for piece in choice]) for choice in each.choices]
        highest = max(scores)
        powers = [math.exp(score - highest) for score in scores]
        whole = sum(powers)
        rest = [power / whole for power in powers]
        total += math.log(whole)
        for right, share in ((each.gold, 1 - OF_THREAD), (each.thread, OF_THREAD)):
            part = sum([powers[n] for n in right])
            total -= share * math.log(part)
            for n in right:
                rest[n] -= share * powers[n] / part
        for choice, slope in zip(each.choices, rest, strict=True):
            for piece in choice:
                slopes[piece] += slope
    gradient = [PENALTY * weight for weight in weights]
    for features, slope in zip(pieces.features, slopes, strict=True):
        for place in features:
            gradient[place] += slope
    gradient = [slope if keep else 0.0 for slope, keep in zip(gradient, kept, strict=True)]
    return total + PENALTY / 2 * _dot(weights, weights), gradient


def train(examples: Sequence[Example], pieces: Pieces) -> Vector:
    """The weights of the lowest loss: L-BFGS with ten steps of memory."""
    kept = _frequent(examples, pieces)
    weights = [0.0] * SIZE
    value, gradient = loss(weights, examples, pieces, kept)
    memory: list[tuple[Vector, Vector, float]] = []
    for _ in range(ROUNDS_MAX):
        way = _direction(gradient, memory)
        slope, step = _dot(way, gradient), 1.0
        while True:
            there = [weight + step * each for weight, each in zip(weights, way, strict=True)]
            lower, steeper = loss(there, examples, pieces, kept)
            if lower <= value + 1e-4 * step * slope or step < 1e-6:
                break
            step /= 2
        moved = [step * each for each in way]
        turned = [a - b for a, b in zip(steeper, gradient, strict=True)]
        bend = _dot(moved, turned)
        if bend > 1e-10:
            memory = [*memory[-9:], (moved, turned, bend)]
        done = value - lower < 1e-6 * value
        weights, value, gradient = there, lower, steeper
        if done:
            break
    return weights


def _direction(gradient: Vector, memory: Sequence[tuple[Vector, Vector, float]]) -> Vector:
    way = gradient
    shares = []
    for moved, turned, bend in reversed(memory):
        share = _dot(moved, way) / bend
        shares.append(share)
        way = [a - share * b for a, b in zip(way, turned, strict=True)]
    if memory:
        _, turned, bend = memory[-1]
        scale = bend / _dot(turned, turned)
    else:
        scale = 1 / max(1.0, math.sqrt(_dot(gradient, gradient)))
    way = [scale * each for each in way]
    for (moved, turned, bend), share in zip(memory, reversed(shares), strict=True):
        more = share - _dot(turned, way) / bend
        way = [a + more * b for a, b in zip(way, moved, strict=True)]
    return [-each for each in way]


def _dot(a: Vector, b: Vector) -> float:
    return sum([x * y for x, y in zip(a, b, strict=True)])


def _frequent(examples: Sequence[Example], pieces: Pieces) -> list[bool]:
    counts = [0] * SIZE
    for each in examples:
        used = {piece for choice in each.choices for piece in choice}
        for place in {place for piece in used for place in pieces.features[piece]}:
            counts[place] += 1
    return [count >= RARE or place < _ANY for place, count in enumerate(counts)]


def as_file(weights: Vector) -> Weights:
    """The weights as they are written, rounded."""
    rounded = [round(each, DIGITS) + 0.0 for each in weights]
    count = len(known.RELATED)
    return Weights(
        version=VERSION,
        attribution=ATTRIBUTION,
        starts={
            " & ".join(names): rounded[place]
            for place, names in enumerate(known.STARTS)
            if rounded[place]
        },
        columns=known.COLUMNS,
        weighing=known.WEIGHING,
        any=tuple(rounded[_ANY:_RELATED]),
        relations={
            name: tuple(rounded[_RELATED + n * count : _RELATED + (n + 1) * count])
            for n, name in enumerate(known.RELATION)
        },
    )


def trained(logs: dict[str, list[Said]], gold: dict[str, set[Link]]) -> Weights:
    """The weights that these logs give."""
    pieces = Pieces()
    found = [each for log in sorted(logs) for each in examples(logs[log], gold[log], pieces)]
    return as_file(train(found, pieces))


# ---- judging -------------------------------------------------------------------------------------


@dataclass
class Decided:
    """What a classifier decided of the annotated messages: links, and (score, right) of each."""

    links: dict[str, set[Link]] = field(default_factory=dict)
    scores: list[tuple[float, bool]] = field(default_factory=list)

    def add(self, other: Decided) -> None:
        """What was decided of other logs, too."""
        self.links |= other.links
        self.scores += other.scores

    @property
    def calibration_error(self) -> float:
        """How far scores are from how often they are right, over ten bins."""
        bins: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
        for scored, right in self.scores:
            bins[min(BINS - 1, int(scored * BINS))].append((scored, right))
        apart = sum(abs(sum(scored - right for scored, right in each)) for each in bins)
        return apart / len(self.scores)


def decided(
    classifier: Classifier, logs: dict[str, list[Said]], gold: dict[str, set[Link]]
) -> Decided:
    """What a classifier decides of logs, message by message; platform lines are not calibrated."""
    found = Decided()
    for log, said in logs.items():
        decider = classifier.decider()
        wanted = {link.child for link in gold[log]}
        links = found.links[log] = set()
        for each in said:
            if each.offset in wanted:
                parent, scored = decider.decide(each)[0]
                link = Link(each.offset, each.offset if parent is None else parent)
                links.add(link)
                if not each.system:
                    found.scores.append((scored, link in gold[log]))
            decider.see(each)
    return found


def folds(logs: Sequence[str], seed: int = SEED) -> list[list[str]]:
    """The logs in five parts."""
    order = sorted(logs)
    random.Random(seed).shuffle(order)
    return [sorted(order[n::FOLDS]) for n in range(FOLDS)]


def cross_validated(
    logs: dict[str, list[Said]], gold: dict[str, set[Link]], seed: int = SEED
) -> Decided:
    """What linear models decide of logs that they were not trained on."""
    found = Decided()
    for fold in folds(list(logs), seed):
        rest = {log: said for log, said in logs.items() if log not in fold}
        model = linear(msgspec.to_builtins(trained(rest, gold)))
        found.add(decided(model, {log: logs[log] for log in fold}, gold))
    return found


def measures(found: Decided, gold: dict[str, set[Link]]) -> Vector:
    """Link F1, VI, 1-1, exact F1 and the calibration error."""
    one = score(gold, found.links)
    return [one.link.f1, one.vi, one.one_to_one, one.exact.f1, found.calibration_error]


HEAD: Final = f"{'':24}{'link F1':>9}{'VI':>9}{'1-1':>9}{'exact F1':>9}{'calibration':>13}"


def shown(name: str, found: Vector) -> str:
    """A line of the table."""
    *figures, error = found
    return f"{name:24}" + "".join(f"{100 * each:9.1f}" for each in figures) + f"{error:13.3f}"


def _print_cross_validated(
    logs: dict[str, list[Said]], gold: dict[str, set[Link]], seed: int, partings: int
) -> None:
    found = []
    for own in range(seed, seed + partings):
        found.append(measures(cross_validated(logs, gold, own), gold))
        print(shown(f"linear, parted by {own}", found[-1]), flush=True)
    print(shown("linear, mean", [sum(each) / partings for each in zip(*found, strict=True)]))


def main() -> int:
    """The command."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    made.add_argument("--cross-validate", action="store_true", help="score it, and write nothing")
    made.add_argument("--data", type=Path, default=DATA, metavar="FOLDER", help="the logs")
    made.add_argument("--seed", type=int, default=SEED, help=f"of the folds ({SEED})")
    made.add_argument("--partings", type=int, default=1, metavar="N", help="cross-validations (1)")
    made.add_argument("--write", type=Path, default=WEIGHTS, metavar="FILE", help="the weights")
    arguments = made.parse_args()
    logs, gold = read_logs(arguments.data), read_annotations(arguments.data)
    if not logs or logs.keys() != gold.keys():
        print(f"no logs with annotations in {arguments.data}", file=sys.stderr)
        return 2
    print(f"seed {arguments.seed}")
    print(HEAD)
    print(shown("rule", measures(decided(rule(), logs, gold), gold)))
    if arguments.cross_validate:
        _print_cross_validated(logs, gold, arguments.seed, arguments.partings)
        return 0
    weights = trained(logs, gold)
    data = msgspec.json.encode(weights) + b"\n"
    arguments.write.write_bytes(data)
    found = decided(linear(arguments.write), logs, gold)
    print(shown("linear, in-sample", measures(found, gold)))
    print(f"{arguments.write}: {len(data)} bytes, digest {weights.digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
