"""What each process in a room does, and what it says of it.

A process is started as `python -m rigs.chat.roles ROLE FOLDER NAME COUNT SEED`. It prints a line
for each thing once it is acknowledged, and a last line, `done`, when it ends by itself.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from contextlib import suppress

import transit
from rigs.chat.last import Last
from transit import chat

CHANNEL = "room"
SHARED_EACH = 4
"""Every so many posts one has an id that others post too."""


def message_id(name: str, number: int) -> str:
    """The id of a message: each fourth is posted by all posters, with the same text."""
    return f"all/{number}" if number % SHARED_EACH == 0 else f"{name}/{number}"


def author_of(message: str) -> str:
    """Who is said to have written a message, whoever posts it."""
    return message.partition("/")[0]


def post(log: transit.Log, name: str, count: int, lot: random.Random) -> None:
    """Post `count` messages in order; those that are there are posted again, which is harmless."""
    channel = chat.channel(log, CHANNEL)
    for number in range(count):
        message = message_id(name, number)
        receipt = channel.post(author_of(message), f"{message} says", id=message)
        say("posted", message, receipt.offset)
        if lot.random() < 0.05:
            again = channel.post(author_of(message), f"{message} says", id=message)
            say("posted", message, again.offset)


def reply(log: transit.Log, name: str, count: int, lot: random.Random) -> None:
    """Reply in threads at random."""
    channel = chat.channel(log, CHANNEL)
    for number in range(count):
        size = channel.stream.next_offset
        if not size:
            continue
        with suppress(transit.NotFoundError, transit.InvalidInputError):
            thread = channel.threads().of(lot.randrange(size))
            message = f"{name}/{number}"
            receipt = thread.reply(name, message, id=message)
            say("replied", message, f"{receipt.stream}@{receipt.offset}")


def decide(log: transit.Log, name: str, count: int, lot: random.Random) -> None:
    """Run the classifier until so many decisions were made, or nothing comes for long."""
    channel = chat.channel(log, CHANNEL)
    for decision in chat.threading(channel, classifier=Last()).run(follow=True, timeout=2):
        say("decided", decision.message, decision.position.offset)


def override(log: transit.Log, name: str, count: int, lot: random.Random) -> None:
    """Say of messages at random what they answer."""
    channel = chat.channel(log, CHANNEL)
    for _ in range(count):
        size = channel.stream.next_offset
        with suppress(transit.NotFoundError, transit.InvalidInputError):
            message = lot.randrange(max(1, size))
            parent = None if not message or lot.random() < 0.3 else lot.randrange(message)
            channel.override(message, parent=parent, by=name)
            say("overridden", message, parent)


def adopt(log: transit.Log, name: str, count: int, lot: random.Random) -> None:
    """Run it all again and adopt that, again and again."""
    channel = chat.channel(log, CHANNEL)
    for number in range(count):
        again = f"{name}/{number}/{lot.random()}"
        run = chat.threading(channel, classifier=Last()).rerun(name=again)
        for _ in run.run():
            pass
        with suppress(transit.ConflictError):
            made = channel.adopt(run, by=name)
            say("adopted", made.name, run.threads.writable().name)


ROLES = {"post": post, "reply": reply, "decide": decide, "override": override, "adopt": adopt}


def say(what: str, *values: object) -> None:
    """One line, at once."""
    sys.stdout.write(" ".join([what, *map(str, values)]) + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> None:
    """Play a role."""
    role, folder, name, count, seed = arguments
    with transit.open(folder, mode="shared", durability="os") as log:
        ROLES[role](log, name, int(count), random.Random(f"{seed} {name}"))
    say("done")


if __name__ == "__main__":
    main(sys.argv[1:])
