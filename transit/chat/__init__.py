"""transit.chat: channels, messages, threads; people and agents talking.

    from transit import chat

    dev = chat.channel(log, "dev")
    asked = dev.post("ada", "why does the wheel not build?")
    for decision in chat.threading(dev).run():
        print(decision.message, "answers", decision.parent)
    dev.threads().of(asked).reply("bob", "which python?")

Messages are records of a channel, a stream; nothing moves or rewrites them. Which thread one is in
is decided beside them, by classifiers and by people, in records that say who, why and how surely.
Names are loaded when they are first asked for.

records       kinds, headers and payloads; naming: streams beside a channel
posts         what is posted; identities, once: the same message twice
index         what is known of a channel's records; messages: as they are shown
folding       which thread each message is in; talks, threads: looked at, and overridden
verdicts      decisions and overrides as they are read
classifying   what classifiers see and say; classifiers: those that are there
deciding      running one; policies: which; adopting: putting another run in force
scoring       how close two threadings are; comparing: of channels
freezing      a thread as a stream that any auditor can check
marking       what each reader has seen
opening       channels, opened or made: all of it together
imports       what other systems export; importing: into channels; known: what is there of them
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transit.chat.classifiers import judged, linear, rule, source
    from transit.chat.classifying import Candidate, Classifier, Decider, Ranking, Said
    from transit.chat.comparing import Comparison, compare
    from transit.chat.deciding import Threading, threading
    from transit.chat.freezing import read_frozen
    from transit.chat.importing import Imported, import_chat
    from transit.chat.marking import Reader, readers
    from transit.chat.messages import Edit, Message
    from transit.chat.opening import Channel, channel, channels
    from transit.chat.policies import ChannelPolicy
    from transit.chat.scoring import Score
    from transit.chat.talks import Head, Summary
    from transit.chat.threads import Thread, Threads
    from transit.chat.verdicts import Decision, Override

_HOMES = {
    "policies": ("ChannelPolicy",),
    "opening": ("Channel", "channel", "channels"),
    "classifiers": ("judged", "linear", "rule", "source"),
    "classifying": ("Candidate", "Classifier", "Decider", "Ranking", "Said"),
    "comparing": ("Comparison", "compare"),
    "deciding": ("Threading", "threading"),
    "freezing": ("read_frozen",),
    "importing": ("Imported", "import_chat"),
    "messages": ("Edit", "Message"),
    "marking": ("Reader", "readers"),
    "scoring": ("Score",),
    "talks": ("Head", "Summary"),
    "threads": ("Thread", "Threads"),
    "verdicts": ("Decision", "Override"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """The public name `name`, from the module that has it."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)


__all__ = [
    "Candidate",
    "Channel",
    "ChannelPolicy",
    "Classifier",
    "Comparison",
    "Decider",
    "Decision",
    "Edit",
    "Head",
    "Imported",
    "Message",
    "Override",
    "Ranking",
    "Reader",
    "Said",
    "Score",
    "Summary",
    "Thread",
    "Threading",
    "Threads",
    "channel",
    "channels",
    "compare",
    "import_chat",
    "judged",
    "linear",
    "read_frozen",
    "readers",
    "rule",
    "source",
    "threading",
]
