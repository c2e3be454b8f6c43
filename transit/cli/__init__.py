"""The `transit` command: one module a verb, over the public surface alone.

Owns everything a person or a script meets at a shell: arguments, configuration, output, exit codes.
What a verb does is done by `transit`. The command's packages are an extra, so they may be missing.

main           which verbs there are; the error boundary
verbs          one module a verb
chats          what `transit chat` does
options        options and argument types that verbs share
flags          the options that every verb has
values         values as people write them: positions, durations, sizes, moments
configuration  defaults < transit.toml < environment < command line
opening        the store that a verb works on; keyrings: what unlocks its keys
positions      from what was typed to streams and offsets
lines          input cut into records
json_lines     why a line is not JSON, and where
standard       standard streams, which may be closed or full
escapes        text that cannot steer a terminal
output         tables for people, JSON Lines for programs
records        records as they are printed
facts          what is told of a stream
transcripts    a run as a person reads it; runs_shown: what `show` prints of runs
findings       the report of a check
keeping        what a command is told to trust: a kept checkpoint, keys, a policy
trust          keys and checkpoints, read and shown; signing: checkpoints made;
               proofs_shown: what proofs hold
removals       what the verbs that let records go share
failures       from an exception to an exit code, a message, a hint
health         what is wrong with a store's folder, and what mends it
remote_health  the same of a remote
graph          the lineage graph as text, Mermaid, DOT, JSON
drawing        the graph on standard output
standbys       standbys and takeovers: opened by the configuration, shown as rows
tapping        a command's output, recorded while it runs
exchange       what an export holds
chain          exports whose lines hold the digest of the line before
exporting      streams as the lines of an export; exports: records as Parquet files
export_lines   what the lines of an export may be, read as often as is wanted
importing      streams from the lines of an export
copies         what they are called where they become streams of their own
demonstration  the main job from end to end, proven
madeup         the agent run that the demonstration records
contests       what is measured, and the raw work beside it
measuring      contests in rounds, against the clock
workplaces     a folder and a remote's prefix for one command alone
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments` (None: the process's own); the exit code."""
    missing = [name for name in ("click", "rich") if find_spec(name) is None]
    if missing:
        print(
            f"transit: the command needs {' and '.join(missing)}: pip install 'transit[cli]'",
            file=sys.stderr,
        )
        return 1
    # Imported here: it needs click, which has just been looked for.
    from transit.cli.main import run

    return run(sys.argv[1:] if arguments is None else arguments)
