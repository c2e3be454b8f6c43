"""Classifiers that thread messages: each says of a message which earlier one it answers.

- `linear`: a small model with weights that come with the package; the default.
- `rule`: a hand rule, which explains itself.
- `source`: the platform's own word.
- `judged`: any function of yours: a language model, embeddings.

They are pure: what they say of a message depends on it and on what was said before, and on nothing
else. `linear` and `rule` depend on the last messages alone: fed with the last `REMEMBERED` of a
channel, a new decider decides like one that saw all. They go by texts, names and times, and not by
what the platform says: that is for `source`, which may be asked first.

Modules, from the ground up: `reading` (what a text says), `history` (what is kept), `rule`,
`features`, `linear`; `source` and `judge` stand alone.
"""

from __future__ import annotations

from transit.chat.classifiers.history import REMEMBERED
from transit.chat.classifiers.judge import judged
from transit.chat.classifiers.linear import linear
from transit.chat.classifiers.rule import rule
from transit.chat.classifiers.source import source

__all__ = ["REMEMBERED", "judged", "linear", "rule", "source"]
