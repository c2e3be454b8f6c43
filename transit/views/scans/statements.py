"""What a query of a user says: read with the parser of DuckDB, checked, and given LAST.

Owns three things. A query is one SELECT over the tables it is given, common table expressions and
a few functions that make rows: everything else is refused, by what the parser found and not by its
text, and so is every kind of node that is not known here. `LAST(x)` over a table of records means
the value of the record with the highest offset: it gets `ORDER BY _offset`, unless it has an order
of its own; which of them need the last records only is in `lasts`. And which columns and tables a
query may read is told, so that others need not be.

The tree is what `json_serialize_sql` gives, and goes back through `json_deserialize_sql`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from transit import InvalidInputError
from transit.views.scans.lasts import LAST, NODES, Node, is_bare_last, read_lasts, within

QUERY_BYTES_MAX: Final = 1024 * 1024
DEPTH_MAX: Final = 500
# Where rows come from. DESCRIBE and SUMMARIZE of a query are a SHOW_REF with that query inside.
_REFERENCES: Final = frozenset(
    ("BASE_TABLE", "SUBQUERY", "JOIN", "TABLE_FUNCTION", "EMPTY", "EMPTY_FROM", "EXPRESSION_LIST",
     "SHOW_REF", "PIVOT", "CTE")
)  # fmt: skip
_ROW_FUNCTIONS: Final = frozenset(
    ("range", "generate_series", "unnest", "json_each", "json_tree", "repeat_row")
)
# What tells of the process and its engine, changes something there, or reads another query.
_CLOSED: Final = frozenset(
    ("current_setting", "getvariable", "getenv", "current_query", "current_query_id",
     "current_connection_id", "current_transaction_id", "txid_current", "current_schemas",
     "in_search_path", "nextval", "currval", "setval", "setseed", "write_log", "stats", "sleep_ms",
     "pg_sleep", "json_serialize_sql", "json_deserialize_sql", "json_serialize_plan",
     "pg_conf_load_time", "pg_postmaster_start_time", "get_block_size")
)  # fmt: skip
# What means columns by their places, or all of them.
_WIDE: Final = frozenset(("STAR", "PIVOT", "SHOW_REF", "POSITIONAL_REFERENCE"))
# A name that could be that of a file is not looked for among files.
_PLAIN: Final = re.compile(r"\w+")
# The value, null or not, where another is greatest.
_AT_MOST: Final = "arg_max_null"


class Statement(NamedTuple):
    """A query that may run.

    tree: as JSON. names: all words in it that may be columns, in lower case; None: every column may
    be read. tables: the names of those it reads, in lower case.
    """

    tree: str
    names: frozenset[str] | None
    tables: frozenset[str]


def checked(
    query: str,
    serialized: str,
    events: Collection[str],
    tables: Collection[str],
    offset: str,
    lasts: Mapping[str, str],
) -> Statement:
    """The query, with its LASTs; `InvalidInputError` for one that does not run here.

    serialized: what `json_serialize_sql` gave for it. tables: what may be read; events: those of
    them that have records, whose column `offset` numbers them. lasts: by the name of one of these
    the table that has the last record of each stream.
    """
    try:
        tree = msgspec.json.decode(serialized)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise InvalidInputError(f"the query: {error}") from None
    if tree.get("error"):
        raise InvalidInputError(_refusal(tree))
    statements = tree["statements"]
    if len(statements) != 1:
        raise InvalidInputError(f"one query at a time, not {len(statements)}")
    numbered = frozenset(name.lower() for name in (*events, *lasts.values()))
    last = {name.lower(): each for name, each in lasts.items()}
    _Check({name.lower() for name in tables}).walk(statements[0], 0)
    for select in list(_selects(statements[0])):
        _keep_names(select, query.encode())
        read_lasts(select, last)
        _order_last(select, numbered, offset)
    names, found = _words(statements[0]), _tables(statements[0])
    return Statement(msgspec.json.encode(tree).decode(), names, found)


def _refusal(tree: Node) -> str:
    said = str(tree.get("error_message", "is not understood"))
    if tree.get("error_type") == "not implemented":
        return "the query: only SELECT, and what can be said in one"
    place = tree.get("position")
    return f"the query: {said}" + (f" (character {place})" if place else "")


class _Check:
    """Refuses whatever could reach more than the given tables."""

    def __init__(self, tables: set[str]) -> None:
        self._tables = tables

    def walk(self, value: object, depth: int, names: frozenset[str] = frozenset()) -> None:
        """Check a node and all below it; names: of the common table expressions it may read."""
        if depth > DEPTH_MAX:
            raise InvalidInputError(f"the query: more than {DEPTH_MAX} levels deep")
        if isinstance(value, list):
            for each in value:
                self.walk(each, depth + 1, names)
        elif isinstance(value, dict):
            names |= self._named(value)
            if "class" not in value:
                self._check(value, names)
            elif str(value.get("function_name", "")).lower() in _CLOSED:
                raise InvalidInputError(
                    f"the query: {value['function_name']}() is not allowed: it is not of the tables"
                )
            for each in value.values():
                self.walk(each, depth + 1, names)

    def _named(self, node: Node) -> frozenset[str]:
        """The common table expressions that a node makes."""
        entries = node.get("cte_map")
        found = [each.get("key") for each in entries.get("map", ())] if entries else []
        if node.get("type") in ("RECURSIVE_CTE_NODE", "CTE_NODE"):
            found.append(node.get("cte_name", node.get("ctename")))
        for name in found:
            plain = isinstance(name, str) and _PLAIN.fullmatch(name)
            if not plain or name.lower() in self._tables:
                raise InvalidInputError(f"the query: {name!r} cannot name a part of it")
        return frozenset(name.lower() for name in found)

    def _check(self, node: Node, names: frozenset[str]) -> None:
        kind = node.get("type")
        if not isinstance(kind, str):
            return
        if kind.endswith("_NODE") and kind not in NODES:
            raise InvalidInputError(f"the query: {kind} is not allowed: only SELECT")
        if "sample" not in node or kind.endswith("_NODE"):
            return
        if kind not in _REFERENCES:
            raise InvalidInputError(f"the query: rows cannot come from a {kind}")
        if kind == "BASE_TABLE":
            self._check_table(node, names)
        elif kind == "TABLE_FUNCTION":
            self._check_function(node.get("function") or {})
        elif kind == "SHOW_REF" and node.get("query") is None:
            raise InvalidInputError("the query: SHOW is not allowed; DESCRIBE one of its tables")

    def _check_table(self, node: Node, names: frozenset[str]) -> None:
        name = str(node.get("table_name", ""))
        qualified = node.get("schema_name") or node.get("catalog_name")
        if qualified or name.lower() not in self._tables | names:
            said = f"{qualified}.{name}" if qualified else name
            known = ", ".join(sorted(self._tables))
            raise InvalidInputError(f"the query: there is no table {said!r}; there are: {known}")

    def _check_function(self, call: Node) -> None:
        name = str(call.get("function_name", "")).lower()
        if call.get("schema") or call.get("catalog") or name not in _ROW_FUNCTIONS:
            known = ", ".join(sorted(_ROW_FUNCTIONS))
            raise InvalidInputError(
                f"the query: no rows come from {name}(); they may from: {known}"
            )


def _below(value: object) -> Iterator[Node]:
    """All nodes of a tree; its depth was checked."""
    if isinstance(value, list):
        for each in value:
            yield from _below(each)
    elif isinstance(value, dict):
        yield value
        for each in value.values():
            yield from _below(each)


def _selects(tree: Node) -> Iterator[Node]:
    return (node for node in _below(tree) if node.get("type") == "SELECT_NODE")


def _keep_names(select: Node, query: bytes) -> None:
    """Call the columns that are a LAST by what was written, and not by what becomes of it."""
    for item in select.get("select_list") or ():
        if not item.get("alias") and is_bare_last(item):
            start = item.get("query_location", 0)
            written = query[start : start + item.get("query_location_length", 0)]
            item["alias"] = written.decode("utf-8", "replace") or LAST


def _order_last(select: Node, events: frozenset[str], offset: str) -> None:
    """Give each LAST of a SELECT over records the order of offsets, unless it says another.

    Over one table of records it is the value at the greatest offset, which needs no sort of them.
    """
    tables = [
        node for node in within(select.get("from_table"))
        if node.get("type") == "BASE_TABLE" and "class" not in node
        and str(node.get("table_name", "")).lower() in events
    ]  # fmt: skip
    if not tables:
        return
    names = [offset]
    if len(tables) == 1:
        names.insert(0, str(tables[0].get("alias") or tables[0]["table_name"]))
    alone = (select.get("from_table") or {}).get("type") == "BASE_TABLE"
    parts = [value for key, value in select.items() if key not in ("from_table", "cte_map")]
    for node in within(parts):
        if is_bare_last(node):
            column = {
                "class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "query_location": 0,
                "column_names": names,
            }  # fmt: skip
            if alone and len(node["arguments"]) == 1 and not node["distinct"]:
                node["function_name"] = _AT_MOST
                node["qualified_name"] = {"path": [_AT_MOST]}
                node["arguments"].append({"name": "", "expression": column})
                continue
            node["order_bys"]["orders"] = [
                {"type": "ORDER_DEFAULT", "null_order": "ORDER_DEFAULT", "expression": column}
            ]


def _tables(tree: Node) -> frozenset[str]:
    """The names of all tables that are read."""
    return frozenset(
        str(node.get("table_name", "")).lower() for node in _below(tree)
        if node.get("type") == "BASE_TABLE" and "class" not in node
    )  # fmt: skip


def _words(tree: Node) -> frozenset[str] | None:
    """All words of a query that may name columns; None where it may mean all of them."""
    words: set[str] = set()
    for node in _below(tree):
        # Of a constant it is a type of its own, with fields.
        kind = str(node.get("type"))
        if kind in _WIDE or node.get("ref_type") == "NATURAL" or node.get("column_name_alias"):
            return None
        if kind == "COLUMN_REF":
            words.update(str(each).lower() for each in node["column_names"])
        elif kind == "JOIN":
            words.update(str(each).lower() for each in node.get("using_columns") or ())
    # A table's name where a column's could stand is a whole row.
    aliases = {
        str(node.get("alias") or node.get("table_name")).lower() for node in _below(tree)
        if "class" not in node and node.get("type") in ("BASE_TABLE", "SUBQUERY")
    }  # fmt: skip
    rows = {
        str(node["column_names"][-1]).lower() for node in _below(tree)
        if node.get("type") == "COLUMN_REF"
    }  # fmt: skip
    return None if rows & aliases else frozenset(words)
