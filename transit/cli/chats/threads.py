"""`transit chat threads` and `show`: the threads of a channel, and one of them in full."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import click

from transit import Log, chat
from transit.cli.chats.classifiers import classifier_of, decide_at_option
from transit.cli.chats.conversations import (
    Conversation,
    counted,
    cut,
    one_line,
    people_text,
)
from transit.cli.chats.places import (
    channel_argument,
    channel_of,
    full_option,
    message_argument,
    message_of,
)
from transit.cli.chats.reasons import Reason, reason_of, said_of, thread_words, words_of
from transit.cli.chats.recorded import of_option, threads_of
from transit.cli.chats.rows import (
    Row,
    message_row,
    minute,
    summary_row,
    verdict_row,
)
from transit.cli.chats.surveys import thread_rows
from transit.cli.escapes import printable
from transit.cli.opening import Session
from transit.cli.options import store_options
from transit.cli.output import Output, columns_of
from transit.cli.values import Place

COLUMNS = ("thread", "state", "messages", "people", "last", "text")
STATES = ("open", "resolved", "suppressed")
STATE_COLORS = {"open": "green", "resolved": "blue", "suppressed": "bright_black"}
_PEOPLE_COLUMNS = 20
# Of the columns before the text, with what is between them, but for the thread's name.
_TAKEN_COLUMNS = 62
_TEXT_COLUMNS_MIN = 24


@click.command()
@channel_argument
@click.option("--state", type=click.Choice(STATES), help="Those that stand so.")
@click.option("--all", "every", is_flag=True, help="Those that are suppressed too.")
@click.option("--min", "least", type=click.IntRange(min=1), default=1, metavar="N",
              help="Those of so many messages at least.")  # fmt: skip
@click.option("--run", "runs", metavar="C", help="Run a classifier first: linear, rule, source.")
@decide_at_option
@of_option
@store_options
def threads(
    context: Session,
    name: str,
    *,
    state: str | None,
    every: bool,
    least: int,
    runs: str | None,
    decide_at: float | None,
    run_name: str | None,
) -> None:
    """List the threads of CHANNEL.

    They are in the order of their first messages. Those that are suppressed are left out, unless
    asked for.
    """
    output = context.output
    if runs is not None and run_name is not None:
        raise click.UsageError("--run decides what is in force, and --of shows a run that is not")
    classifier = classifier_of(runs)
    with _opened(context, write=runs is not None) as log:
        channel = channel_of(log, name)
        if runs is not None:
            run = chat.threading(channel, classifier=classifier, decide_at=decide_at)
            for _ in run.run():
                pass
        known = threads_of(channel, run_name)
        chosen = known.all() if every or state == "suppressed" else iter(known)
        chosen = (each for each in chosen if state in (None, each.state))
        rows = thread_rows(channel, (each for each in chosen if len(each) >= least))
        made = map(_cells, rows) if output.tables else rows
        styles = {"state": lambda text: {"fg": STATE_COLORS.get(text)}}
        count = output.rows("", COLUMNS, made, styles)
        _tell_more(output, known, count)


def _opened(context: Session, *, write: bool) -> Log:
    return context.open_write(create=False) if write else context.open_read()


def _tell_more(output: Output, known: chat.Threads, count: int) -> None:
    if not (output.tables and output.terminal):
        return
    if known.stream is None:
        output.text(f"no message has a thread yet: `transit chat run {known.channel.name}`")
        return
    proposed = sum(1 for _ in known.undecided())
    more = f", {counted(proposed, 'message')} only proposed" if proposed else ""
    output.text(f"{counted(count, 'thread')}{more}")


def _cells(row: Row) -> Row:
    people = [str(each) for each in row["people"]]  # type: ignore[attr-defined]
    columns = shutil.get_terminal_size((100, 0)).columns
    room = columns - _TAKEN_COLUMNS - columns_of(str(row["thread"]))
    return {
        **row,
        "people": cut(printable(people_text(people, 3)), _PEOPLE_COLUMNS),
        "last": str(row["last"] or "")[:16].replace("T", " "),
        "text": one_line(str(row["summary"] or row["text"]), max(room, _TEXT_COLUMNS_MIN)),
    }


@click.command()
@message_argument
@full_option
@store_options
def show(context: Session, place: Place, full: bool) -> None:
    """Print the thread of a message, and why each is in it.

    That is what a classifier said, with its score and what else it thought of, or who said
    otherwise. Replies and summaries are there too.
    """
    output = context.output
    with context.open_read() as log:
        channel, message = message_of(log, place)
        thread = channel.threads().of(message)
        if output.tables:
            _show(output, channel, thread, full=full)
        else:
            for row in _rows(channel, thread):
                output.row(row)


def _rows(channel: chat.Channel, thread: chat.Thread) -> Iterator[Row]:
    """The thread, its messages, its summaries, and what people said of it."""
    threads = channel.threads()
    yield from thread_rows(channel, [thread])
    for message in thread.read():
        in_channel = message.position.stream == channel.name
        reason = reason_of(threads, message.offset) if in_channel else Reason()
        yield message_row(
            message,
            thread.root,
            reply=not in_channel,
            parent=threads.fold.parent(message.offset) if in_channel else None,
            why=verdict_row(reason.counts),
            evidence=verdict_row(reason.evidence),
        )
    for summary in thread.summaries:
        yield summary_row(summary)
    for said in said_of(threads, thread.members):
        row = verdict_row(said)
        assert row is not None
        yield row


def _show(output: Output, channel: chat.Channel, thread: chat.Thread, *, full: bool) -> None:
    threads = channel.threads()
    show_head(output, thread_rows(channel, [thread])[0])
    conversation = Conversation(output, full=full, marks=False)
    for message in thread.read():
        if message.position.stream == channel.name:
            conversation.message(message)
            show_reason(conversation, reason_of(threads, message.offset))
        else:
            conversation.message(message, label=f"↳{message.offset}")
    summaries = thread.summaries
    if summaries:
        conversation.rule("summaries")
    for summary in summaries:
        stale = ", stale: more was said since" if summary.stale else ""
        conversation.note(f"{summary.by}{stale}", indent=-4)
        for line in summary.text.splitlines():
            conversation.note(line, color="cyan")
    said = list(said_of(threads, thread.members))
    if said:
        conversation.rule("said of the thread")
    for each in said:
        conversation.note(f"{minute(each.decided_at)}  {thread_words(each)}")


def show_head(output: Output, row: Row) -> None:
    """What a thread is, in a line."""
    state = str(row["state"])
    name = output.style(printable(str(row["thread"])), bold=True)
    word = output.style(state, fg=STATE_COLORS.get(state))
    count, replies = int(str(row["messages"])), int(str(row["replies"]))
    people = [str(each) for each in row["people"]]  # type: ignore[attr-defined]
    facts = [counted(count, "message")]
    branches = [str(each) for each in row["branches"]]  # type: ignore[attr-defined]
    if replies:
        facts.append(f"{replies} of them ↳ in {', '.join(branches)}")
    facts.append(people_text(people))
    output.line(f"{name}  {word}  {printable(' · '.join(facts))}")


def show_reason(conversation: Conversation, reason: Reason) -> None:
    """Why a message is in its thread; what a person said stands out."""
    is_human = isinstance(reason.counts, chat.Override)
    for number, line in enumerate(words_of(reason)):
        color = "yellow" if is_human and not number else None
        conversation.note(f"└ {line}" if not number else f"  {line}", color=color)
