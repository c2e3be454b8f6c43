"""What is written: seeded text of even size, and events like those of an agent at work.

The same seed gives the same bytes in every run and on every machine.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import accumulate, product

import msgspec

RECORD_BYTES = 256
EVENTS_A_BLOCK = 1_000
# So many different payloads that no block of a segment holds one of them twice.
_DIFFERENT = 4_099
_STEMS = """
accept add apply argument array assert assign async attribute await balance base batch bind block
branch bridge buffer build cache call cancel change channel check class clean client close collect
column command commit compare compile config connect context convert copy count cover create
cursor debug decode default delete deploy describe detail detect digest direct document drop edit
emit enable encode error escape event exact except execute expect export extend fail fetch field
file filter final find fix flag flush fold follow format forward frame function gather generate
handle hash head header history hold ignore import include index inherit input insert inspect
install issue item iterate join jump keep label layer leave level library limit line link list
load local lock log loop manage map mark match measure member memory merge message method migrate
miss model module monitor move name nest note number object offset open order output override
package page parameter parse pass patch path pattern pause plan point policy print process produce
profile project promise property prove publish pull push query queue raise range read rebase
receive record reduce refactor reference refuse register reject release remote remove rename
repair repeat replace report request resolve response restore result retry return review rewrite
root route run sample save scan schema scope search seal segment select send serial settle set
shape share shift show sign size skip slice solve sort source span split stack stage start state
step stop store stream string submit suggest switch symbol table tail target task test thread time
token trace track transfer tree trigger tuple type update upload validate value verify version
view wait walk watch wrap write yield
"""
_ENDINGS = ("", "s", "ed", "ing", "er", "able")
_WORDS = [stem + ending for ending, stem in product(_ENDINGS, _STEMS.split())]
# A few words make up most of a text, as in any language.
_WEIGHTS = list(accumulate(1 / place for place in range(2, len(_WORDS) + 2)))
_TOOLS = ("bash", "edit", "open", "search_dir", "search_file", "submit", "python", "web_fetch")


def text(rng: random.Random, words: int) -> str:
    """Words of `rng`'s choice."""
    return " ".join(rng.choices(_WORDS, cum_weights=_WEIGHTS, k=words))


def payloads(count: int, size: int = RECORD_BYTES) -> list[bytes]:
    """`count` payloads of `size` bytes of text each; a few thousand different ones in turn."""
    rng = random.Random("payloads")
    different = [
        text(rng, size // 4 + 1).encode().ljust(size)[:size] for _ in range(min(count, _DIFFERENT))
    ]
    whole, rest = divmod(count, len(different))
    return different * whole + different[:rest]


def event_blocks(count: int) -> Iterator[list[bytes]]:
    """`count` events as JSON, about 640 bytes each, in lists of at most EVENTS_A_BLOCK."""
    rng = random.Random("events")
    time_ns = 1_700_000_000_000_000_000
    for start in range(0, count, EVENTS_A_BLOCK):
        block = []
        for step in range(start, min(start + EVENTS_A_BLOCK, count)):
            time_ns += int(rng.expovariate(1 / 400e6))
            block.append(msgspec.json.encode(_event(rng, step, time_ns)))
        yield block


def _event(rng: random.Random, step: int, time_ns: int) -> dict[str, object]:
    tool = rng.choice(_TOOLS)
    path = "/".join(rng.choices(_WORDS, k=3)) + ".py"
    return {
        "id": f"{rng.getrandbits(128):032x}",
        "run": f"run-{step // 200:06d}",
        "step": step % 200,
        "time_ns": time_ns,
        "kind": "action" if step % 2 else "observation",
        "tool": tool,
        "args": {
            "path": path,
            "query": text(rng, 4),
            "options": {"limit": rng.randrange(10, 500), "recursive": rng.random() < 0.5},
        },
        "usage": {"in": rng.randrange(400, 30_000), "out": rng.randrange(10, 2_000)},
        "cost": round(rng.random() / 10, 6),
        "text": text(rng, rng.randrange(30, 68)),
    }


def random_payloads(count: int, size: int) -> Iterator[bytes]:
    """`count` payloads of `size` bytes that no compression makes smaller."""
    rng = random.Random("random")
    return (rng.randbytes(size) for _ in range(count))
