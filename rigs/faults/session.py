"""The scripted session that system calls fail under: a real process that goes on after errors.

It does the steps of one plan (`rigs.crash.histories`), and says what it tries, what was
acknowledged and which errors came, one JSON document a datagram, into a socket: no system call that
it makes for itself is one that is made to fail.
"""

from __future__ import annotations

import socket
import sys
import traceback
from pathlib import Path

import msgspec

from rigs.crash.histories import HISTORIES
from rigs.crash.steps import Session, Step
from rigs.plants import plant
from transit.errors import OutcomeUnknownError, TransitError
from transit.format.digest import digest


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing a session says about step number `step`.

    what: "tried", "done", "error" (an error of transit), "wrong" (any other) or "end".
    level: of "done", 0 "memory" to 3 "tiered"; -1 for what promises nothing.
    receipts: (stream, offset of the first record, digests of the payloads).
    """

    what: str
    step: int = -1
    level: int = -1
    receipts: tuple[tuple[str, int, tuple[str, ...]], ...] = ()
    error: str = ""
    text: str = ""
    in_doubt: tuple[tuple[str, int, int], ...] = ()


def receipts_of(session: Session, step: Step) -> tuple[tuple[str, int, tuple[str, ...]], ...]:
    """What the receipts of a step say, each with the digests of its payloads."""
    payloads = [payload for _, payload in step.adds.records]
    found = []
    for receipt in session.receipts:
        taken, payloads = payloads[: receipt.count], payloads[receipt.count :]
        digests = tuple(digest(payload).hex() for payload in taken)
        found.append((receipt.stream, receipt.offset, digests))
    session.receipts.clear()
    return tuple(found)


def run(step: Step, number: int, session: Session) -> Said:
    """Do one step; what came of it."""
    try:
        level = step.run(session)
    except TransitError as error:
        doubt = error.in_doubt if isinstance(error, OutcomeUnknownError) else ()
        session.submitted.clear()
        return Said("error", number, error=type(error).__name__, text=str(error), in_doubt=doubt)
    except Exception:
        return Said("wrong", number, text=traceback.format_exc())
    return Said("done", number, -1 if level is None else level, receipts_of(session, step))


def main(root: str, name: str, seed: str, planted: str, fd: str) -> None:
    """Be the session of history `name`, which has one process."""
    if planted:
        plant(planted)
    mouth = socket.socket(fileno=int(fd))
    session = Session(Path(root))
    for number, step in enumerate(HISTORIES[name](int(seed)).lives[0][0]):
        mouth.send(msgspec.json.encode(Said("tried", number)))
        said = run(step, number, session)
        mouth.send(msgspec.json.encode(said))
        if session.store is None:
            break
    mouth.send(msgspec.json.encode(Said("end")))


if __name__ == "__main__":
    main(*sys.argv[1:])
