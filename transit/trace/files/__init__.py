"""Files of other tools: read into runs, and runs written as such files.

importing         which formats there are, and which of them a file is
source            a file read within bounds: lines, a document, a zip
runs              what every format is turned into
writing           imported runs as streams
conversations     chat messages as events
swe_agent         SWE-agent's trajectories
mini_swe_agent    mini-swe-agent's
inspect_logs      Inspect AI's logs
inspect_samples   the events of one sample of these
atif              the Agent Trajectory Interchange Format
claude_code       Claude Code's sessions
claude_tree       the tree that their lines are
codex             Codex's rollouts
openhands         OpenHands' event logs
openhands_sdk     the events of its SDK
otlp              OTLP as JSON; arriving: what comes of it bit by bit
spans             OpenTelemetry spans as runs
span_messages     the messages in a span's attributes
span_judgements   what is judged of a span
messages          plain lists of messages

exporting         which formats a run can be written in; whole: files written whole or not at all
joined            model calls as one event
judgements        notes on runs: which are written, on what, and how they come back
turns             a run as a conversation
to_messages       a run as a list of messages
to_atif           a run as an ATIF trajectory
to_spans          a run as OpenTelemetry spans
span_attributes   what such spans say, in two conventions
to_inspect        a run as an Inspect log
to_parquet        a run as a table
"""

from transit.trace.files.exporting import EXPORTS, export_file
from transit.trace.files.importing import FORMATS, Imported, import_file

__all__ = ["EXPORTS", "FORMATS", "Imported", "export_file", "import_file"]
