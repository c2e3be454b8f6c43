"""What one file of a store holds, told from its bytes alone.

inspect    `inspect_file`: a file's bytes, by the kind they say they are
report     what the caller gets
kinds      which kind of file it is, by content
wal, segment, redacted, snapshot, document
           the parts of each kind, and what is wrong with them
chunks     the chunks in frames and blocks

The formats are read by `transit.format`, and judged as recovery and verification judge them. The
store around the file is not needed, and nothing is written.
"""

from transit.inspection.inspect import inspect_file
from transit.inspection.report import FieldValue, FilePart, FileReport

__all__ = ["FieldValue", "FilePart", "FileReport", "inspect_file"]
