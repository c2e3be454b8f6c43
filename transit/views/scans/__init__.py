"""Records as columns, and SQL over them.

declaring   which columns a program reads of payloads: `columns`, and the one that is always there
fields      a column: its name, the places in a payload that it is read from, its type
decoding    payloads to columns; what cannot be read becomes text, and no record is lost
arrows      columns as Arrow arrays
runs        the columns of runs that `transit.trace` recorded
choosing    which streams, and up to where
layout      where their records lie: in which segment, or not sealed yet
files       columns files: a sealed segment's columns as Parquet, made once
tails       records that are not sealed, decoded once a process
scanning    all of that as Arrow: `scan`
statements  queries of users: what they may do, and what LAST means
lasts       which of them need the last record of each stream alone
querying    `sql`: DuckDB over a scan
feeding     a scan as DuckDB takes it
results     what a query gives
apart       queries of strangers, in processes of their own; within: what these do
"""
