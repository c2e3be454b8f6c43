"""Exhibits: a run in one file, with the proof that this and only this was recorded.

    HOW.txt                  how the tools of any Unix system check it
    manifest.json            what is in the file, with BLAKE3 and sizes; what the run is
    transcript.html          the run as a page, as `transit show --html` writes it
    records.ndjson           its records, one JSON object a line
    payloads.ndjson          their payloads as they were recorded, each followed by a newline
    notes.ndjson             the notes on it, in the order in which they were written
    artifacts/<64 hex>       the payloads that it refers to, named by their BLAKE3
    proof/checkpoint         the signed checkpoint that all proofs stand on
    proof/run.json           the statement of the proof that the run has these records and no others
    proof/notes.json         the same of the notes
    proof/artifacts/<64 hex>.json, proof/parents/<32 hex>.json
                             the same of artifacts, and of streams that the run descends from
    proof/commits/, proof/leaves/, and of an encrypted store proof/secrets/, proof/opened/
                             the files of these proofs, each once (`transit.evidence.statement`)
    proof/how/               how to check each of them

The file is a zip. Its members come in this order, with the time 1980-01-01, so the same run at the
same checkpoint gives the same bytes wherever the same zlib packs them. Everything outside `proof/`
follows from what is in it: whoever checks makes it again. Child runs are named and not in it.

contents   what follows from proofs
making     which proofs an exhibit has
checking   an exhibit, believed by its checkpoint
zipped     the zip, written and read, which may be anybody's
"""

from transit.trace.files.exhibits.checking import CheckedExhibit, check_exhibit
from transit.trace.files.exhibits.making import exhibit

__all__ = ["CheckedExhibit", "check_exhibit", "exhibit"]
