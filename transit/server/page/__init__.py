"""The page at `/`: runs, streams, the lineage graph, a run as it goes on, search, notes.

Rendered here, with what a store holds as text; one script a page, which is this package's own, and
nothing from anywhere else. A run is shown as in the page that is a file: `transit.trace.page`.

    pages      routes: addresses and forms, and which page they are given
    session    who looks at it: a token in a cookie
    asking     parameters of addresses
    derived    views, SQL and reconcilers
    conversations  channels, their messages and threads
    answers    pages from templates, files that come with the package, policy
    lists      runs, streams and the graph, a page at a time; lanes: where the graph's lines lead
    searching  where something was said, a little at a time
    records    the records of a stream
    evidence   what shows that a stream is what it is, files to take along, retention
    following  runs that are looked at, kept up to date
    watching   lists that are looked at, kept up to date; trees: parts of pages for a script
    texts      times, durations and counts for people
    serving    what it needs of the server
"""
