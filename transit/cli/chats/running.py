"""`transit chat run`, `rerun`, `runs` and `adopt`: classifiers at work on a channel."""

from __future__ import annotations

from collections.abc import Iterator

import click

from transit import ConflictError, Stream, chat
from transit.chat.naming import LAYER, reruns_prefix
from transit.cli.chats.classifiers import classifier_of, classifier_option, decide_at_option
from transit.cli.chats.conversations import counted, cut, one_line
from transit.cli.chats.places import (
    TEXT,
    by_option,
    channel_argument,
    channel_of,
    reason_option,
    who,
)
from transit.cli.chats.recorded import recorded, run_of
from transit.cli.chats.rows import Row, decision_row
from transit.cli.escapes import printable
from transit.cli.failures import hinted
from transit.cli.opening import Session
from transit.cli.options import DURATION, store_options
from transit.cli.output import Output

COLUMNS = ("run", "in_force", "classifier", "version", "decisions", "proposed", "threads", "behind")


@click.command()
@channel_argument
@classifier_option
@decide_at_option
@click.option("-f", "--follow", is_flag=True, help="Wait for more messages.")
@click.option("--timeout", type=DURATION, help="End after so long without one.")
@store_options
def run(
    context: Session,
    name: str,
    *,
    classifier: str | None,
    decide_at: float | None,
    follow: bool,
    timeout: float | None,
) -> None:
    """Let a classifier say who answers whom in CHANNEL.

    It looks at each message once, and goes on where the last run stopped. To have others post while
    it follows, give mode "shared" or a server's address.
    """
    if timeout is not None and not follow:
        raise click.UsageError("--timeout is for --follow")
    chosen = classifier_of(classifier)
    output = context.output
    with context.open_write(create=False) as log:
        channel = channel_of(log, name)
        running = chat.threading(channel, classifier=chosen, decide_at=decide_at)
        count, proposed = 0, 0
        for decision in running.run(follow=follow, timeout=timeout):
            _print(output, channel, decision)
            count, proposed = count + 1, proposed + (not decision.decided)
            if follow:
                output.flush()
        output.text(_summary(name, count, proposed))


@click.command()
@channel_argument
@classifier_option
@decide_at_option
@click.option("--name", "run_name", type=TEXT, metavar="RUN", help='Of the run; else "1", "2", ….')
@store_options
def rerun(
    context: Session,
    name: str,
    *,
    classifier: str | None,
    decide_at: float | None,
    run_name: str | None,
) -> None:
    """Run a classifier again, beside what is in force.

    Nothing changes until the run is adopted. A run that is there already goes on.
    """
    chosen = classifier_of(classifier)
    output = context.output
    with context.open_write(create=False) as log:
        channel = channel_of(log, name)
        running = chat.threading(channel, classifier=chosen, decide_at=decide_at)
        made = running.rerun(name=run_name)
        for _ in made.run():
            pass
        stream = made.threads.stream
        assert stream is not None
        row = _run_row(channel, stream, made.threads)
        output.row(row)
        called = row["run"]
        output.text(f"`transit chat compare {name} {called}` says what it would change")
        output.text(f"`transit chat adopt {name} {called} --by YOU` puts it in force")


@click.command()
@channel_argument
@store_options
def runs(context: Session, name: str) -> None:
    """List the runs of CHANNEL, first what is in force."""
    with context.open_read() as log:
        channel = channel_of(log, name)
        rows = list(_runs(channel))
    context.output.rows("", COLUMNS, rows)
    if not rows:
        context.output.text(f"no classifier ran: `transit chat run {name}`")


@click.command()
@channel_argument
@click.argument("run_name", metavar="RUN", type=TEXT)
@by_option
@reason_option
@store_options
def adopt(context: Session, name: str, run_name: str, by: str | None, reason: str) -> None:
    """Put RUN in force. What people said meanwhile stays, and beats it."""
    speaker = who(by)
    with context.open_write(create=False) as log:
        channel = channel_of(log, name)
        chosen = run_of(channel, run_name)
        with hinted(
            ConflictError, f"`transit chat rerun {name}` runs it again, over what is so now"
        ):
            stream = channel.adopt(chosen, by=speaker, reason=reason)
        threads = channel.threads()
        row = {
            "channel": name,
            "adopted": run_name,
            "by": speaker,
            "reason": reason,
            "stream": stream.name,
            "threads": sum(1 for _ in threads.all()),
        }
    context.output.row(row)


def _runs(channel: chat.Channel) -> Iterator[Row]:
    threads = channel.threads()
    if threads.stream is not None:
        yield _run_row(channel, threads.stream, threads)
    layer = channel.log.layer(LAYER)
    for stream in layer.streams(reruns_prefix(channel.stream.uid)):
        yield _run_row(channel, stream, chat.Threads(channel, stream).refresh())


def _run_row(channel: chat.Channel, stream: Stream, threads: chat.Threads) -> Row:
    name = stream.metadata.get("run")
    known = recorded(stream)
    decided = proposed = 0
    for offset in channel.index.messages(0):
        if threads.fold.evidence(offset) is not None:
            decided += 1
            proposed += not threads.fold.is_decided(offset)
    return {
        "run": name,
        "in_force": name is None,
        "classifier": known.name,
        "version": known.version,
        "digest": known.digest,
        "decisions": decided,
        "proposed": proposed,
        "threads": sum(1 for _ in threads.fold.roots()),
        "behind": sum(1 for _ in channel.index.messages(0)) - decided,
        "stream": stream.name,
    }


def _print(output: Output, channel: chat.Channel, decision: chat.Decision) -> None:
    if not output.tables:
        output.row(decision_row(decision))
        return
    parent = "starts" if decision.parent is None else f"→ {decision.parent}"
    score = output.style(f"{decision.score:.2f}", fg="green" if decision.decided else "yellow")
    mark = " " if decision.decided else "?"
    message = channel.message(decision.message)
    who = cut(printable(message.name), 14)
    output.line(
        f"{decision.message:>6} {parent:<8} {score} {mark} "
        f"{output.style(who, bold=True)} {output.style(one_line(message.text, 60), dim=True)}"
    )


def _summary(name: str, count: int, proposed: int) -> str:
    if not count:
        return f"nothing new in {name}"
    more = f"; ? {proposed} of them only proposed" if proposed else ""
    return f"{counted(count, 'message')}{more}: `transit chat threads {name}`"
