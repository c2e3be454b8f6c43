"""`transit proof`: what the store holds, shown to somebody who has no store; and checking that."""

from __future__ import annotations

import re

import click

from transit import Envelope, Policy, SplitViewError, check_pair
from transit.cli.failures import hinted
from transit.cli.opening import Session
from transit.cli.options import POSITION, STREAM, ParsedType, store_options
from transit.cli.positions import offset_in
from transit.cli.proofs_shown import check_any, shown_records
from transit.cli.trust import (
    NOTE_BYTES_MAX,
    facts_of,
    read_file,
    show,
    trust_options,
    write_new,
)
from transit.cli.values import Place

_RANGE = re.compile(r"([0-9]+):([0-9]*)", re.ASCII)


def _parse_range(text: str) -> tuple[int, int | None]:
    found = _RANGE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not FIRST:STOP, or FIRST: for all from there on")
    return int(found[1]), int(found[2]) if found[2] else None


RANGE = ParsedType("first:stop", _parse_range)

_checkpoint = click.option(
    "--checkpoint", "note", metavar="FILE", type=click.Path(),
    help="The checkpoint to stand on; else the newest of the store.",
)  # fmt: skip
_folder = click.option(
    "-o", "--output", "folder", metavar="FOLDER", required=True, type=click.Path(),
    help="A new or empty folder.",
)  # fmt: skip
_block = click.option(
    "--application-block", metavar="TEXT", help="A text of yours for the document; not proved."
)


@click.group()
def command() -> None:
    """Make proofs that need no store to be checked, and check them.

    A proof stands on a checkpoint, which `transit checkpoint` signs. Who checks it needs the proof
    and the vkey of a key that they trust: no store, no network, not even transit: HOW.txt in each
    proof says how standard tools do it.
    """


@command.command()
@click.argument("place", metavar="STREAM[@OFFSET[:STOP]]", type=POSITION)
@click.option("--records", type=RANGE, metavar="A:B", help="Those from A to before B, or A: all.")
@click.option("--end", is_flag=True, help="And that there were no more at the checkpoint.")
@_folder
@_checkpoint
@store_options
def make(
    context: Session,
    place: Place,
    records: tuple[int, int | None] | None,
    end: bool,
    folder: str,
    note: str | None,
) -> None:
    """Prove records of a stream, or where it comes from.

    Without OFFSET and --records only where it comes from is proved. The proof holds records of
    STREAM and of what it inherits from, and nothing else but ids, counts and digests of chunks
    beside them.
    """
    if place.stop is not None:
        if records is not None:
            raise click.UsageError("give STREAM@A:B or --records, not both")
        records = place.offset or 0, place.stop
    if records is not None and place.stop is None and place.offset is not None:
        raise click.UsageError("give STREAM@OFFSET or --records, not both")
    with context.open_read() as log:
        stream = log.stream(place.stream)
        offset = None
        if records is None and place.offset is not None:
            offset = offset_in(stream, place.offset)
        proof = log.prove(stream, offset, records=records, end=end, checkpoint=_note(note))
    proof.save(folder)
    shown = proof.shown
    facts: dict[str, object] = {
        "folder": folder,
        "stream": shown.stream,
        "uid": shown.uid,
        "records": list(shown.records) if not context.output.tables else
        f"{shown.records[0]}:{shown.records[1]}",
        "end": shown.end,
        "origin": shown.checkpoint.origin,
        "size": shown.checkpoint.size,
        "files": len(proof),
        "bytes": sum(map(len, proof.values())),
    }  # fmt: skip
    show(context.output, facts)


@command.command()
@click.argument("place", metavar="FOLDER|FILE", type=click.Path())
@trust_options
@click.option("--old", metavar="FILE", help="Of a proof of growth: the older checkpoint.")
@click.option("--records", is_flag=True, help="Also print the records that are shown, as JSON.")
@store_options
def check(context: Session, place: str, policy: Policy, old: str | None, records: bool) -> None:
    """Check a proof, an exhibit or a checkpoint.

    Also a proof of growth, and the documents of `finality` and `fork-choice`. Needs no store
    and no network. Prints what is shown and who vouches for it, and what is not shown; ends
    with 14 when anything does not hold.
    """
    older = None if old is None else read_file(old, NOTE_BYTES_MAX)
    checked = check_any(place, policy, older)
    if records and checked.proof is None:
        raise click.UsageError("--records is for proofs of records")
    show(context.output, checked.facts(people=context.output.tables))
    if records and checked.proof is not None:
        shown_records(context.output, checked.proof)


