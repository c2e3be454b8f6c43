"""What one message says, as far as threading needs it: read from its text, and who is named in it.

Owns words, openings and the names at a message's ends. It keeps nothing. What it reads of a message
is bounded: a text of any size costs no more than its first `TEXT_MAX` characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import msgspec

from transit.chat.classifying import Said

TEXT_MAX: Final = 1_000
WORDS_MAX: Final = 40
# Shorter names are too often words.
NAME_MIN: Final = 3

_WORD: Final = re.compile(r"[^\W_]{2,24}")
_BOT: Final = re.compile(r"bot\d*_*$|^u?bott?u|bot[^a-z]")
_MARKS: Final = "@:,;.!?<>()[]{}\"'*~|`-"


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_ASKING: Final = _set(
    "how what why where when who which whats hows can could does do did is are has have should "
    "would will any anyone anybody someone somebody"
)
_ALL: Final = _set("anyone anybody someone somebody everyone everybody all guys folks")
_OPENINGS: Final = {
    word: opening
    for opening, words in {
        "greeting": "hi hello hey hiya howdy greetings morning evening yo hola heya hullo hai",
        "thanks": "thanks thank thx ty thankyou cheers tnx",
        "agreement": "yes no yeah yep yup nope nah ok okay k right sure true correct ah oh hmm "
        "cool great nice lol haha hehe good sorry indeed exactly well aha ahh ohh hm heh",
        "further": "and but or so then because it its that thats this also maybe just not if "
        "which they he she there you your",
    }.items()
    for word in words.split()
}
_NO_NAMES: Final = frozenset(_OPENINGS) | _ASKING | _ALL | {"the", "for", "with", "from"}


class Line(msgspec.Struct, gc=False):
    """A message as the classifiers here see it.

    number: its place among all that a decider saw. target: whom it addresses, None: nobody who is
    known; stranger: it addresses a name that nobody has. mentioned: all who are named in it.
    names: what its author is called. size: how many words it has. first: its author said nothing
    before. partner: whom the author seems to talk with, addressed or not. answers: the number of
    the message that it seems to answer at first sight, -1: none. traits: features, once found.
    """

    number: int
    offset: int
    author: str
    minutes: float
    names: tuple[str, ...] = ()
    system: bool = False
    target: str | None = None
    stranger: bool = False
    mentioned: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    size: int = 0
    question: bool = False
    asks_all: bool = False
    opening: str = ""
    command: bool = False
    bot: bool = False
    first: bool = False
    partner: str | None = None
    answers: int = -1
    traits: int = 0


def read(said: Said, number: int, known: Callable[[str], str | None]) -> Line:
    """What `said` says; `known`: who has a name, written small."""
    minutes = said.time / 60e9
    if said.system:
        return Line(number, said.offset, said.author, minutes, system=True)
    text = said.text[:TEXT_MAX].casefold()
    tokens = text.split()
    words = _WORD.findall(text)
    line = Line(
        number,
        said.offset,
        said.author,
        minutes,
        names=_names(said),
        words=frozenset(words[:WORDS_MAX]),
        size=len(tokens),
        question="?" in text or (bool(words) and words[0] in _ASKING),
        asks_all=not _ALL.isdisjoint(words[:12]),
        command=text.startswith("!"),
        bot=_BOT.search(said.name[:64].casefold()) is not None,
    )
    _address(line, tokens, known)
    rest = words[1:] if line.target is not None and words else words
    line.opening = next(
        (_OPENINGS[word] for word in (*words[:1], *rest[:1]) if word in _OPENINGS), ""
    )
    return line


def _names(said: Said) -> tuple[str, ...]:
    name, author = said.name[:64].casefold(), said.author[:64].casefold()
    return tuple({name: 0, author: 0, name.split(" ")[0]: 0})


def _address(line: Line, tokens: list[str], known: Callable[[str], str | None]) -> None:
    """Who is addressed: a name at the start, or the only name, at the end."""
    found: list[tuple[int, str]] = []
    for place, token in enumerate(tokens[:100]):
        who = _named(token, known)
        if who is not None and who != line.author:
            found.append((place, who))
    line.mentioned = frozenset(who for _, who in found)
    if found:
        place, who = found[0]
        opened = place == 1 and tokens[0].strip(_MARKS) in _OPENINGS
        alone_at_end = len(line.mentioned) == 1 and found[-1][0] == len(tokens) - 1
        if place == 0 or opened or alone_at_end:
            line.target = who
    elif len(tokens) > 1:
        line.stranger = tokens[0][-1] == ":" and len(tokens[0]) > NAME_MIN


def _named(token: str, known: Callable[[str], str | None]) -> str | None:
    """Whom a token names: as it stands, or without the marks around it."""
    bare = token.rstrip(":,;.!?>)")
    marked = bare != token or token[0] in "@<"
    for name in (bare, token.strip(_MARKS)):
        if len(name) >= (2 if marked else NAME_MIN) and (marked or name not in _NO_NAMES):
            who = known(name)
            if who is not None:
                return who
    return None