@command.command()
@click.argument("old", type=click.Path())
@click.argument("new", required=False, type=click.Path())
@click.option(
    "-o", "--output", "file", metavar="FILE", required=True, type=click.Path(), help="A new file."
)
@store_options
def growth(context: Session, old: str, new: str | None, file: str) -> None:
    """Prove that a checkpoint grew from an older one.

    That is: what OLD covers is the beginning of what NEW covers.

    OLD and NEW are files with checkpoints of this store; NEW: else the newest. `transit proof check
    FILE --old OLD` checks it.
    """
    with context.open_read() as log:
        data = log.prove_growth(read_file(old, NOTE_BYTES_MAX), _note(new))
    write_new(file, data)
    show(context.output, {"file": file, "bytes": len(data)})


@command.command()
@click.argument("first", type=click.Path())
@click.argument("second", type=click.Path())
@trust_options
@store_options
def pair(context: Session, first: str, second: str, policy: Policy) -> None:
    """Compare the checkpoints that two people were given.

    Two that are over as many commits, but not the same ones, are a split view: keep both files,
    they are the evidence; ends with 14.
    """
    notes = read_file(first, NOTE_BYTES_MAX), read_file(second, NOTE_BYTES_MAX)
    with hinted(SplitViewError, "keep both files: signed by one key, they are the evidence"):
        one, other = check_pair(notes[0], notes[1], policy=policy)
    same = one.checkpoint == other.checkpoint
    said = (
        "one history: both checkpoints are over the same commits"
        if same
        else "not decided: the sizes differ. `transit proof growth` shows that one grew from the"
        " other, if it did"
    )
    facts = [facts_of(each) for each in (one, other)]
    show(
        context.output,
        {"says": said, "same": same, "origin": one.checkpoint.origin,
         "sizes": [each["size"] for each in facts], "roots": [each["root"] for each in facts]},
    )  # fmt: skip


@command.command()
@click.argument("stream", type=STREAM)
@click.option(
    "--kind", type=click.Choice(("finality", "published-result")), default="finality",
    show_default=True,
)  # fmt: skip
@_block
@_folder
@_checkpoint
@store_options
def finality(
    context: Session, stream: str, kind: str, application_block: str | None, folder: str,
    note: str | None,
) -> None:  # fmt: skip
    """Say where a stream ended, with its proof.

    Makes a transit.finality.v1 document. Who checks it needs a policy with a witness that
    cosigned the checkpoint.
    """
    with context.open_read() as log:
        envelope = log.prove_finality(
            stream, checkpoint_kind=kind, application_block=application_block,
            checkpoint=_note(note),
        )  # fmt: skip
    envelope.save(folder)
    show(context.output, {"folder": folder, **_envelope_facts(envelope.envelope)})


@command.command("fork-choice")
@click.argument("stream", type=STREAM)
@click.option(
    "--kind", type=click.Choice(("fork-choice", "reorg-selection")), default="fork-choice",
    show_default=True,
)  # fmt: skip
@_block
@_folder
@_checkpoint
@store_options
def fork_choice(
    context: Session, stream: str, kind: str, application_block: str | None, folder: str,
    note: str | None,
) -> None:  # fmt: skip
    """Say which head a merge chose, with proofs.

    Makes a transit.fork-choice.v1 document. STREAM is a merge by "select"; the heads that it
    chose from must have stayed as they were.
    """
    with context.open_read() as log:
        envelope = log.prove_fork_choice(
            stream, checkpoint_kind=kind, application_block=application_block,
            checkpoint=_note(note),
        )  # fmt: skip
    envelope.save(folder)
    show(context.output, {"folder": folder, **_envelope_facts(envelope.envelope)})


def _envelope_facts(envelope: Envelope) -> dict[str, object]:
    heads = [f"{each.stream_id}@{each.offset} {each.role}" for each in envelope.parent_heads]
    return {
        "proof_kind": envelope.proof_kind,
        "stream": envelope.stream,
        "head_offset": envelope.head_offset,
        "parent_heads": heads,
        "origin": envelope.origin,
        "size": envelope.checkpoint_size,
    }


def _note(file: str | None) -> bytes | None:
    return None if file is None else read_file(file, NOTE_BYTES_MAX)
